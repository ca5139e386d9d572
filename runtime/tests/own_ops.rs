//! Ops that a user writes, of the requests that are public: whatever they do, nobody else's descriptor or memory
//! suffers.

use std::fs::File;
use std::future::Future;
use std::io::{self, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, RawWakerVTable, Wake, Waker};

use runtime::fd::{FdRef, SharedFd};
use runtime::op::file::{Close, Position, Read};
use runtime::op::ready::{Interest, ReadyRequest};
use runtime::op::{Op, Reply, Request};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, now, sleep_until};
use runtime::{metrics, submit};

/// Asks what [`Close`] asks, and does not tell it what came.
struct CloseAndForget(Close);

impl Op for CloseAndForget {
    type Output = io::Result<Reply>;

    fn request(&mut self) -> Request<'_> {
        self.0.request()
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<Reply> {
        // In this moment the number may be a stranger's.
        let stranger = File::open("/dev/null").unwrap();
        drop(self);
        assert!(stranger.metadata().is_ok(), "a stranger's descriptor was closed");
        reply
    }
}

/// Catches: an op of a ring's close that relies on its `finish` to forget the number.
#[runtime::test(driver = each)]
async fn a_number_that_a_ring_has_closed_is_closed_once() {
    if metrics().driver == "simulated" {
        return;
    }
    let file = File::open("/dev/null").unwrap();
    let number = file.as_raw_fd();
    submit(CloseAndForget(Close::new(OwnedFd::from(file)))).await.unwrap();
    // Whoever has the number now keeps it.
    let again = File::open("/dev/null").unwrap();
    let others: Vec<File> = (0..64).map(|_| File::open("/dev/null").unwrap()).collect();
    assert!(others.iter().chain([&again]).all(|file| file.metadata().is_ok()), "{number}");
}

/// Polls the current directory's number that is none.
struct PollNothing;

impl Op for PollNothing {
    type Output = io::Result<Reply>;

    fn request(&mut self) -> Request<'_> {
        Request::Ready(ReadyRequest::Poll { fd: FdRef::Os(rustix::fs::CWD), interest: Interest::READABLE, many: false })
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<Reply> {
        reply
    }
}

/// Catches: a driver that takes any number for a descriptor's.
#[runtime::test(driver = each)]
async fn a_number_that_is_no_descriptors_is_refused() {
    if metrics().driver == "simulated" {
        return;
    }
    let error = submit(PollNothing).await.unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::BADF.raw_os_error()), "{error}");
    assert_eq!(metrics().in_flight, 0);
}

/// Owns something whose end can be seen.
struct Holds {
    _held: Rc<()>,
}

impl Op for Holds {
    type Output = ();

    fn request(&mut self) -> Request<'_> {
        Request::Nop
    }

    fn finish(self, _reply: io::Result<Reply>) {}
}

fn waker_that_cannot_be_cloned() -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(|_| panic!("no clones"), |_| {}, |_| {}, |_| {});
    #[expect(unsafe_code, reason = "there is no other way to a waker whose clone panics")]
    // SAFETY: `new` wants the table's functions to keep the contract of wakers: they touch nothing, and one panics,
    // which is allowed.
    unsafe {
        Waker::new(std::ptr::null(), &TABLE)
    }
}

/// Catches: an op that is placed before its waker is taken, and leaks when that panics.
#[runtime::test(driver = each)]
async fn a_waker_whose_clone_panics_leaks_no_op() {
    let held = Rc::new(());
    let waker = waker_that_cannot_be_cloned();
    {
        let mut op = pin!(submit(Holds { _held: held.clone() }));
        let polled = catch_unwind(AssertUnwindSafe(|| op.as_mut().poll(&mut Context::from_waker(&waker))));
        assert!(polled.is_err());
    }
    assert_eq!(Rc::strong_count(&held), 1, "the op is still held");
    assert_eq!(metrics().in_flight, 0);
}

/// Panics when the last waker made of it is dropped.
struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the waker's drop");
    }
}

/// The read and the sleeps wait until the end, and their futures are forgotten: nobody else has a waker.
/// Catches: an end that goes no further when the Drop of a waker panics, or that aborts when two do.
#[test]
fn a_waker_whose_drop_panics_stops_no_end() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "the end of a waker whose drop panics") {
            continue;
        }
        let (reader, mut writer) = io::pipe().unwrap();
        let runtime = builder(driver).build().unwrap();
        runtime.block_on(async {
            let fd = SharedFd::new(OwnedFd::from(reader));
            let mut read = ManuallyDrop::new(submit(Read { fd, buf: [0; 8], position: Position::Cursor }));
            let bomb = || Waker::from(Arc::new(Bomb));
            assert!(Pin::new(&mut *read).poll(&mut Context::from_waker(&bomb())).is_pending());
            for _sleep in 0..2 {
                let mut sleep = ManuallyDrop::new(sleep_until(now() + Duration::from_secs(3600)));
                assert!(Pin::new(&mut *sleep).poll(&mut Context::from_waker(&bomb())).is_pending());
            }
        });
        drop(runtime);
        drop(builder(driver).build().expect("the thread is free again"));
        let error = writer.write_all(b"late").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "the op has ended, and let go of its pipe");
    }
}

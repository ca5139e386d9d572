//! Wakers that the runtime did not make: whatever their clone, wake and Drop do, no op is lost or leaked, and no other
//! task is held up.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};

use net::{TcpListener, TcpStream};
use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read};
use runtime::op::{Op, Reply, Request};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, now, sleep_until};
use runtime::{metrics, submit};

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
fn a_waker_whose_drop_panics_does_not_stop_the_end_of_its_runtime() {
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

type Act = Box<dyn FnOnce()>;

thread_local! {
    /// What the next clone of [`waker_whose_clone_acts`] does.
    static ON_CLONE: RefCell<Option<Act>> = const { RefCell::new(None) };
}

fn waker_whose_clone_acts(act: impl FnOnce() + 'static) -> Waker {
    const TABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            let act = ON_CLONE.take();
            act.into_iter().for_each(|act| act());
            RawWaker::new(std::ptr::null(), &TABLE)
        },
        |_| {},
        |_| {},
        |_| {},
    );
    ON_CLONE.set(Some(Box::new(act)));
    #[expect(unsafe_code, reason = "there is no other way to a waker whose clone does something")]
    // SAFETY: `new` wants the table's functions to keep the contract of wakers: they have no data, and a clone is one
    // more without. What the clone does besides is safe code of this thread; no such waker leaves it.
    unsafe {
        Waker::new(std::ptr::null(), &TABLE)
    }
}

/// Who asks for a turn clones its waker to stand in line, and that clone drops the one who has the turn.
/// Catches: a place in line taken after the last turn was passed on, and so for ever.
#[runtime::test(driver = each)]
async fn a_waker_whose_clone_drops_the_call_before_it_is_woken_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = Rc::new(listener.accept().await.unwrap().0);
    let first = server.clone();
    let mut first: Pin<Box<dyn Future<Output = ()>>> =
        Box::pin(async move { first.read_exact(&mut [0; 4]).await.unwrap() });
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());

    let mut buf = [0; 4];
    {
        let mut second = pin!(server.read_exact(&mut buf));
        let waker = waker_whose_clone_acts(move || drop(first));
        assert_eq!(second.as_mut().poll(&mut Context::from_waker(&waker)).map(Result::unwrap), Poll::Pending);
        assert!(ON_CLONE.take().is_none(), "the waker was cloned");
        client.write_all(b"come").await.unwrap();
        runtime::time::timeout(Duration::from_secs(10), second).await.expect("it has the turn").unwrap();
    }
    assert_eq!(&buf, b"come");
}

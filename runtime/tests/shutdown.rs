//! The end of a runtime: bounded in time, without a leak, and safe for whoever is still there.

#[path = "common/bounded.rs"]
mod bounded;
#[path = "common/polled.rs"]
mod polled;
#[path = "common/process.rs"]
mod process;

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::{Future, pending, poll_fn};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use polled::poll_once;
use process::Holdings;
use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read, Write};
use runtime::op::path::{Base, Open, OpenHow, c_path};
use runtime::op::ready::{Interest, PollMany};
use runtime::op::socket::{Accept, AcceptMany, Recv};
use runtime::op::{Nop, Op, Reply, Request};
use runtime::simulated::{Faults, world};
use runtime::testing::{Driver, builder, is_here};
use runtime::{Builder, JoinHandle, Runtime, metrics, replies, spawn, spawn_blocking, submit, time, yield_now};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};

/// The promise: a second, and a fifth for threads. The machine may be busy besides.
const END_MAX: Duration = Duration::from_secs(2);
const TEST_MAX: Duration = Duration::from_secs(60);

/// Runs `test` three times, on a thread without a runtime: with the builder of each driver.
fn on_each(what: &'static str, test: fn(Builder)) {
    let _alone = process::alone();
    for driver in [Driver::Ring, Driver::Fallback, Driver::Simulated] {
        if is_here(driver, what) {
            println!("{what}, {driver:?}");
            bounded::within(TEST_MAX, what, move || test(builder(driver)));
        }
    }
}

/// Starts ops that never end, each in a task of its own. Returns what they wait for.
async fn wait_in_vain() -> (UnixStream, OwnedFd) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let (reader, near) = (SharedFd::new(reader), SharedFd::new(OwnedFd::from(near)));
    let path = std::env::temp_dir().join(format!("gimmal-shutdown-listener-{}", std::process::id()));
    let listener = SharedFd::new(OwnedFd::from(UnixListener::bind(&path).unwrap()));
    fs::remove_file(&path).unwrap();
    drop(spawn(time::sleep_until(time::now() + Duration::from_secs(3600))));
    drop(spawn(submit(Read { fd: reader, buf: [0; 64], position: Position::Cursor })));
    drop(spawn(submit(Recv { fd: near.clone(), buf: [0; 64], flags: RecvFlags::empty(), poll_first: false })));
    drop(spawn(submit(Accept::new(listener.clone()))));
    drop(spawn(end_of(AcceptMany { fd: listener })));
    drop(spawn(end_of(PollMany { fd: near, interest: Interest::READABLE })));
    drop(spawn(pending::<()>()));
    let begun = || metrics().polls >= 7;
    let refused = || metrics().driver != "simulated" || metrics().in_flight == 0;
    while !begun() || !refused() {
        yield_now().await;
    }
    (far, writer)
}

async fn end_of<T: runtime::op::StreamOp>(op: T) {
    let mut replies = replies(op);
    while let runtime::Step::Item(_) = poll_fn(|context| replies.poll_next(context)).await {}
}

/// The simulated kernel has neither of these descriptors, so its ops end at once: only tasks and timers wait there.
///
/// Catches: an op that is not cancelled at the end; a wait for the last replies without a bound.
#[test]
fn a_runtime_ends_within_a_second_whatever_is_pending() {
    on_each("pending", |builder| {
        let before = Holdings::now();
        let runtime = builder.build().unwrap();
        let far = runtime.block_on(async {
            let far = wait_in_vain().await;
            let waiting = if metrics().driver == "simulated" { 0 } else { 5 };
            assert_eq!((metrics().in_flight, metrics().timers), (waiting, 1));
            far
        });
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
        drop(far);
        before.assert_unchanged();
    });
}

/// Tells that it is dropped.
struct Tells(mpsc::Sender<()>);

impl Drop for Tells {
    fn drop(&mut self) {
        // Nobody may listen any more.
        let _heard = self.0.send(());
    }
}

/// A write into a full pipe, which was started and dropped, is in flight when the runtime ends, and room comes after
/// its tasks have gone. If no room comes the end is bounded all the same.
///
/// Catches: an end that cancels at once what is to be finished, or never.
#[test]
fn a_dropped_write_has_time_to_finish_while_its_runtime_ends() {
    let _alone = process::alone();
    for driver in [Driver::Ring, Driver::Fallback] {
        for is_read in [true, false] {
            if is_here(driver, "finishing a write while the runtime ends") {
                bounded::within(TEST_MAX, "a write", move || end_while_writing(driver, is_read));
            }
        }
    }
}

fn end_while_writing(driver: Driver, is_read: bool) {
    let (mut reader, mut writer) = io::pipe().unwrap();
    let size = fcntl_getpipe_size(&writer).unwrap();
    writer.write_all(&vec![0; size]).unwrap();
    let fd = SharedFd::new(OwnedFd::from(writer));
    let runtime = builder(driver).build().unwrap();
    let (tells, ends) = mpsc::channel();
    runtime.block_on(async {
        let mut write = submit(Write { fd, buf: *b"late", position: Position::Cursor });
        assert!(poll_once(&mut write).await.is_pending());
        let tells = Tells(tells);
        drop(spawn(async move {
            let _tells = tells;
            pending::<()>().await
        }));
        submit(Nop).await.unwrap();
    });
    let reading = thread::spawn(move || {
        ends.recv().unwrap();
        let mut all = Vec::new();
        if is_read {
            reader.read_to_end(&mut all).unwrap();
        }
        (reader, all)
    });
    let began = Instant::now();
    drop(runtime);
    assert!(began.elapsed() < END_MAX, "{driver:?}: it took {:?}", began.elapsed());
    let (mut reader, mut all) = reading.join().unwrap();
    // Ends only if nothing has the other end open.
    reader.read_to_end(&mut all).unwrap();
    let late = if is_read { &b"late"[..] } else { b"" };
    assert_eq!((all.len(), &all[size..]), (size + late.len(), late), "{driver:?}");
}

/// As above: a write into a file, whatever the order and the time of its reply.
#[test]
fn a_write_in_flight_is_finished_by_the_end_in_every_schedule() {
    for seed in 0..50 {
        let runtime = Builder::new().simulated(seed, Faults::none()).build().unwrap();
        let world = runtime.block_on(async {
            let how = OpenHow::new(OFlags::WRONLY | OFlags::CREATE, Mode::RUSR | Mode::WUSR, ResolveFlags::empty());
            let open = Open { base: Base::Current, path: c_path("/file".as_ref()).unwrap(), how };
            let fd = SharedFd::new(submit(open).await.unwrap());
            let mut write = submit(Write { fd, buf: *b"late", position: Position::Cursor });
            assert!(poll_once(&mut write).await.is_pending());
            world()
        });
        drop(runtime);
        let files = world.files();
        let written: Vec<&[u8]> = files.iter().map(|file| &file.contents[..]).collect();
        assert_eq!(written, [b"late"], "seed {seed}");
    }
}

/// Opening a FIFO waits for who opens its other end, inside the kernel: a ring's worker can be called back from there,
/// a thread cannot. It is left behind then, with what it may still touch.
///
/// Catches: a pool whose end waits for its last job without a bound, or for another second.
#[test]
fn a_runtime_ends_in_time_while_the_kernel_opens_a_fifo() {
    let _alone = process::alone();
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "ending while the kernel opens a FIFO") {
            continue;
        }
        let fifo = std::env::temp_dir().join(format!("gimmal-shutdown-fifo-{}", std::process::id()));
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let path = fifo.clone();
        let took = bounded::within(TEST_MAX, "a FIFO", move || end_while_opening(driver, path));
        println!("{driver:?}: {took:?}");
        assert!(took < END_MAX, "{driver:?}: it took {took:?}");
        // Lets a thread that was left behind go.
        let _reader =
            rustix::fs::open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
        fs::remove_file(&fifo).unwrap();
    }
}

fn end_while_opening(driver: Driver, fifo: PathBuf) -> Duration {
    let runtime = builder(driver).build().unwrap();
    // What may create, a ring does not try without waiting first: that would not wait for a reader either.
    let how = OpenHow::new(OFlags::WRONLY | OFlags::CREATE, Mode::RUSR | Mode::WUSR, ResolveFlags::empty());
    let open = Open { base: Base::Current, path: c_path(&fifo).unwrap(), how };
    runtime.block_on(async {
        drop(spawn(submit(open)));
        while !is_opening(driver) {
            submit(Nop).await.unwrap();
        }
        assert_eq!(metrics().in_flight, 1, "the FIFO is open, and nobody waits");
    });
    let began = Instant::now();
    drop(runtime);
    began.elapsed()
}

/// Whether a thread, the kernel's or ours, has taken the op and sleeps over it.
fn is_opening(driver: Driver) -> bool {
    let name = if driver == Driver::Ring { "(iou-wrk" } else { "(gimmal-blocking" };
    let waits =
        |stat: String| stat.contains(name) && stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"));
    let mut tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.any(|task| fs::read_to_string(task.path().join("stat")).is_ok_and(waits))
}

/// Catches: an eventfd, ring or epoll that a runtime leaves open; a task that keeps its runtime alive through its
/// waker.
#[test]
fn a_thousand_runtimes_leave_no_descriptor_and_no_thread() {
    on_each("a thousand runtimes", |builder| {
        // Whatever is made once a process is made by the first.
        drop(builder.clone().build().unwrap());
        let before = Holdings::now();
        for _number in 0..1_000 {
            let runtime = builder.clone().entries(8).cq_entries(16).build().unwrap();
            let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            runtime.block_on(async {
                let op = Read { fd: SharedFd::new(reader), buf: vec![0; 64], position: Position::Cursor };
                let own_waker = Rc::new(RefCell::new(None));
                let kept = own_waker.clone();
                drop(spawn(async move {
                    poll_fn(|context| Poll::Ready(kept.replace(Some(context.waker().clone())))).await;
                    drop(submit(op).await);
                    pending::<()>().await;
                    drop(kept);
                }));
                yield_now().await;
                assert!(own_waker.borrow().is_some());
            });
        }
        before.assert_unchanged();
    });
}

thread_local! {
    static KEPT: RefCell<Vec<Box<dyn std::any::Any>>> = const { RefCell::new(Vec::new()) };
}

/// Catches: a Drop that needs a thread-local of the runtime's which is gone by then.
#[test]
fn what_a_thread_local_keeps_is_dropped_at_the_end_of_its_thread() {
    on_each("thread locals", |builder| {
        let before = Holdings::now();
        for runtime_first in [true, false] {
            let builder = builder.clone();
            let keeper = thread::spawn(move || {
                // Thread-locals go in the order in which they were first used, or the reverse: try both sides of ours.
                let keep = |it: Box<dyn std::any::Any>| KEPT.with_borrow_mut(|kept| kept.push(it));
                if runtime_first {
                    keep(Box::new(()));
                }
                let runtime = builder.build().unwrap();
                runtime.block_on(async {
                    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                    let fd = SharedFd::new(reader);
                    let mut op = submit(Read { fd: fd.clone(), buf: [0; 64], position: Position::Cursor });
                    assert!(poll_once(&mut op).await.is_pending());
                    let mut sleep = time::sleep_until(time::now() + Duration::from_secs(3600));
                    assert!(poll_once(&mut sleep).await.is_pending());
                    keep(Box::new((spawn(pending::<()>()), spawn(async { 42 }), op, sleep, fd, writer)));
                });
                keep(Box::new(runtime));
            });
            keeper.join().unwrap();
        }
        before.assert_unchanged();
    });
}

/// Catches: a flag «runs» that a panic leaves set.
#[test]
fn block_on_within_block_on_says_so_and_the_outer_one_goes_on() {
    on_each("nested", |builder| {
        let runtime = Rc::new(builder.build().unwrap());
        let inner = runtime.clone();
        let nested = runtime.block_on(async {
            let from_task = inner.clone();
            let task = spawn(async move { from_task.block_on(async {}) });
            let payload = task.await.unwrap_err().into_panic();
            assert!(payload.downcast_ref::<&str>().is_some_and(|words| words.contains("`block_on` within `block_on`")));
            let nested = catch_unwind(AssertUnwindSafe(|| inner.block_on(async {})));
            submit(Nop).await.unwrap();
            nested
        });
        let words = *nested.unwrap_err().downcast::<&str>().unwrap();
        assert!(words.contains("await the future, or spawn it"), "{words}");
        assert_eq!(runtime.block_on(async { 42 }), 42);
    });
}

/// Catches: an `install` that takes the place of the runtime before it.
#[test]
fn a_second_runtime_on_a_thread_is_refused_and_the_first_goes_on() {
    on_each("a second runtime", |builder| {
        let before = Holdings::now();
        let first = builder.clone().build().unwrap();
        let refused = builder.clone().build().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert!(refused.to_string().contains("drop that one first, or use another thread"), "{refused}");
        first.block_on(async { submit(Nop).await.unwrap() });
        drop(first);
        drop(builder.build().unwrap());
        before.assert_unchanged();
    });
}

/// Catches: an `end` that leaves the op's slot, cell or ring behind when its future outlives it.
#[test]
fn a_future_that_outlives_its_runtime_says_so_when_it_is_polled() {
    on_each("a future outlives", |builder| {
        let before = Holdings::now();
        let runtime = builder.clone().build().unwrap();
        let mut op = submit(Nop);
        assert!(runtime.block_on(poll_once(&mut op)).is_pending());
        drop(runtime);
        before.assert_unchanged();
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut op).poll(&mut Context::from_waker(Waker::noop()))));
        let words = *polled.unwrap_err().downcast::<&str>().unwrap();
        assert!(words.contains("a runtime that has ended"), "{words}");
        // Another runtime has no op of that name.
        builder.build().unwrap().block_on(async {
            submit(Nop).await.unwrap();
            drop(op);
            submit(Nop).await.unwrap();
            assert_eq!(metrics().in_flight, 0);
        });
    });
}

/// Catches: an op of one core that is looked up in the slots of another.
#[test]
fn a_forgotten_runtime_leaks_and_disturbs_no_other() {
    on_each("forgotten", |builder| {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let forgetful = builder.clone();
        let forgetting = thread::spawn(move || {
            let runtime = forgetful.build().unwrap();
            runtime.block_on(async {
                drop(spawn(submit(Read { fd: SharedFd::new(reader), buf: [0; 64], position: Position::Cursor })));
                yield_now().await;
            });
            mem::forget(runtime);
        });
        forgetting.join().unwrap();
        // Its pipe is as open as its owner left it, so this is taken, or waits there; it does not fail.
        assert_eq!(rustix::io::write(&writer, b"late").unwrap(), 4);
        builder.build().unwrap().block_on(async { submit(Nop).await.unwrap() });
    });
}

/// Does all that a Drop may do in a runtime, and counts.
struct Busy {
    dropped: Rc<Cell<u32>>,
    sibling: Waker,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
        let dropped = self.dropped.clone();
        let counted = Counted(dropped);
        drop(spawn(async move {
            pending::<()>().await;
            drop(counted);
        }));
        let mut context = Context::from_waker(Waker::noop());
        let mut sleep = Box::pin(time::sleep_until(time::now() + Duration::from_secs(1)));
        assert!(sleep.as_mut().poll(&mut context).is_pending());
        let how = OpenHow::new(OFlags::RDONLY, Mode::empty(), ResolveFlags::empty());
        let mut open = Box::pin(submit(Open { base: Base::Current, path: c"/".into(), how }));
        assert!(open.as_mut().poll(&mut context).is_pending());
        self.sibling.wake_by_ref();
        // The pool's threads may still be told what nobody waits for.
        drop(spawn_blocking(|| 42));
        mem::forget(open);
    }
}

struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Catches: tasks that are dropped when their core is no longer the thread's; a task spawned meanwhile that is
/// forgotten.
#[test]
fn tasks_that_are_dropped_at_the_end_may_spawn_sleep_open_and_wake() {
    on_each("busy drops", |builder| {
        let before = Holdings::now();
        let dropped = Rc::new(Cell::new(0));
        let runtime = builder.build().unwrap();
        runtime.block_on(async {
            let sibling = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
            for _number in 0..10 {
                let busy = Busy { dropped: dropped.clone(), sibling: sibling.clone() };
                drop(spawn(async move {
                    pending::<()>().await;
                    drop(busy);
                }));
            }
            // Some of them begin, and some do not.
            yield_now().await;
        });
        drop(runtime);
        assert_eq!(dropped.get(), 20, "ten tasks, and the ten that they spawned");
        before.assert_unchanged();
    });
}

/// Where an op panics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Check,
    Request,
    Finish,
    Abandon,
    Drop,
}

struct Panics {
    place: Place,
    dropped: Rc<Cell<u32>>,
}

impl Panics {
    fn at(&self, place: Place) {
        assert!(self.place != place, "as ordered, in {place:?}");
    }
}

impl Op for Panics {
    type Output = io::Result<()>;

    fn check(&self) -> io::Result<()> {
        self.at(Place::Check);
        Ok(())
    }

    fn request(&mut self) -> Request<'_> {
        self.at(Place::Request);
        Request::Nop
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<()> {
        self.at(Place::Finish);
        reply.map(drop)
    }

    fn abandon(self, _reply: io::Result<Reply>) {
        self.at(Place::Abandon);
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
        // In a Drop that unwinds already a second panic would end the process, by Rust's own rule.
        if !thread::panicking() {
            self.at(Place::Drop);
        }
    }
}

/// Each place, awaited and dropped in flight, and at the end of the runtime.
///
/// Catches: an `abandon` that is not contained; a `place` that leaves its cell, or a slot, behind a panic.
#[test]
fn an_op_that_panics_takes_neither_its_slot_nor_its_core_with_it() {
    on_each("panics", |builder| {
        let before = Holdings::now();
        for place in [Place::Check, Place::Request, Place::Finish, Place::Abandon, Place::Drop] {
            let dropped = Rc::new(Cell::new(0));
            let op = || submit(Panics { place, dropped: dropped.clone() });
            let runtime = builder.clone().build().unwrap();
            runtime.block_on(async {
                let awaited = spawn(op()).await;
                assert_eq!(awaited.is_err(), place != Place::Abandon, "{place:?}");
                if ![Place::Check, Place::Request].contains(&place) {
                    let mut in_flight = op();
                    assert!(poll_once(&mut in_flight).await.is_pending());
                    drop(in_flight);
                    let mut done = op();
                    assert!(poll_once(&mut done).await.is_pending());
                    submit(Nop).await.unwrap();
                    drop(done);
                    let mut kept = Box::new(op());
                    assert!(poll_once(&mut kept).await.is_pending());
                    mem::forget(kept);
                }
                while metrics().in_flight > 1 {
                    yield_now().await;
                }
                assert_eq!(spawn(async { 42 }).await.unwrap(), 42);
                let left = usize::from(![Place::Check, Place::Request].contains(&place));
                assert_eq!(metrics().in_flight, left, "{place:?}: only what was forgotten");
            });
            drop(runtime);
            let made = if [Place::Check, Place::Request].contains(&place) { 1 } else { 4 };
            assert_eq!(dropped.get(), made, "{place:?}");
        }
        before.assert_unchanged();
    });
}

/// A future that panics when it is polled, and one that panics when it is dropped.
///
/// Catches: a core that does not survive a task's Drop.
#[test]
fn tasks_that_panic_while_their_runtime_ends_stop_neither_it_nor_others() {
    on_each("tasks panic", |builder| {
        let before = Holdings::now();
        let dropped = Rc::new(Cell::new(0));
        let runtime = builder.build().unwrap();
        #[expect(clippy::async_yields_async, reason = "the handle is for after the end")]
        let handle: JoinHandle<()> = runtime.block_on(async {
            for place in [Place::Drop, Place::Check, Place::Drop] {
                let panics = Panics { place, dropped: dropped.clone() };
                drop(spawn(async move {
                    panics.at(Place::Check);
                    pending::<()>().await;
                    drop(panics);
                }));
            }
            while dropped.get() == 0 {
                yield_now().await;
            }
            spawn(pending())
        });
        assert_eq!(dropped.get(), 1, "the one that panicked when it was polled");
        drop(runtime);
        assert_eq!(dropped.get(), 3);
        assert!(handle.is_finished());
        // A handle keeps the way back to its core, which is an eventfd.
        drop(handle);
        before.assert_unchanged();
    });
}

/// Catches: a `Runtime::drop` that does not survive its own thread's panic.
#[test]
fn a_runtime_ends_while_its_thread_panics() {
    on_each("unwinding", |builder| {
        let before = Holdings::now();
        let unwound = thread::spawn(move || -> () {
            let runtime: Runtime = builder.build().unwrap();
            runtime.block_on(async {
                let _far = wait_in_vain().await;
                panic!("as ordered");
            })
        });
        assert_eq!(*unwound.join().unwrap_err().downcast::<&str>().unwrap(), "as ordered");
        before.assert_unchanged();
    });
}

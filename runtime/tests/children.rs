//! Child processes: an executed one inherits nothing, a forked one leaves the runtime to its parent.

#[path = "common/child.rs"]
mod child;
#[path = "common/forked.rs"]
mod forked;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::{Future, pending, poll_fn};
use std::io::{Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::{Command, exit};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use forked::{Forked, fork};
use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::file::{Position, Read};
use runtime::signal::ctrl_c;
use runtime::testing::{Driver, builder, is_here};
use runtime::time::timeout;
use runtime::{Runtime, metrics, spawn, spawn_blocking, spawn_on, submit, yield_now};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// Runs `case` in a process of its own, which has no other threads than it makes, on each driver that asks the real
/// kernel.
fn on_each(test: &str, case: fn(Driver)) {
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, test) {
            child::in_a_child(test, &format!("{driver:?}"), |_command| {}, || case(driver));
        }
    }
}

/// Catches: an eventfd, epoll, ring, socket, accepted connection, file or signal pipe without close-on-exec.
#[test]
fn a_program_that_is_started_inherits_no_descriptor() {
    on_each("a_program_that_is_started_inherits_no_descriptor", |driver| {
        let before = descriptors_of_a_program();
        let runtime = builder(driver).cores(2).build().unwrap();
        runtime.block_on(async {
            let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let near =
                [net::TcpStream::connect(address).await.unwrap(), net::TcpStream::connect(address).await.unwrap()];
            let (first, _peer) = listener.accept().await.unwrap();
            let second = listener.incoming().next().await.unwrap().unwrap();
            let file = fs::File::open("/proc/self/exe").await.unwrap();
            let clone = file.try_clone().unwrap();
            let folder = fs::Dir::open("/").await.unwrap();
            let entries = fs::read_dir("/").await.unwrap();
            let interrupted = ctrl_c().unwrap();
            let blocking = spawn_blocking(|| {});
            let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
            assert!(open > before.len() + 12, "{open}: not all of it is open");
            assert_eq!(descriptors_of_a_program(), before);
            blocking.await.unwrap();
            drop((listener, near, first, second, file, clone, folder, entries, interrupted));
        });
    });
}

/// The descriptors of a program that is started now.
fn descriptors_of_a_program() -> BTreeSet<String> {
    let listed = Command::new("ls").arg("/proc/self/fd").output().expect("every system has ls");
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

struct CountsDrops(Rc<Cell<u32>>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Catches: an op or a cancel of the child's that goes to the parent's ring, an op that goes to its epoll, a wait on
/// either; a child that runs the parent's other tasks, after the first future's turn or after a task's, or drops them
/// at the end; one that can have no runtime of its own.
#[test]
fn a_forked_child_leaves_the_runtime_to_its_parent_and_may_build_another() {
    let test = "a_forked_child_leaves_the_runtime_to_its_parent_and_may_build_another";
    on_each(test, |driver| {
        for by_a_task in [false, true] {
            fork_within_block_on(driver, by_a_task);
        }
    });
}

fn fork_within_block_on(driver: Driver, by_a_task: bool) {
    let runtime = builder(driver).build().unwrap();
    let (dropped, run) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let parent = std::process::id();
    let forking = fork_with_work_about(dropped.clone(), run.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { if by_a_task { spawn(forking).await.unwrap() } else { forking.await } })
    }));
    if std::process::id() == parent {
        ended.expect("the parent notices nothing");
        drop(runtime);
        assert_eq!((dropped.get(), run.get()), (1, 1));
        return;
    }
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let words = *ended.expect_err("the child has no runtime").downcast::<String>().unwrap();
        assert!(words.contains("is a forked child") && words.contains("build another"), "{words}");
        assert_eq!((dropped.get(), run.get()), (0, 0), "the parent's tasks, dropped and run in the child");
        live_on(driver, runtime);
        assert_eq!((dropped.get(), run.get()), (0, 0), "the parent's tasks, dropped and run at the end");
    }));
    exit(if checked.is_ok() { 0 } else { 1 });
}

/// Forks with ops in flight and tasks that wait for their turn. The parent sees the child end, and all its own work
/// done.
async fn fork_with_work_about(dropped: Rc<Cell<u32>>, run: Rc<Cell<u32>>) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (empty, _open) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let mut of_this_task = submit(Read { fd: SharedFd::new(empty), buf: [0; 64], position: Position::Cursor });
    assert!(poll_fn(|context| Poll::Ready(Pin::new(&mut of_this_task).poll(context).is_pending())).await);
    let counted = CountsDrops(dropped.clone());
    let reading = spawn(async move {
        let read = submit(Read { fd: SharedFd::new(reader), buf: [0; 64], position: Position::Cursor }).await;
        drop(counted);
        read
    });
    while metrics().in_flight < 2 {
        yield_now().await;
    }
    let its_turn_comes = run.clone();
    let ready = spawn(async move { its_turn_comes.set(its_turn_comes.get() + 1) });
    match fork() {
        Forked::Child => {
            // Numbers that mean nothing to the parent.
            for _pipe in 0..64 {
                let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
                let mut read = submit(Read { fd: SharedFd::new(reader), buf: [0; 8], position: Position::Cursor });
                assert!(poll_fn(|context| Poll::Ready(Pin::new(&mut read).poll(context).is_pending())).await);
                rustix::io::write(&writer, b"echo").unwrap();
                std::mem::forget((read, writer));
            }
            submit(Nop).await.unwrap();
            panic!("the parent's kernel answers its child");
        }
        Forked::Parent(child) => assert_eq!(status_of(child).await, Some(0)),
    }
    ready.await.unwrap();
    for _nop in 0..1_000 {
        submit(Nop).await.unwrap();
    }
    assert_eq!(rustix::io::write(&writer, b"for the parent").unwrap(), 14);
    let (read, buf) = reading.await.unwrap().unwrap();
    assert_eq!(&buf[..read], b"for the parent");
    assert_eq!(metrics().in_flight, 1, "what waits in this task");
}

/// What becomes of a child, which is given up after a while.
async fn status_of(child: Pid) -> Option<i32> {
    let wait = move || waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap().1.exit_status();
    let waiting = spawn_blocking(wait);
    match timeout(Duration::from_secs(20), waiting).await {
        Ok(status) => status.unwrap(),
        Err(_late) => {
            kill_process(child, Signal::KILL).unwrap();
            None
        }
    }
}

/// What the child does besides.
fn live_on(driver: Driver, runtime: Runtime) {
    let again = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async {})));
    let words = *again.expect_err("it has none").downcast::<String>().unwrap();
    assert!(words.contains("is a forked child"), "{words}");
    let began = Instant::now();
    drop(runtime);
    assert!(began.elapsed() < Duration::from_millis(500), "it waited for what is the parent's: {:?}", began.elapsed());
    let own = builder(driver).build().unwrap();
    own.block_on(async {
        submit(Nop).await.unwrap();
        assert_eq!(spawn_blocking(|| 42).await.unwrap(), 42);
    });
}

/// Says on a pipe that it is dropped, so that both processes are heard.
struct TellsDrop(std::io::PipeWriter);

impl Drop for TellsDrop {
    fn drop(&mut self) {
        self.0.write_all(b"d").unwrap();
    }
}

/// Catches: a core on a thread of its own that ends its parent's tasks when it finds itself in a child.
#[test]
fn a_child_that_is_forked_on_another_core_drops_no_task_of_its_parents() {
    on_each("a_child_that_is_forked_on_another_core_drops_no_task_of_its_parents", |driver| {
        let (mut told, teller) = std::io::pipe().unwrap();
        let runtime = builder(driver).cores(2).build().unwrap();
        let child = runtime.block_on(spawn_on(1, move || async move {
            let tells = TellsDrop(teller);
            drop(spawn(async move {
                pending::<()>().await;
                drop(tells);
            }));
            yield_now().await;
            match fork() {
                Forked::Parent(child) => child,
                Forked::Child => {
                    // Whatever becomes of the child's only thread, the process ends with it.
                    pending().await
                }
            }
        }));
        let child = child.unwrap();
        runtime.block_on(async { assert_ne!(status_of(child).await, None, "the child ends") });
        drop(runtime);
        let mut drops = Vec::new();
        told.read_to_end(&mut drops).unwrap();
        assert_eq!(drops, b"d", "once, and in the parent");
    });
}

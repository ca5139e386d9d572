//! A full submission queue and a full completion queue are ordinary states: nothing is lost by them, and nothing waits
//! for ever.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

#[path = "common/bounded.rs"]
mod bounded;

use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read};
use runtime::op::socket::{AcceptMany, End};
use runtime::op::{Nop, OnDrop, Op, Reply, Request};
use runtime::testing::{Driver, is_here};
use runtime::time::Duration;
use runtime::{
    Builder, Choice, Metrics, Runtime, Step, call, metrics, replies, spawn, spawn_blocking, submit, yield_now,
};
use rustix::net::{AddressFamily, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};

const LIMIT: Duration = Duration::from_secs(60);

fn tiny() -> Runtime {
    let builder = Builder::new().ignore_environment().driver(Choice::Ring);
    builder.entries(4).cq_entries(8).buffers(4).build().unwrap()
}

/// Runs `body` on a ring with 4 entries and 8 replies.
fn on_a_tiny_ring<T: Send + 'static, F: Future<Output = T>>(
    what: &str,
    body: impl FnOnce() -> F + Send + 'static,
) -> T {
    bounded::within(LIMIT, what, move || tiny().block_on(body()))
}

/// Catches: a request that is refused, or forgotten, when the SQ is full.
#[test]
fn ten_thousand_tasks_ask_at_once_and_all_are_answered() {
    if !is_here(Driver::Ring, "a tiny ring") {
        return;
    }
    let after: Metrics = on_a_tiny_ring("10,000 tasks", || async {
        let tasks: Vec<_> = (0..10_000).map(|_number| spawn(async { submit(Nop).await.unwrap() })).collect();
        for task in tasks {
            task.await.unwrap();
        }
        metrics()
    });
    assert_eq!(after.in_flight, 0);
    assert!(after.completed >= 10_000, "{after:?}");
}

/// Half of them are awaited. The others are left to finish, and tell in which order they were answered.
/// Catches: a backlog that is overtaken by what comes later, or is not emptied by one wait.
#[test]
fn a_hundred_thousand_ops_of_one_turn_are_answered_in_the_order_in_which_they_were_asked() {
    if !is_here(Driver::Ring, "a tiny ring") {
        return;
    }
    const ASKED: u32 = 100_000;
    let (order, after) = on_a_tiny_ring("100,000 ops", || async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let numbered = |number| submit(Numbered { number, order: order.clone() });
        let mut ops: Vec<_> = (0..ASKED).map(numbered).collect();
        poll_fn(|context| {
            let are_pending = ops.iter_mut().all(|op| Pin::new(op).poll(context).is_pending());
            assert!(are_pending);
            Poll::Ready(())
        })
        .await;
        assert_eq!(metrics().in_flight, ops.len());
        for (number, op) in (0..ASKED).zip(ops) {
            if number % 2 == 0 {
                assert_eq!(op.await.unwrap(), number);
            }
        }
        while metrics().in_flight > 0 {
            yield_now().await;
        }
        (order.take(), metrics())
    });
    assert!(order.into_iter().eq((0..ASKED).filter(|number| number % 2 == 1)));
    assert!(after.queue_full >= u64::from(ASKED) - 4, "{after:?}");
}

/// A `Nop` that tells when nobody waits for it.
struct Numbered {
    number: u32,
    order: Rc<RefCell<Vec<u32>>>,
}

impl Op for Numbered {
    type Output = io::Result<u32>;

    const ON_DROP: OnDrop = OnDrop::Finish;

    fn request(&mut self) -> Request<'_> {
        Request::Nop
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<u32> {
        reply.map(|_reply| self.number)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        reply.expect("it was left to finish");
        self.order.borrow_mut().push(self.number);
    }
}

/// More replies come due at once than the CQ takes.
/// Catches: a `wait` that does not enter when the kernel keeps completions back.
#[test]
fn replies_beyond_the_completion_queue_are_not_lost() {
    if !is_here(Driver::Ring, "a tiny ring") {
        return;
    }
    let after = on_a_tiny_ring("1,000 reads", || async {
        let (mut tasks, mut writers) = (Vec::new(), Vec::new());
        for number in 0..1_000_u32 {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            let op = Read { fd: SharedFd::new(reader), buf: [0; 4], position: Position::Cursor };
            tasks.push(spawn(async move {
                let (count, buf) = submit(op).await.unwrap();
                assert_eq!((count, u32::from_ne_bytes(buf)), (4, number));
            }));
            writers.push(writer);
        }
        while metrics().submitted < 1_000 {
            yield_now().await;
        }
        for (number, writer) in (0..1_000_u32).zip(&writers) {
            assert_eq!(rustix::io::write(writer, &number.to_ne_bytes()).unwrap(), 4);
        }
        // Another thread reaches the core through a poll of the same full queue.
        let woken = spawn_blocking(|| 6 * 7);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(woken.await.unwrap(), 42);
        metrics()
    });
    assert_eq!(after.in_flight, 0);
    assert!(after.overflows > 0, "{after:?}");
}

/// Ops with many replies end early when the queue overflows; asked again, they go on where they were.
/// Catches: a stream whose end by overflow loses its last reply.
#[test]
fn connections_beyond_the_completion_queue_are_not_lost() {
    if !is_here(Driver::Ring, "a tiny ring") {
        return;
    }
    const VISITORS: usize = 100;
    let accepted = on_a_tiny_ring("100 connections", || async {
        let fd = SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
        call::bind(&fd, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        call::listen(&fd, i32::try_from(VISITORS).unwrap()).unwrap();
        let address = call::name(&fd, End::Local).unwrap().ip().unwrap();
        let mut accepted = Vec::new();
        let mut visitors: Vec<TcpStream> = Vec::new();
        let mut accepting = replies(AcceptMany { fd: fd.clone() });
        while accepted.len() < VISITORS {
            while visitors.len() < VISITORS {
                visitors.push(TcpStream::connect(address).unwrap());
            }
            match poll_fn(|context| accepting.poll_next(context)).await {
                Step::Item(connection) => accepted.push(connection.unwrap()),
                Step::End(last) => {
                    accepted.push(last.unwrap());
                    accepting = replies(AcceptMany { fd: fd.clone() });
                }
            }
        }
        for connection in &accepted {
            let runtime::fd::Fd::Os(connection) = connection else { unreachable!("it is the kernel's") };
            assert_eq!(rustix::io::write(connection, b"!").unwrap(), 1);
        }
        for visitor in &mut visitors {
            let mut greeting = [0];
            visitor.read_exact(&mut greeting).unwrap();
            visitor.write_all(&greeting).unwrap();
        }
        accepted.len()
    });
    assert_eq!(accepted, VISITORS);
}

/// As a `Nop`, and asks for another when it is left to finish.
struct Chain {
    links: u32,
}

impl Op for Chain {
    type Output = ();

    const ON_DROP: OnDrop = OnDrop::Finish;

    fn request(&mut self) -> Request<'_> {
        Request::Nop
    }

    fn finish(self, _reply: io::Result<Reply>) {}

    fn abandon(self, _reply: io::Result<Reply>) {
        if self.links > 0 {
            let mut next = Box::pin(submit(Chain { links: self.links - 1 }));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(next.as_mut().poll(&mut context).is_pending());
        }
    }
}

/// An op that nobody waits for may ask for the next, from within the core's own wait.
/// Catches: an `abandon` that runs while the core is borrowed; a wait that parks with entries that the kernel never
/// saw.
#[test]
fn what_an_abandoned_op_asks_for_reaches_the_kernel() {
    if !is_here(Driver::Ring, "a tiny ring") {
        return;
    }
    let completed = on_a_tiny_ring("a chain of 1,000", || async {
        let mut first = Box::pin(submit(Chain { links: 1_000 }));
        let begun = poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await;
        assert!(begun.is_pending());
        drop(first);
        while metrics().in_flight > 0 {
            yield_now().await;
        }
        metrics().completed
    });
    assert!(completed >= 1_001, "{completed}");
}

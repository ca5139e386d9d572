//! A task that is always ready holds up no other. (In a simulated world time hardly passes for those who never wait.)

#[path = "common/bounded.rs"]
mod bounded;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use runtime::fd::SharedFd;
use runtime::op::file::FileRequest;
use runtime::op::socket::{Recv, RecvFlags, Send, SendFlags};
use runtime::op::{Nop, Op, Reply, Request};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, sleep};
use runtime::{JoinHandle, metrics, spawn, spawn_blocking, spawn_on, submit, yield_now};

const LIMIT: Duration = Duration::from_secs(60);

/// Tasks that yield, ask for what is there at once, and wake each other, for ever.
fn busy() -> Vec<JoinHandle<()>> {
    let yields = async {
        loop {
            yield_now().await;
        }
    };
    let asks = async {
        loop {
            submit(Nop).await.unwrap();
        }
    };
    vec![spawn(yields), spawn(asks)]
}

/// Catches: a task that yields and goes to the front of the queue; a core that looks at timers, at its driver or at its
/// mail only when nobody is ready.
#[test]
fn a_task_that_is_always_ready_holds_up_no_timer_no_socket_and_no_other_thread() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "beside who is always ready") {
            bounded::within(LIMIT, "beside who is always ready", move || {
                builder(driver).cores(2).build().unwrap().block_on(beside_who_is_always_ready());
            });
        }
    }
}

async fn beside_who_is_always_ready() {
    let busy = busy();
    for _turn in 0..20 {
        sleep(Duration::from_millis(1)).await;
        submit(Nop).await.unwrap();
        assert_eq!(spawn_blocking(|| 42).await.unwrap(), 42);
        assert_eq!(spawn_on(1, || async { 43 }).await.unwrap(), 43);
    }
    let (near, far) = UnixStream::pair().unwrap();
    let (near, far) = (SharedFd::new(OwnedFd::from(near)), SharedFd::new(OwnedFd::from(far)));
    for _turn in 0..200 {
        let receive = Recv { fd: far.clone(), buf: [0; 8], flags: RecvFlags::empty(), poll_first: true };
        let receiving = spawn(submit(receive));
        let send = Send { fd: near.clone(), buf: *b"a letter", flags: SendFlags::empty(), whole: true };
        submit(send).await.unwrap();
        let (received, letter) = receiving.await.unwrap().unwrap();
        assert_eq!(&letter[..received], b"a letter");
    }
    for task in busy {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}

/// Makes a pipe, which a ring does by a plain call: it is answered at once, without an enter.
struct MakePipe;

impl Op for MakePipe {
    type Output = io::Result<Reply>;

    fn request(&mut self) -> Request<'_> {
        Request::File(FileRequest::Pipe)
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<Reply> {
        reply
    }
}

/// Catches: a core that runs who was answered beside its ring, again and again, and enters the ring for nobody else.
#[test]
fn ops_that_need_no_kernel_hold_up_no_op_that_does() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "beside who is answered at once") {
            bounded::within(LIMIT, "beside who is answered at once", move || {
                builder(driver).build().unwrap().block_on(async {
                    let asks = spawn(async {
                        loop {
                            submit(MakePipe).await.unwrap();
                        }
                    });
                    for _turn in 0..20 {
                        submit(Nop).await.unwrap();
                    }
                    asks.abort();
                });
            });
        }
    }
}

/// So many polls may go by before the clock is seen to have passed a turn's 200 us, when one poll takes longer.
const SLOW_POLLS_MAX: u64 = 20;

/// Catches: a turn that goes on for all its polls, however long they take; one whose time counts from a late poll.
#[test]
fn slow_polls_end_a_turn_of_the_core_early() {
    builder(Driver::Fallback).build().unwrap().block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                spawn(async {
                    for _poll in 0..4 {
                        let began = Instant::now();
                        while began.elapsed() < Duration::from_micros(250) {
                            std::hint::spin_loop();
                        }
                        yield_now().await;
                    }
                })
            })
            .collect();
        let mut turn = metrics();
        let mut longest = 0;
        while metrics().tasks > 0 {
            yield_now().await;
            let now = metrics();
            if now.ticks > turn.ticks {
                longest = longest.max((now.polls - turn.polls) / (now.ticks - turn.ticks));
                turn = now;
            }
        }
        assert!((1..=SLOW_POLLS_MAX + 1).contains(&longest), "{longest} slow polls in a turn");
        for task in tasks {
            task.await.unwrap();
        }
    });
}

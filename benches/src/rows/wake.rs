//! Two threads that wake each other in turn, each asleep when its time comes: how long a wake takes, there and back.
//!
//! The signal between them is the same for both runtimes, so what differs is how a waker reaches its thread.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::futex;

use crate::harness::{Contender, Row};
use crate::machine;

pub fn rows() -> Vec<Row> {
    vec![Row {
        name: "wake another thread, there and back",
        unit: "time a round trip",
        ops: 20_000,
        contenders: vec![
            Contender::new("gimmal", gimmal),
            Contender::new("tokio", tokio),
            Contender::new("futex", |ops| there_and_back(|ping, pong| futexes(ping, pong, ops))),
        ],
        targets: Vec::new(),
    }]
}

/// Counts up, and wakes who waits for that.
#[derive(Default)]
struct Signal {
    count: AtomicU32,
    waiting: Mutex<Option<Waker>>,
}

impl Signal {
    fn raise(&self) {
        self.count.fetch_add(1, Ordering::Release);
        if let Some(waker) = self.locked().take() {
            waker.wake();
        }
    }

    /// Waits until it has been raised so often.
    async fn reaches(&self, count: u32) {
        poll_fn(|context| {
            let mut waiting = self.locked();
            if self.count.load(Ordering::Acquire) >= count {
                return Poll::Ready(());
            }
            *waiting = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs `turns` on two threads, with the two signals each way round.
fn there_and_back(turns: impl Fn(&Signal, &Signal) -> io::Result<Duration> + Sync) -> io::Result<Duration> {
    let (ping, pong) = (Signal::default(), Signal::default());
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            machine::stay_on(machine::CLIENT);
            // It begins by waiting, so its own first signal goes ahead of the first it hears.
            turns(&pong, &ping)
        });
        ping.raise();
        let took = turns(&ping, &pong)?;
        other.join().map_err(|_| io::Error::other("the other thread panicked"))??;
        Ok(took)
    })
}

/// Hears and answers, so often.
async fn turns(heard: &Signal, answer: &Signal, ops: u64) -> io::Result<Duration> {
    let start = Instant::now();
    for count in 1..=ops {
        heard.reaches(count as u32).await;
        answer.raise();
    }
    Ok(start.elapsed())
}

pub fn gimmal(ops: u64) -> io::Result<Duration> {
    there_and_back(|heard, answer| machine::gimmal()?.block_on(turns(heard, answer, ops)))
}

/// As often, from a thread that has nothing else to do, while the core waits for it outside of its driver: valgrind,
/// for which this is, lets no other thread run while one is in io_uring_enter(2).
pub fn gimmal_awake(ops: u64) -> io::Result<()> {
    let (asked, wakers) = mpsc::sync_channel::<Waker>(0);
    let (done, woken) = mpsc::sync_channel(0);
    let other = thread::spawn(move || {
        for waker in wakers {
            waker.wake();
            // The core is gone only when this thread's work is.
            let _heard = done.send(());
        }
    });
    machine::gimmal()?.block_on(async {
        for _ in 0..ops {
            let mut is_woken = false;
            poll_fn(|context| {
                if std::mem::replace(&mut is_woken, true) {
                    return Poll::Ready(Ok(()));
                }
                let is_sent = asked.send(context.waker().clone()).is_ok();
                if is_sent && woken.recv().is_ok() {
                    return Poll::Pending;
                }
                Poll::Ready(Err(io::Error::other("the other thread is gone")))
            })
            .await?;
        }
        io::Result::Ok(())
    })?;
    drop(asked);
    other.join().map_err(|_| io::Error::other("the other thread panicked"))
}

fn tokio(ops: u64) -> io::Result<Duration> {
    there_and_back(|heard, answer| machine::tokio()?.block_on(turns(heard, answer, ops)))
}

fn futexes(heard: &Signal, answer: &Signal, ops: u64) -> io::Result<Duration> {
    let start = Instant::now();
    for count in 1..=ops as u32 {
        loop {
            let now = heard.count.load(Ordering::Acquire);
            if now >= count {
                break;
            }
            match futex::wait(&heard.count, futex::Flags::PRIVATE, now, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        answer.count.fetch_add(1, Ordering::Release);
        futex::wake(&answer.count, futex::Flags::PRIVATE, 1)?;
    }
    Ok(start.elapsed())
}

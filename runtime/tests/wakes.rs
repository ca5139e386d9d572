//! Wakes from other threads reach a core that waits in its driver, however it waits.

#[path = "common/bounded.rs"]
mod bounded;

use std::env;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use runtime::metrics;
use runtime::testing::{Driver, builder, is_here};

const SENDERS: usize = 4;

/// A sender waits until its last wake has been seen before it goes on, after so many: the core parks in between, and a
/// wake that is lost stops all of them.
const A_BURST: u64 = 100;

/// What the senders have sent, and what the task has seen of it.
#[derive(Default)]
struct Score {
    sent: [AtomicU64; SENDERS],
    seen: [AtomicU64; SENDERS],
}

/// A million wakes, or a tenth of `GIMMAL_WAKES`. Returns how often the core entered its driver.
fn wake_from_four_threads(driver: Driver) -> u64 {
    let all = env::var("GIMMAL_WAKES").map_or(10_000_000, |text| text.parse::<u64>().expect("a number")) / 10;
    let each = (all / 4).next_multiple_of(A_BURST);
    let score = Arc::new(Score::default());
    let (to_senders, wakers): (Vec<_>, Vec<_>) = (0..SENDERS).map(|_| mpsc::channel::<Waker>()).unzip();
    let senders: Vec<_> = wakers
        .into_iter()
        .enumerate()
        .map(|(index, waker)| {
            let score = score.clone();
            thread::spawn(move || {
                let waker = waker.recv().expect("the task gives each a waker");
                for number in 1..=each {
                    score.sent[index].store(number, Ordering::Release);
                    waker.wake_by_ref();
                    while number % A_BURST == 0 && score.seen[index].load(Ordering::Acquire) < number {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();

    let enters = builder(driver).build().unwrap().block_on(async move {
        let mut to_senders = Some(to_senders);
        let waits = runtime::spawn(poll_fn(move |context| {
            for sender in to_senders.take().into_iter().flatten() {
                sender.send(context.waker().clone()).expect("the thread waits for it");
            }
            for (sent, seen) in score.sent.iter().zip(&score.seen) {
                seen.store(sent.load(Ordering::Acquire), Ordering::Release);
            }
            let is_over = score.seen.iter().all(|seen| seen.load(Ordering::Relaxed) == each);
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        }));
        // No timer runs and no op is in flight: nothing but a wake ends a park.
        waits.await.unwrap();
        metrics().enters
    });
    for sender in senders {
        sender.join().unwrap();
    }
    enters
}

/// Catches: a core that parks without a second look at its inbox.
fn no_wake_is_lost(driver: Driver, name: &str) {
    if is_here(driver, name) {
        let enters = bounded::within(Duration::from_secs(120), name, move || wake_from_four_threads(driver));
        assert!(enters > 100, "the core was in its driver {enters} times only, so this has shown little");
    }
}

#[test]
fn of_a_million_wakes_of_a_core_on_a_ring_none_is_lost() {
    no_wake_is_lost(Driver::Ring, "a million wakes of a ring");
}

#[test]
fn of_a_million_wakes_of_a_core_on_the_fallback_none_is_lost() {
    no_wake_is_lost(Driver::Fallback, "a million wakes of the fallback");
}

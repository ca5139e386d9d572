//! What `runtime::time` promises. What a busy machine could upset (hours that pass, a poll that must come before a
//! deadline) happens on the simulated clock, which moves only while all wait; the rest on every driver.

#[path = "common/polled.rs"]
mod polled;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use polled::poll_once;
use runtime::time::{Duration, Instant, interval, now, sleep, sleep_until, timeout, timeout_at};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A waker that only counts.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with a waker of its own.
fn poll_with<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// Catches: a deadline rounded down; an entry fired with others of its slot.
#[runtime::test(driver = each)]
async fn ten_thousand_sleeps_end_neither_early_nor_not_at_all() {
    let tasks: Vec<_> = (0..10_000u64)
        .map(|number| {
            let duration = Duration::from_nanos(number * 7_919 % 40_000_000);
            let start = now();
            runtime::spawn(async move {
                sleep(duration).await;
                now() - start >= duration
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap(), "early");
    }
}

/// Catches: a look at the clock that takes «almost» for «reached».
#[runtime::test(driver = simulated)]
async fn a_sleep_of_a_nanosecond_waits_for_it() {
    for duration in [1, 999, 1_000_000].map(Duration::from_nanos) {
        let start = now();
        let mut short = sleep(duration);
        assert!(poll_once(&mut short).await.is_pending());
        short.await;
        assert!(now() - start >= duration);
    }
}

#[runtime::test(driver = simulated)]
async fn hours_pass_and_sleeps_end_in_the_order_of_their_deadlines() {
    let order = Rc::new(Cell::new(0));
    let tasks: Vec<_> = [3, 1, 4, 2, 5]
        .map(|hours| {
            let order = Rc::clone(&order);
            let start = now();
            runtime::spawn(async move {
                sleep(HOUR * hours).await;
                assert!(now() - start >= HOUR * hours);
                assert_eq!(order.replace(hours), hours - 1);
            })
        })
        .into_iter()
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(order.get(), 5);
}

#[runtime::test(driver = each)]
async fn what_is_far_away_never_comes_and_what_is_past_comes_at_once() {
    let past = now() - MS;
    assert_eq!(poll_once(&mut sleep_until(past)).await, Poll::Ready(()));
    assert_eq!(poll_once(&mut sleep(Duration::ZERO)).await, Poll::Ready(()));

    let far = [
        Duration::MAX,
        Duration::MAX - Duration::from_nanos(1),
        Duration::from_secs(u64::MAX),
        Duration::from_secs(u64::MAX / 4),
        Duration::from_nanos(u64::MAX),
        Duration::from_nanos(u64::MAX - 1),
    ];
    let mut sleeps = far.map(sleep);
    for sleep in &mut sleeps {
        assert!(poll_once(&mut *sleep).await.is_pending());
        assert!(!sleep.is_elapsed());
    }
    assert_eq!(sleeps[0].deadline(), None);
    for duration in far {
        assert_eq!(
            timeout(duration, async {
                sleep(MS).await;
                1
            })
            .await,
            Ok(1)
        );
    }
    let mut ticks = interval(Duration::MAX);
    let start = ticks.tick().await;
    assert!(start <= now());
    assert!(timeout(MS, ticks.tick()).await.is_err());
    ticks.reset();
    assert!(timeout(MS, ticks.tick()).await.is_err());
    for sleep in &mut sleeps {
        assert!(poll_once(&mut *sleep).await.is_pending());
    }
}

#[runtime::test(driver = each)]
async fn a_sleep_counts_from_when_it_was_made_and_not_from_its_first_poll() {
    let mut early = sleep(2 * MS);
    sleep(3 * MS).await;
    assert!(early.is_elapsed());
    assert_eq!(poll_once(&mut early).await, Poll::Ready(()));
    assert_eq!(poll_once(&mut early).await, Poll::Ready(()), "it stays ready");
}

/// Catches: a waker that is stored at the first poll only.
#[runtime::test(driver = simulated)]
async fn the_last_waker_is_the_one_that_is_woken() {
    let bell = Arc::new(Bell::default());
    let mut first = sleep(2 * MS);
    assert!(poll_with(&mut first, &bell).is_pending());
    first.await; // never comes back if the bell is rung instead
    assert_eq!(bell.rung(), 0);
}

/// Catches: a drop that leaves the timer on the wheel.
#[runtime::test(driver = simulated)]
async fn a_dropped_sleep_wakes_nobody() {
    let bell = Arc::new(Bell::default());
    let mut dropped = sleep(MS);
    assert!(poll_with(&mut dropped, &bell).is_pending());
    let mut timed = Box::pin(timeout(MS, pending::<()>()));
    assert!(poll_with(&mut timed, &bell).is_pending());
    let mut kept = sleep(MS);
    assert!(poll_with(&mut kept, &bell).is_pending());
    drop((dropped, timed));
    sleep(3 * MS).await;
    assert_eq!(bell.rung(), 1, "the one that was kept");
    drop(kept);
    assert_eq!(Arc::strong_count(&bell), 1, "no waker is left behind");
}

/// The waiting task is not polled between the reset and the new deadline, so the waker must move with the timer.
/// Catches: a reset that only cancels.
#[runtime::test(driver = simulated)]
async fn a_reset_moves_the_deadline_of_whoever_waits() {
    for (from, to) in [(HOUR, 2 * MS), (2 * MS, 4 * MS)] {
        let start = now();
        let mut moved = sleep(from);
        assert!(poll_once(&mut moved).await.is_pending());
        moved.reset(start + to);
        assert_eq!(moved.deadline(), Some(start + to));
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            // Its own poll would bring the waker along: the first poll here only looks.
            if polls == 1 { Poll::Pending } else { Pin::new(&mut moved).poll(context) }
        })
        .await;
        assert!(now() - start >= to, "early");
    }
}

#[runtime::test(driver = simulated)]
async fn a_sleep_that_is_over_can_be_reset_and_waits_again() {
    let mut again = sleep(MS);
    (&mut again).await;
    let start = now();
    again.reset(start + 2 * MS);
    assert!(poll_once(&mut again).await.is_pending());
    (&mut again).await;
    assert!(now() - start >= 2 * MS);

    // Fired, and reset before anybody looked.
    let bell = Arc::new(Bell::default());
    again.reset(now() + MS);
    assert!(poll_with(&mut again, &bell).is_pending());
    sleep(2 * MS).await;
    assert_eq!(bell.rung(), 1);
    let start = now();
    again.reset(start + 2 * MS);
    assert!(poll_once(&mut again).await.is_pending());
    again.await;
    assert!(now() - start >= 2 * MS);
}

/// Catches: the clock read before the future is polled.
#[runtime::test(driver = simulated)]
async fn a_result_that_is_there_wins_over_the_deadline() {
    assert_eq!(timeout(Duration::ZERO, ready(1)).await, Ok(1));
    assert_eq!(timeout_at(now() - MS, ready(2)).await, Ok(2));

    // Both are over at the second poll.
    let mut both = Box::pin(timeout(2 * MS, sleep(MS)));
    assert!(poll_once(&mut both).await.is_pending());
    sleep(3 * MS).await;
    assert_eq!(poll_once(&mut both).await, Poll::Ready(Ok(())));
}

#[runtime::test(driver = each)]
async fn a_timeout_of_zero_polls_once_and_then_ends() {
    let polls = Cell::new(0);
    let count = || {
        poll_fn(|_| {
            polls.set(polls.get() + 1);
            Poll::<()>::Pending
        })
    };
    assert!(poll_once(&mut timeout(Duration::ZERO, count())).await.is_ready());
    assert!(poll_once(&mut timeout_at(now() - MS, count())).await.is_ready());
    assert_eq!(polls.get(), 2);
}

#[runtime::test(driver = each)]
async fn a_timeout_is_never_early_and_says_so_as_an_io_error() {
    let start = now();
    let elapsed = timeout(2 * MS, pending::<()>()).await.unwrap_err();
    assert!(now() - start >= 2 * MS);
    assert_eq!(elapsed.to_string(), "the deadline passed before the future was ready");
    let error = io::Error::from(elapsed);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), elapsed.to_string());

    let deadline = now() + 2 * MS;
    assert_eq!(timeout_at(deadline, pending::<()>()).await, Err(elapsed));
    assert!(now() >= deadline);
}

#[runtime::test(driver = simulated)]
async fn the_future_comes_back_from_a_timeout_and_goes_on() {
    let start = now();
    let mut slow = timeout(MS, sleep(3 * MS));
    assert!((&mut slow).await.is_err());
    assert!(poll_once(&mut slow).await.is_ready(), "it stays elapsed");
    slow.into_inner().await;
    assert!(now() - start >= 3 * MS);
}

#[runtime::test(driver = each)]
async fn ticks_stay_on_their_grid_and_missed_ones_are_skipped() {
    let mut ticks = interval(2 * MS);
    let grid = ticks.tick().await;
    assert!(now() >= grid);
    let on_grid = |tick: Instant| (tick - grid).as_nanos().is_multiple_of((2 * MS).as_nanos());
    let mut last = grid;
    for late in [Duration::ZERO, 3 * MS, 9 * MS] {
        sleep(late).await;
        let tick = ticks.tick().await;
        assert!(tick > last && tick <= now() && on_grid(tick));
        last = tick;
    }
    // The one that waits is a single one, however many were missed.
    sleep(11 * MS).await;
    let before = now();
    let late = ticks.tick().await;
    let next = ticks.tick().await;
    assert!(late <= before && next > before && on_grid(next), "a burst: {late:?}, {next:?}");
}

/// Each is ready at its first poll, or a nanosecond later.
/// Catches: a sleep that is over from the start and never makes its task wait; bursts of ticks.
#[runtime::test(driver = each)]
async fn a_loop_over_sleeps_and_ticks_that_are_due_lets_others_run() {
    for ticking in [false, true] {
        let stop = Rc::new(Cell::new(false));
        let other = Rc::clone(&stop);
        let task = runtime::spawn(async move { other.set(true) });
        let mut ticks = interval(Duration::from_nanos(1));
        while !stop.get() {
            if ticking {
                ticks.tick().await;
            } else {
                sleep(Duration::ZERO).await;
            }
        }
        task.await.unwrap();
    }
}

/// Catches: a sleep that waits for ever and does not remember who waits.
#[runtime::test(driver = each)]
async fn who_waits_for_ever_is_woken_when_the_deadline_moves() {
    let mut never = sleep(Duration::MAX);
    assert!(poll_once(&mut never).await.is_pending());
    let start = now();
    never.reset(start + MS);
    // Polled again only when something wakes this task: the sleep, or the timeout long after it.
    let mut polls = 0;
    let woken = poll_fn(|_context| {
        polls += 1;
        if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
    });
    timeout(10_000 * MS, woken).await.unwrap();
    assert!(now() - start < 5_000 * MS, "only the timeout woke it");
    assert!(poll_once(&mut never).await.is_ready());
}

#[runtime::test(driver = simulated)]
async fn a_dropped_tick_is_not_lost() {
    let mut ticks = interval(3 * MS);
    let first = ticks.tick().await;
    assert!(timeout(MS, ticks.tick()).await.is_err());
    assert_eq!(ticks.tick().await, first + 3 * MS);
    assert_eq!(ticks.period(), 3 * MS);
}

#[runtime::test]
#[should_panic(expected = "an interval of zero would tick without end")]
async fn an_interval_of_zero_is_refused_with_words() {
    let _ticks = interval(Duration::ZERO);
}

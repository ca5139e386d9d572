//! Ticks at a fixed rate.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::{Sleep, sleep_until};
use crate::core;

/// Ticks every `period`, starting now: the first [tick](Interval::tick) is ready at once.
///
/// The ticks stay on the grid that starts with this call, however late each is taken: they do not drift. **Missed ticks
/// are skipped.** If a tick is taken late, it is ready at once, and the next one is at the first point of the grid that
/// is still in the future, so there is never a burst. To find out how many were skipped, compare the instants that the
/// ticks return.
///
/// # Panics
///
/// If `period` is zero, and outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// use runtime::time::{Duration, interval, now};
///
/// let mut ticks = interval(Duration::from_millis(2));
/// let first = ticks.tick().await;
/// let second = ticks.tick().await;
/// assert_eq!(second - first, ticks.period());
/// assert!(now() >= second);
/// # }
/// ```
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval of zero would tick without end; its period must be at least 1 ns");
    Interval { next: sleep_until(core::now()), period }
}

/// Ticks at a fixed rate. Returned by [`interval`].
#[derive(Debug)]
pub struct Interval {
    next: Sleep,
    period: Duration,
}

impl Interval {
    /// Waits for the next tick. Returns the instant for which the tick was scheduled, which is never later than
    /// [`now`](super::now).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no tick: the next call waits for the same one.
    ///
    /// # io_uring
    ///
    /// No op: a timer in user space, and the timeout of the core's wait.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|context| self.poll_tick(context)).await
    }

    /// Like [`tick`](Self::tick), for futures and streams that are written by hand.
    pub fn poll_tick(&mut self, context: &mut Context<'_>) -> Poll<Instant> {
        // An interval whose next tick is beyond the reach of Instant never ticks, and its sleep is never ready.
        let Some(due) = self.next.deadline() else {
            return Poll::Pending;
        };
        ready!(Pin::new(&mut self.next).poll(context));
        self.next = Sleep::new(next_tick(due, core::now(), self.period));
        Poll::Ready(due)
    }

    /// Starts a new grid: the next tick is one period from now.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() {
    /// use runtime::time::{Duration, interval, now};
    ///
    /// let mut ticks = interval(Duration::from_millis(2));
    /// let begun = now();
    /// ticks.reset();
    /// assert!(ticks.tick().await - begun >= ticks.period());                      // and not at once
    /// # }
    /// ```
    pub fn reset(&mut self) {
        match core::now().checked_add(self.period) {
            Some(next) => self.next.reset(next),
            None => self.next = Sleep::new(None),
        }
    }

    /// The time from one tick to the next.
    #[must_use]
    pub fn period(&self) -> Duration {
        self.period
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The first point after `now` of the grid on which `due` lies. `None` is never.
fn next_tick(due: Instant, now: Instant, period: Duration) -> Option<Instant> {
    let late = now.saturating_duration_since(due);
    if late < period {
        return due.checked_add(period);
    }
    let since_last_point_ns = late.as_nanos() % period.as_nanos();
    let until_next_point_ns = period.as_nanos() - since_last_point_ns;
    let seconds =
        u64::try_from(until_next_point_ns / NANOS_PER_SECOND).expect("at most the period, which is a Duration");
    let rest_ns = (until_next_point_ns % NANOS_PER_SECOND) as u32;
    now.checked_add(Duration::new(seconds, rest_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_tick_is_on_the_grid_and_after_now() {
        let due = Instant::now();
        let after = |late_ns, period_ns| {
            let late = Duration::from_nanos(late_ns);
            next_tick(due, due + late, Duration::from_nanos(period_ns)).expect("near") - due
        };
        assert_eq!(after(0, 10), Duration::from_nanos(10));
        assert_eq!(after(9, 10), Duration::from_nanos(10));
        assert_eq!(after(10, 10), Duration::from_nanos(20));
        assert_eq!(after(25, 10), Duration::from_nanos(30));
        assert_eq!(after(7_000_000_001, 3_000_000_000), Duration::from_secs(9));
        assert_eq!(after(1_000_000, 1), Duration::from_nanos(1_000_001));
    }

    #[test]
    fn a_period_beyond_the_reach_of_instant_has_no_next_tick() {
        let due = Instant::now();
        assert_eq!(next_tick(due, due, Duration::MAX), None);
    }

    /// The first tick may be set a moment after the clock was last read.
    #[test]
    fn a_clock_that_stands_before_the_tick_changes_nothing() {
        let now = Instant::now();
        let due = now + Duration::from_nanos(3);
        assert_eq!(next_tick(due, now, Duration::from_nanos(10)), Some(due + Duration::from_nanos(10)));
    }
}

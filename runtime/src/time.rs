//! Time: [`sleep`], [`timeout`], [`interval`].
//!
//! No kernel timers are used. Each core keeps its deadlines in a timer wheel, and the earliest of them is the timeout
//! of the one call in which the core waits for everything else. Creating and cancelling a timer costs one reading of
//! the clock and a few list operations; a kernel timer costs a microsecond.
//!
//! This holds for all of them:
//! - **Never early**, not by a nanosecond. How late depends on the kernel and on what else the core is doing; on an
//!   idle core about 10 us.
//! - **«Never» is a valid time.** [`Duration::MAX`], and everything else that [`Instant`] cannot represent, means
//!   «never»; an instant in the past means «at once». Nothing here overflows.
//! - **The clock is the core's**: [`now`]. The simulated driver has a clock of its own, so compare with [`now`], not
//!   with [`Instant::now`].
//! - A timer belongs to the core where it was first polled, so these types are `!Send`. Dropping one cancels it.

mod interval;
mod timeout;
pub(crate) mod wheel;

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
pub use std::time::{Duration, Instant};

pub use self::interval::{Interval, interval};
pub use self::timeout::{Elapsed, Timeout, timeout, timeout_at};
use self::wheel::TimerKey;
use crate::core;

/// Returns the time of this core's clock: the system's monotonic clock, or the simulated driver's clock.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// use runtime::time::{Duration, now, sleep};
///
/// let start = now();
/// sleep(Duration::from_millis(5)).await;
/// assert!(now() - start >= Duration::from_millis(5));
/// # }
/// ```
#[must_use]
pub fn now() -> Instant {
    core::now()
}

/// Waits for `duration`, counted from this call, not from the first poll. Like [`std::thread::sleep`], but without
/// blocking the thread.
///
/// Never early. [`Duration::MAX`] never ends. A sleep that is over when it is first polled, such as one of
/// [`Duration::ZERO`], is ready at once, unless the task has used up its budget of such operations and must let other
/// tasks run first.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Cancel safety
///
/// Dropping the future cancels the timer. If a sleep must keep counting while it is not polled, as in a loop around
/// `select!`, create it before the loop and poll it through `&mut`.
///
/// # io_uring
///
/// No op: a timer in user space, and the timeout of the core's wait.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// use runtime::time::{Duration, sleep};
///
/// sleep(Duration::from_millis(1)).await;
/// # }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::new(core::now().checked_add(duration))
}

/// Waits until `deadline`: until [`now`] has reached it. A deadline in the past is ready at the first poll.
///
/// Otherwise as [`sleep`]: never early, and dropping the future cancels the timer.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// use runtime::time::{Duration, now, sleep_until};
///
/// let deadline = now() + Duration::from_millis(1);
/// sleep_until(deadline).await;
/// assert!(now() >= deadline);
/// # }
/// ```
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep::new(Some(deadline))
}

/// The future that [`sleep`] and [`sleep_until`] return.
///
/// It may be polled by different tasks of its core (the last one is woken), polled after it was ready (it stays ready),
/// and dropped at any time. It is `Unpin`, so `&mut sleep` is a future.
#[derive(Debug)]
#[must_use = "a sleep waits only while it is awaited"]
pub struct Sleep {
    /// `None` is never.
    deadline: Option<Instant>,
    state: State,
    /// The key in `state` means something to one core's wheel only.
    not_send: PhantomData<*const ()>,
}

#[derive(Debug)]
enum State {
    /// Not polled since it got its deadline.
    Idle,
    /// On the wheel, or fired from there in the meantime.
    Armed(TimerKey),
    /// Was ready.
    Over,
}

impl Sleep {
    fn new(deadline: Option<Instant>) -> Self {
        Sleep { deadline, state: State::Idle, not_send: PhantomData }
    }

    /// When the sleep ends. `None` means never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the deadline has been reached, by [`now`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() {
    /// use runtime::time::{Duration, sleep};
    ///
    /// let mut pause = sleep(Duration::from_millis(1));
    /// assert!(pause.deadline().is_some());
    /// (&mut pause).await;
    /// assert!(pause.is_elapsed());
    /// assert!(!sleep(Duration::MAX).is_elapsed());
    /// # }
    /// ```
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        matches!(self.state, State::Over) || self.deadline.is_some_and(|deadline| core::now() >= deadline)
    }

    /// Moves the deadline, earlier or later. A sleep that was ready waits again.
    ///
    /// A task that is waiting for it is woken at the new deadline, and need not poll it in between.
    ///
    /// # Examples
    ///
    /// An idle timeout that restarts with each message:
    ///
    /// ```
    /// # #[runtime::main] async fn main() {
    /// use runtime::time::{Duration, now, sleep};
    ///
    /// let limit = Duration::from_millis(2);
    /// let mut idle = sleep(limit);
    /// for _message in 0..3 {
    ///     idle.reset(now() + limit);
    /// }
    /// idle.await;
    /// # }
    /// ```
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        let moved = match self.state {
            State::Armed(key) => core::timer_reset(key, deadline),
            State::Idle | State::Over => None,
        };
        // A timer that has fired meanwhile has woken its task, whose next poll will arm a new one.
        self.state = moved.map_or(State::Idle, State::Armed);
    }

    /// A poll that knows the time.
    fn poll_by(&mut self, now: Instant, waker: &Waker) -> Poll<()> {
        // Never is on the wheel, too: a reset finds there who waits.
        let Some(deadline) = self.deadline else {
            self.state = State::Armed(core::timer_never(waker));
            return Poll::Pending;
        };
        // One that was over from the start has cost nobody a turn, so a loop of those is held to the task's share.
        if now >= deadline && (matches!(self.state, State::Armed(_)) || core::spend_inline()) {
            self.state = State::Over;
            return Poll::Ready(());
        }
        self.state = State::Armed(core::timer_start(deadline, waker));
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.state {
            State::Over => Poll::Ready(()),
            State::Armed(key) if core::timer_update(key, context.waker()) => Poll::Pending,
            // A timer that is gone has fired, or was left on the wheel of a runtime that is no more. The clock tells
            // which.
            State::Armed(_) | State::Idle => self.poll_by(core::now(), context.waker()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let State::Armed(key) = self.state {
            core::timer_cancel(key);
        }
    }
}

//! A future with a deadline.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::Sleep;
use crate::core;

/// Waits for `future` for at most `duration`, and returns [`Elapsed`] if it is not ready by then.
///
/// The future is polled before the clock is read: it is polled once even with [`Duration::ZERO`], a result that is
/// available always wins over the deadline, and a future that is ready at once costs no timer and no reading of the
/// clock. For the same reason `duration` counts from the end of the first poll. [`Duration::MAX`] means no limit.
///
/// # Errors
///
/// [`Elapsed`], which `?` turns into an [`io::Error`] of kind [`TimedOut`](io::ErrorKind::TimedOut). It cannot say how
/// far the future got; [`Submit::deadline`](crate::Submit::deadline) can.
///
/// # Panics
///
/// If it is polled outside a runtime and `future` is not ready.
///
/// # Cancel safety
///
/// Dropping this drops `future`, and so does awaiting it by value up to [`Elapsed`]: see what `future` says about being
/// dropped. [`Timeout::into_inner`] returns the future instead.
///
/// # io_uring
///
/// No op: a timer in user space, and the timeout of the core's wait.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::time::{Duration, timeout};
///
/// let answer = timeout(Duration::from_secs(1), async { 42 }).await?;
/// assert_eq!(answer, 42);
///
/// let silence = std::future::pending::<()>();
/// assert!(timeout(Duration::from_millis(1), silence).await.is_err());
/// # Ok(()) }
/// ```
pub fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), limit: Limit::For(duration), sleep: Sleep::new(None) }
}

/// Waits for `future` until `deadline`, and returns [`Elapsed`] if it is not ready by then.
///
/// A deadline in the past still lets `future` be polled once. Otherwise as [`timeout`].
///
/// # Examples
///
/// One deadline over several steps:
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::time::{Duration, now, timeout_at};
///
/// let deadline = now() + Duration::from_secs(1);
/// let question = timeout_at(deadline, async { 6 * 7 }).await?;
/// let answer = timeout_at(deadline, async { question }).await?;
/// assert_eq!(answer, 42);
/// # Ok(()) }
/// ```
pub fn timeout_at<F: IntoFuture>(deadline: Instant, future: F) -> Timeout<F::IntoFuture> {
    Timeout { future: future.into_future(), limit: Limit::Until(deadline), sleep: Sleep::new(None) }
}

pin_project! {
    /// The future that [`timeout`] and [`timeout_at`] return.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled or awaited"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        limit: Limit,
        // Gets its deadline when the future has been pending once, in its place: to make it then and move it here cost
        // more.
        sleep: Sleep,
    }
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    For(Duration),
    Until(Instant),
    /// The sleep knows.
    Counting,
}

impl<F> Timeout<F> {
    /// Removes the deadline and returns the future as it is, also after [`Elapsed`], to continue with it.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() {
    /// use runtime::time::{Duration, sleep, timeout};
    ///
    /// let mut impatient = timeout(Duration::from_millis(1), sleep(Duration::from_millis(3)));
    /// if (&mut impatient).await.is_err() {
    ///     eprintln!("this takes longer than usual");
    ///     impatient.into_inner().await;
    /// }
    /// # }
    /// ```
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        let elapsed = match mem::replace(this.limit, Limit::Counting) {
            // One reading of the clock serves to set the deadline and to see whether it is past.
            Limit::For(duration) => {
                let now = core::now();
                this.sleep.deadline = now.checked_add(duration);
                this.sleep.poll_by(now, context.waker())
            }
            Limit::Until(deadline) => {
                this.sleep.deadline = Some(deadline);
                this.sleep.poll_by(core::now(), context.waker())
            }
            Limit::Counting => Pin::new(this.sleep).poll(context),
        };
        elapsed.map(|()| Err(Elapsed(())))
    }
}

/// A [`timeout`] ended before its future was ready.
///
/// As an [`io::Error`] it is of kind [`TimedOut`](io::ErrorKind::TimedOut).
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// use runtime::time::{Duration, timeout};
///
/// let elapsed = timeout(Duration::from_millis(1), std::future::pending::<()>()).await.unwrap_err();
/// assert_eq!(std::io::Error::from(elapsed).kind(), std::io::ErrorKind::TimedOut);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl fmt::Display for Elapsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the deadline passed before the future was ready")
    }
}

impl Error for Elapsed {}

impl From<Elapsed> for io::Error {
    fn from(elapsed: Elapsed) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, elapsed)
    }
}

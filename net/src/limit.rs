//! `SO_RCVTIMEO` and `SO_SNDTIMEO` as std sets them, kept by the core's timers: the kernel's own do nothing to a ring.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use runtime::time::{Duration, Instant, Sleep, now, sleep_until};
use rustix::io::Errno;

/// How long a call in one direction may take. Without one, for ever.
#[derive(Default)]
pub(crate) struct Limit {
    duration: Cell<Option<Duration>>,
}

impl Limit {
    pub fn get(&self) -> Option<Duration> {
        self.duration.get()
    }

    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for zero, in which setsockopt(2) sees «for ever».
    pub fn set(&self, duration: Option<Duration>) -> io::Result<()> {
        check(duration)?;
        self.duration.set(duration);
        Ok(())
    }

    /// When a call that begins now must end. Reads the clock only if there is a limit.
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.duration.get().and_then(|duration| now().checked_add(duration))
    }
}

/// Refuses a limit of no time at all.
pub(crate) fn check(duration: Option<Duration>) -> io::Result<()> {
    if duration == Some(Duration::ZERO) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
    }
    Ok(())
}

/// Gives `future` until `deadline`, and the error of [`expired`] if it is not ready by then.
#[inline]
pub(crate) fn within<F: Future + Unpin>(deadline: Option<Instant>, future: F) -> Within<F> {
    Within { future, limit: deadline.map(sleep_until) }
}

/// The future of [`within`].
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Within<F> {
    future: F,
    limit: Option<Sleep>,
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = io::Result<F::Output>;

    // Without a limit, nothing of this is left.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<F::Output>> {
        if let Poll::Ready(output) = Pin::new(&mut self.future).poll(context) {
            return Poll::Ready(Ok(output));
        }
        match &mut self.limit {
            Some(limit) => Pin::new(limit).poll(context).map(|()| Err(expired())),
            None => Poll::Pending,
        }
    }
}

/// What Linux answers when a socket's timeout is over: EAGAIN, so std says `WouldBlock`.
pub(crate) fn expired() -> io::Error {
    Errno::AGAIN.into()
}

/// An op's own deadline says `TimedOut` without a number; the network's ETIMEDOUT has one, and stays what it is.
pub(crate) fn as_expired(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() { expired() } else { error }
}

//! `SO_RCVTIMEO` and `SO_SNDTIMEO` as std sets them, kept by the core's timers: the kernel's own do nothing to a ring.

use std::cell::Cell;
use std::future::Future;
use std::io;

use runtime::time::{Duration, Instant, now, timeout_at};
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
pub(crate) async fn within<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> io::Result<T> {
    match deadline {
        None => Ok(future.await),
        Some(deadline) => timeout_at(deadline, future).await.map_err(|_| expired()),
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

//! The futures of ops: one reply ([`Submit`]), one with a deadline ([`Deadline`]), many replies ([`Replies`]).
//!
//! All are lazy: the first poll places the op, lends its request to the core's driver and returns. Dropping one before
//! its last reply orphans the op: it is cancelled (or left to finish, as [`Op::ON_DROP`] says), and its
//! [`abandon`](Op::abandon) gets whatever still comes. Forgetting one leaks a slot, and nothing worse.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;

use crate::core::{self, Flight};
use crate::op::{Op, Reply, StreamOp};
use crate::time::{Instant, Sleep, sleep_until};

pub(crate) mod held;
pub(crate) mod slots;

/// Asks the kernel for `op`.
///
/// # Panics
///
/// The future panics outside a runtime, and under another one than where it was first polled.
///
/// # Cancel safety
///
/// Dropping the future asks the kernel to stop and returns at once. What the op owns is kept until the kernel is done;
/// what still comes goes to [`Op::abandon`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// runtime::submit(runtime::op::Nop).await?;
/// # Ok(()) }
/// ```
pub fn submit<T: Op>(op: T) -> Submit<T> {
    Submit { state: State::New(op) }
}

/// An op on its way; see [`submit`].
#[must_use = "an op does nothing until it is awaited"]
#[derive(Debug)]
pub struct Submit<T: Op> {
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    New(T),
    InFlight(Flight),
    Over,
}

// The op is moved out before it is placed, never pinned in here.
impl<T: Op> Unpin for Submit<T> {}

impl<T: Op> Submit<T> {
    /// Whether the op is with the kernel, or its reply waits to be read.
    pub fn is_in_flight(&self) -> bool {
        matches!(self.state, State::InFlight(_))
    }

    /// Cancels the op when `deadline` comes, waits for its last reply, and returns what really happened.
    ///
    /// Only this can tell how much was written before the time was up. An op that was stopped with nothing done returns
    /// [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// # Cancel safety
    ///
    /// As [`submit`].
    ///
    /// # io_uring
    ///
    /// A timer of the core, and `IORING_OP_ASYNC_CANCEL` (5.5) when it fires.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// use runtime::time::{Duration, now};
    ///
    /// runtime::submit(runtime::op::Nop).deadline(now() + Duration::from_secs(1)).await?;
    /// # Ok(()) }
    /// ```
    pub fn deadline(self, deadline: Instant) -> Deadline<T> {
        Deadline { submit: self, limit: Some(sleep_until(deadline)), cancelled: false }
    }

    /// The op and its reply, before they are put together.
    #[inline]
    fn poll_reply(&mut self, waker: &Waker) -> Poll<(T, io::Result<Reply>)> {
        match &self.state {
            State::InFlight(flight) => match flight.take_reply::<T>(waker) {
                Some(answered) => {
                    self.state = State::Over;
                    Poll::Ready(answered)
                }
                None => Poll::Pending,
            },
            State::New(_) => self.start(waker),
            State::Over => panic!("an op is polled after its reply was taken"),
        }
    }

    #[inline]
    fn start(&mut self, waker: &Waker) -> Poll<(T, io::Result<Reply>)> {
        let State::New(op) = std::mem::replace(&mut self.state, State::Over) else { unreachable!("it is new") };
        if let Err(refused) = op.check() {
            return Poll::Ready((op, Err(refused)));
        }
        self.state = State::InFlight(core::start(op, waker));
        Poll::Pending
    }
}

impl<T: Op> Future for Submit<T> {
    type Output = T::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        self.get_mut().poll_reply(context.waker()).map(|(op, reply)| op.finish(reply))
    }
}

impl<T: Op> Drop for Submit<T> {
    #[inline]
    fn drop(&mut self) {
        if let State::InFlight(flight) = &self.state {
            flight.orphan();
        }
    }
}

/// An op that is cancelled at a moment; see [`Submit::deadline`].
#[must_use = "an op does nothing until it is awaited"]
#[derive(Debug)]
pub struct Deadline<T: Op> {
    submit: Submit<T>,
    limit: Option<Sleep>,
    cancelled: bool,
}

impl<T: Op> Future for Deadline<T> {
    type Output = T::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        let this = self.get_mut();
        if let Poll::Ready((op, reply)) = this.submit.poll_reply(context.waker()) {
            return Poll::Ready(op.finish(reply.map_err(|error| this.timed_out(error))));
        }
        if let Some(limit) = &mut this.limit
            && Pin::new(limit).poll(context).is_ready()
        {
            this.limit = None;
            this.cancelled = true;
            if let State::InFlight(flight) = &this.submit.state {
                flight.cancel();
            }
        }
        Poll::Pending
    }
}

impl<T: Op> Deadline<T> {
    /// A reply that only says «cancelled» says, to the caller, that time was up.
    fn timed_out(&self, error: io::Error) -> io::Error {
        if self.cancelled && error.raw_os_error() == Some(Errno::CANCELED.raw_os_error()) {
            return io::Error::new(io::ErrorKind::TimedOut, "the deadline came before the operation was done");
        }
        error
    }
}

/// Asks the kernel for an op with many replies.
///
/// # Panics
///
/// As [`submit`].
pub fn replies<T: StreamOp>(op: T) -> Replies<T> {
    Replies { state: State::New(op), paused: false }
}

/// What an op with many replies has to say next.
#[derive(Debug)]
pub enum Step<T: StreamOp> {
    /// One of many.
    Item(T::Item),
    /// The last. It can come at any time and without an error: then ask anew.
    End(T::Output),
}

/// An op with many replies; see [`replies`].
///
/// Dropping it cancels the op. Items that nobody has taken are dropped, which closes descriptors: whoever must not lose
/// them calls [`stop`](Replies::stop) and reads on to the [`End`](Step::End).
#[must_use = "an op does nothing until it is polled"]
#[derive(Debug)]
pub struct Replies<T: StreamOp> {
    state: State<T>,
    paused: bool,
}

/// So many items that nobody has taken stop the op: what comes must not grow without bound.
const UNREAD_MAX: usize = 64;

impl<T: StreamOp> Unpin for Replies<T> {}

impl<T: StreamOp> Replies<T> {
    /// The next reply.
    ///
    /// When more than 64 items are unread the op is cancelled; what it has brought is there to be taken, and then the end.
    ///
    /// # Panics
    ///
    /// After the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Step<T>> {
        if let State::New(_) = self.state {
            let State::New(op) = std::mem::replace(&mut self.state, State::Over) else { unreachable!("it is new") };
            if let Err(refused) = op.check() {
                return Poll::Ready(Step::End(op.finish(Err(refused))));
            }
            self.state = State::InFlight(core::start_stream(op));
        }
        let State::InFlight(flight) = &self.state else { panic!("a stream of replies is polled after its end") };
        match flight.next_reply::<T>(context.waker()) {
            core::Next::Item(reply, unread) => {
                if unread > UNREAD_MAX {
                    self.stop();
                }
                Poll::Ready(Step::Item(T::item(reply)))
            }
            core::Next::Last(op, reply) => {
                self.state = State::Over;
                Poll::Ready(Step::End(op.finish(reply)))
            }
            core::Next::Nothing => Poll::Pending,
        }
    }

    /// Asks the kernel to stop. What came until then is still there to be taken, and then the end.
    pub fn stop(&mut self) {
        if let State::InFlight(flight) = &self.state
            && !std::mem::replace(&mut self.paused, true)
        {
            flight.cancel();
        }
    }
}

impl<T: StreamOp> Drop for Replies<T> {
    fn drop(&mut self) {
        if let State::InFlight(flight) = &self.state {
            flight.orphan();
        }
    }
}

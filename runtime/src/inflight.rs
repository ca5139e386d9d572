//! The futures of ops: with one reply ([`Submit`]), with one reply and a deadline ([`Deadline`]), with many replies
//! ([`Replies`]).
//!
//! All are lazy: the first poll moves the op to where it stays, lends its request to the core's driver and returns.
//! Dropping one before its last reply orphans the op: it is cancelled (or left to finish, as [`Op::ON_DROP`] says), and
//! its [`abandon`](Op::abandon) gets the reply that still comes. Forgetting one leaks a slot, and nothing worse.

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

/// Asks the kernel to do `op`.
///
/// Lazy: the first poll starts it, without a system call; the core later submits all the ops that its tasks have
/// started in one system call.
///
/// # Panics
///
/// The future panics when it is polled outside a runtime, or in another runtime than at first.
///
/// # Cancel safety
///
/// Dropping the future asks the kernel to stop and returns at once; an op whose [`ON_DROP`](Op::ON_DROP) is
/// [`Finish`](crate::op::OnDrop::Finish) runs on to its end. What the op owns is kept until the kernel is done with it;
/// the last reply goes to [`Op::abandon`].
///
/// # io_uring
///
/// The op's own: one SQE, or none where it is done [by a plain call](crate::call). If the future is dropped, also an
/// `IORING_OP_ASYNC_CANCEL` (5.5) by the op's key. The fallback does the same with epoll or on the blocking pool: each
/// op says which.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{fd::SharedFd, op::file::{Position, Read}, submit};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// let (count, buf) = submit(Read { fd, buf: [0; 9], position: Position::At(0) }).await?;
/// assert_eq!(&buf[..count], b"[package]");
/// # Ok(()) }
/// ```
pub fn submit<T: Op>(op: T) -> Submit<T> {
    Submit { op: Some(op), flight: None }
}

/// The future of an op; see [`submit`].
#[must_use = "an op does nothing until it is awaited"]
#[derive(Debug)]
pub struct Submit<T: Op> {
    /// Until the first poll.
    op: Option<T>,
    /// From then on until the reply is taken.
    flight: Option<Flight>,
}

// The op is moved out before it is placed, never pinned in here.
impl<T: Op> Unpin for Submit<T> {}

impl<T: Op> Submit<T> {
    /// Whether the op has been started and its reply has not been read yet.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// use runtime::time::{Duration, timeout};
    ///
    /// let mut nop = runtime::submit(runtime::op::Nop);
    /// assert!(!nop.is_in_flight());
    /// let polled_once = timeout(Duration::ZERO, &mut nop).await;
    /// assert_eq!(nop.is_in_flight(), polled_once.is_err());
    /// # Ok(()) }
    /// ```
    pub fn is_in_flight(&self) -> bool {
        self.flight.is_some()
    }

    /// Cancels the op at `deadline`, waits for its last reply, and returns what really happened.
    ///
    /// No other kind of timeout can say how much was written before the time was up. An op that was stopped before it
    /// did anything returns [`TimedOut`](io::ErrorKind::TimedOut).
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

    /// Polls, and lets `settle` put the op and its reply together.
    #[inline]
    fn poll_with(&mut self, waker: &Waker, settle: impl FnOnce(T, io::Result<Reply>) -> T::Output) -> Poll<T::Output> {
        if let Some(flight) = &self.flight {
            let Some(output) = flight.settle(waker, settle) else { return Poll::Pending };
            self.flight = None;
            return Poll::Ready(output);
        }
        if let Some(Err(refused)) = self.op.as_ref().map(T::check) {
            return Poll::Ready(settle(self.op.take().expect("it was refused"), Err(refused)));
        }
        let op = self.op.take().expect("an op is not polled again after its reply was taken");
        // There was none to drop, which the compiler does not see.
        std::mem::forget(self.flight.replace(core::start(op, waker)));
        Poll::Pending
    }
}

impl<T: Op> Future for Submit<T> {
    type Output = T::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        // Inlined where a count came, of which little is left then.
        self.get_mut().poll_with(
            context.waker(),
            #[inline(always)]
            |op, reply| op.finish(reply),
        )
    }
}

impl<T: Op> Drop for Submit<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(flight) = &self.flight {
            flight.orphan();
        }
    }
}

/// The future of an op with a deadline; see [`Submit::deadline`].
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
        let cancelled = this.cancelled;
        let settle = |op: T, reply: io::Result<Reply>| op.finish(reply.map_err(|error| timed_out(error, cancelled)));
        if let Poll::Ready(output) = this.submit.poll_with(context.waker(), settle) {
            return Poll::Ready(output);
        }
        if let Some(limit) = &mut this.limit
            && Pin::new(limit).poll(context).is_ready()
        {
            this.limit = None;
            this.cancelled = true;
            if let Some(flight) = &this.submit.flight {
                flight.cancel();
            }
        }
        Poll::Pending
    }
}

/// A reply that only says «cancelled» says, to the caller, that time was up.
fn timed_out(error: io::Error, cancelled: bool) -> io::Error {
    // A worker of the kernel's that is told to stop says that it was interrupted. Either way nothing was done.
    if cancelled && matches!(Errno::from_io_error(&error), Some(Errno::CANCELED | Errno::INTR)) {
        return io::Error::new(io::ErrorKind::TimedOut, "the deadline came before the operation was done");
    }
    error
}

/// Asks the kernel to do an op that has many replies.
///
/// # Panics
///
/// As [`submit`].
///
/// # Cancel safety
///
/// Dropping it cancels the op and drops the replies that have not been taken. To lose none, [stop](Replies::stop) it
/// and keep reading up to the [end](Step::End).
///
/// # io_uring
///
/// One SQE for all replies, if the op is multishot. Stopping or dropping it adds an `IORING_OP_ASYNC_CANCEL` (5.5).
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::{future::poll_fn, net, os::fd::OwnedFd};
/// use runtime::{Step, fd::SharedFd, op::socket::AcceptMany};
///
/// let listener = net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let _clients = (net::TcpStream::connect(address)?, net::TcpStream::connect(address)?);
///
/// let listener = SharedFd::new(OwnedFd::from(listener));
/// let mut incoming = runtime::replies(AcceptMany { fd: listener.clone() });
/// let mut connections = Vec::new();
/// while connections.len() < 2 {
///     match poll_fn(|context| incoming.poll_next(context)).await {
///         Step::Item(connection) => connections.push(connection?),
///         Step::End(last) => {
///             connections.push(last?);
///             incoming = runtime::replies(AcceptMany { fd: listener.clone() });       // it can end at any time
///         }
///     }
/// }
/// # Ok(()) }
/// ```
pub fn replies<T: StreamOp>(op: T) -> Replies<T> {
    Replies { op: Some(op), flight: None, stopped: false }
}

/// The next reply of an op with many replies.
#[derive(Debug)]
pub enum Step<T: StreamOp> {
    /// One of many.
    Item(T::Item),
    /// The last. It can come at any time and without an error: then start the op again.
    End(T::Output),
}

/// An op with many replies; see [`replies`].
///
/// Dropping it cancels the op. Items that have not been taken are dropped, which closes descriptors. To lose none, call
/// [`stop`](Replies::stop) and keep reading up to the [`End`](Step::End).
#[must_use = "an op does nothing until it is polled"]
#[derive(Debug)]
pub struct Replies<T: StreamOp> {
    op: Option<T>,
    flight: Option<Flight>,
    stopped: bool,
}

impl<T: StreamOp> Unpin for Replies<T> {}

impl<T: StreamOp> Replies<T> {
    /// The next reply. The first call starts the op.
    ///
    /// When more than 64 items are unread the op is cancelled; those items can still be taken, and then the end. Edges
    /// (of [`PollMany`](crate::op::ready::PollMany)) that have not been taken are joined into one item, and more than
    /// 16 of them stop the op.
    ///
    /// # Panics
    ///
    /// After the end; and as [`submit`].
    ///
    /// # Cancel safety
    ///
    /// Dropping a future that wraps this call loses nothing: the next call gets what it was waiting for.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// use std::{future::poll_fn, io::Write};
    /// use std::os::{fd::OwnedFd, unix::net::UnixStream};
    /// use runtime::{Step, fd::SharedFd, op::ready::{Interest, PollMany}};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// far.write_all(b"hello")?;
    /// let fd = SharedFd::new(OwnedFd::from(near));
    /// let mut events = runtime::replies(PollMany { fd, interest: Interest::READABLE });
    /// let (Step::Item(came) | Step::End(came)) = poll_fn(|context| events.poll_next(context)).await;
    /// assert!(came?.intersects(Interest::READABLE));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Step<T>> {
        if let Some(op) = self.op.take() {
            if let Err(refused) = op.check() {
                return Poll::Ready(Step::End(op.finish(Err(refused))));
            }
            self.flight = Some(core::start_stream(op));
        }
        let flight = self.flight.as_ref().expect("a stream of replies is not polled after its end");
        match flight.next_reply::<T>(context.waker()) {
            core::Next::Item(reply) => Poll::Ready(Step::Item(T::item(reply))),
            core::Next::Last(op, reply) => {
                self.flight = None;
                Poll::Ready(Step::End(op.finish(reply)))
            }
            core::Next::Nothing => Poll::Pending,
        }
    }

    /// Asks the kernel to stop. Items that came before can still be taken, and then the end, which is most often
    /// ECANCELED. Before the first [`poll_next`](Replies::poll_next) this does nothing.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// use std::{future::poll_fn, task::Poll};
    /// use std::os::{fd::OwnedFd, unix::net::UnixStream};
    /// use runtime::{Step, fd::SharedFd, op::ready::{Interest, PollMany}};
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let fd = SharedFd::new(OwnedFd::from(near));
    /// let mut events = runtime::replies(PollMany { fd, interest: Interest::READABLE });
    /// poll_fn(|context| Poll::Ready(assert!(events.poll_next(context).is_pending()))).await;
    /// events.stop();
    /// let Step::End(last) = poll_fn(|context| events.poll_next(context)).await else { panic!("nothing came") };
    /// assert!(last.is_err());
    /// # Ok(()) }
    /// ```
    pub fn stop(&mut self) {
        if let Some(flight) = &self.flight
            && !std::mem::replace(&mut self.stopped, true)
        {
            flight.cancel();
        }
    }
}

impl<T: StreamOp> Drop for Replies<T> {
    fn drop(&mut self) {
        if let Some(flight) = &self.flight {
            flight.orphan();
        }
    }
}

//! Ops on readiness: wait until a descriptor can be read from or written to.

use std::io;
use std::ops::BitOr;

use io_uring::{opcode, squeue, types};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};

use super::{Answered, Op, Replies, Reply, Request, StreamOp, Way};
use crate::fd::{FdRef, SharedFd};

/// Events to wait for, and events that happened. Errors and hang-ups are always reported.
///
/// # Examples
///
/// ```
/// use runtime::op::ready::Interest;
///
/// let both = Interest::READABLE | Interest::WRITABLE;
/// assert!(both.intersects(Interest::READABLE));
/// assert!(!Interest::WRITABLE.intersects(Interest::READABLE));
/// assert_eq!(Interest::from_bits(both.bits()), both);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest(u16);

impl Interest {
    /// There is something to read or to accept, or the end.
    pub const READABLE: Interest = Interest(PollFlags::IN.union(PollFlags::RDHUP).bits());
    /// There is room to write, or there is no reader.
    pub const WRITABLE: Interest = Interest(PollFlags::OUT.bits());

    /// Several edges were joined into this one, because they had not been taken. Only [`PollMany`] reports it.
    pub const SEVERAL: Interest = Interest(SEVERAL as u16);

    /// What comes unasked.
    const ALWAYS: u16 = PollFlags::ERR.union(PollFlags::HUP).bits();

    /// Whether it contains any event of `other`. Errors and hang-ups count for readers and for writers.
    pub fn intersects(self, other: Interest) -> bool {
        self.0 & (other.0 | Interest::ALWAYS) != 0
    }

    /// The mask, as in poll(2).
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From a mask as in poll(2).
    pub const fn from_bits(bits: u16) -> Interest {
        Interest(bits)
    }
}

/// A bit that is no event's.
pub(crate) const SEVERAL: usize = 1 << 15;

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

/// What is asked about readiness.
#[non_exhaustive]
pub enum ReadyRequest<'a> {
    /// Wait until one of the events is there.
    Poll {
        /// Whose.
        fd: FdRef<'a>,
        /// Which.
        interest: Interest,
        /// Answer each time, not once.
        many: bool,
    },
}

impl<'a> ReadyRequest<'a> {
    #[inline(always)]
    pub(super) fn sqe(&mut self) -> squeue::Entry {
        match self {
            ReadyRequest::Poll { fd, interest, many } => {
                opcode::PollAdd::new(types::Fd(fd.number()), u32::from(interest.bits())).multi(*many).build()
            }
        }
    }

    /// Does not wait: EAGAIN says that nothing is there yet.
    pub(super) fn call(&mut self) -> Answered {
        match self {
            ReadyRequest::Poll { fd, interest, .. } => {
                poll_now(*fd, *interest).map(|came| Reply::Count(usize::from(came.bits())))
            }
        }
    }

    /// An event is the answer, as far as it was asked for.
    pub(super) fn told(&self, came: Interest) -> Reply {
        match self {
            ReadyRequest::Poll { interest, .. } => Reply::Count(usize::from(came.0 & (interest.0 | Interest::ALWAYS))),
        }
    }

    pub(super) fn replies(&self) -> Replies {
        match self {
            ReadyRequest::Poll { many: false, .. } => Replies::One,
            ReadyRequest::Poll { many: true, .. } => Replies::OneAnEdge,
        }
    }

    pub(super) fn way(&self) -> Way<'a> {
        match *self {
            ReadyRequest::Poll { fd, interest, .. } => Way::Ready(fd, interest),
        }
    }
}

impl std::fmt::Debug for ReadyRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadyRequest::Poll { fd, interest, many } => {
                let often = if *many { "each time" } else { "once" };
                write!(f, "poll {fd:?} for {:#x}, {often}", interest.bits())
            }
        }
    }
}

/// What of `interest` is there now. EAGAIN: nothing.
pub(super) fn poll_now(fd: FdRef<'_>, interest: Interest) -> Result<Interest, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(fd.os()?, PollFlags::from_bits_retain(interest.bits()))];
    retry_on_intr(|| rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
    match fds[0].revents() {
        none if none.is_empty() => Err(Errno::AGAIN),
        invalid if invalid.contains(PollFlags::NVAL) => Err(Errno::BADF),
        events => Ok(Interest(events.bits())),
    }
}

/// Waits until one of the events happens. `poll(2)`.
///
/// Returns what happened, including errors and hang-ups. A ring also reports the peer's end (`POLLRDHUP`) when only
/// `WRITABLE` was asked for, whether there is room or not. What is ready now may be gone when you read: then wait
/// again.
///
/// # Errors
///
/// EBADF. Descriptors that are always ready, such as regular files, are reported at once.
///
/// # Cancel safety
///
/// Nothing is consumed, so nothing is lost by dropping the future.
///
/// # io_uring
///
/// `IORING_OP_POLL_ADD` (5.1); the fallback waits with epoll.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::io::Write;
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
/// use runtime::{fd::SharedFd, op::ready::{Interest, Poll}};
///
/// let (near, mut far) = UnixStream::pair()?;
/// far.write_all(b"hello")?;
/// let came = runtime::submit(Poll { fd: SharedFd::new(OwnedFd::from(near)), interest: Interest::READABLE }).await?;
/// assert!(came.intersects(Interest::READABLE));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Poll {
    /// The descriptor to wait for.
    pub fd: SharedFd,
    /// What to wait for.
    pub interest: Interest,
}

impl Op for Poll {
    type Output = io::Result<Interest>;

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Ready(ReadyRequest::Poll { fd: self.fd.borrow(), interest: self.interest, many: false })
    }

    #[inline]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        events(reply)
    }
}

/// Reports what is ready, and from then on what becomes ready. Edge-triggered: what stays ready is not reported again
/// until more arrives.
///
/// Edges that have not been taken are joined into one item with all their events, which also says [that there were
/// several](Interest::SEVERAL). After more than 16 such edges the poll is cancelled: it ends with ECANCELED, and can be
/// started again. So a descriptor that is not looked at costs nothing in the long run.
///
/// Each reply says what happened, as with [`Poll`]. It can end at any time without an error; then start it again. After
/// the start and after each reply, read until there is nothing more.
///
/// # Errors
///
/// As [`Poll`]. An error is the last reply.
///
/// # Cancel safety
///
/// Nothing is consumed, so nothing is lost by dropping it.
///
/// # io_uring
///
/// `IORING_OP_POLL_ADD` with `IORING_POLL_ADD_MULTI` (5.13); the fallback waits with epoll.
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
/// let fd = SharedFd::new(OwnedFd::from(near));
/// let mut events = runtime::replies(PollMany { fd, interest: Interest::READABLE });
/// for greeting in [b"hello", b"again"] {
///     far.write_all(greeting)?;
///     let (Step::Item(came) | Step::End(came)) = poll_fn(|context| events.poll_next(context)).await;
///     assert!(came?.intersects(Interest::READABLE));
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PollMany {
    /// Whose readiness.
    pub fd: SharedFd,
    /// What to wait for.
    pub interest: Interest,
}

impl Op for PollMany {
    type Output = io::Result<Interest>;

    fn request(&mut self) -> Request<'_> {
        Request::Ready(ReadyRequest::Poll { fd: self.fd.borrow(), interest: self.interest, many: true })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        events(reply)
    }
}

impl StreamOp for PollMany {
    type Item = io::Result<Interest>;

    #[inline]
    fn item(reply: io::Result<Reply>) -> Self::Item {
        events(reply)
    }
}

#[inline]
fn events(reply: io::Result<Reply>) -> io::Result<Interest> {
    // poll's masks have 16 bits, the highest unused; the kernel answers some of its own above them.
    reply.and_then(Reply::count).map(|mask| Interest((mask & 0xffff) as u16))
}

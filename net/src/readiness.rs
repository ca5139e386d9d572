//! Waiting until a socket is ready, by a poll that belongs to the handle.
//!
//! ```text
//!  the first wait ─► the poll is asked for, and tells what is there ─► try the socket ─► a wait: nothing is asked any more
//!                                                                         ▲ an edge ─────────┘
//! ```
//!
//! Futures only wait on it. When one is dropped the poll stays for the next, which costs nothing when calls are raced
//! against timeouts all the time, and loses nothing: readiness is not consumed by being told.
//!
//! It tells of edges, not of levels: **wait only after a try found nothing**. An edge from before the try is harmless,
//! it costs one more. Edges that nobody waits for are joined, and end the poll when there are [too
//! many](runtime::op::ready::PollMany); the next wait asks anew, and is told what is there.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use runtime::fd::SharedFd;
use runtime::op::ready::{Interest, PollMany};
use runtime::{Replies, Step, replies};
use rustix::event::PollFlags;
use rustix::io::Errno;

/// The wait for one kind of readiness, perhaps in flight. At most one: whoever waits has the turn.
pub(crate) struct Readiness {
    interest: Interest,
    /// Taken out while it is polled, since a waker may be anybody's.
    edges: Cell<Option<Replies<PollMany>>>,
    is_unsure: Cell<bool>,
}

impl Readiness {
    pub fn to_receive() -> Readiness {
        Readiness::new(Interest::READABLE | URGENT | OF_WAKE)
    }

    pub fn to_send() -> Readiness {
        Readiness::new(Interest::WRITABLE)
    }

    fn new(interest: Interest) -> Readiness {
        Readiness { interest, edges: Cell::new(None), is_unsure: Cell::new(false) }
    }

    /// Whether more may be there than a receive that was short has left: bytes behind a mark of urgent data, the end,
    /// an error. Their edge may have been told already.
    #[inline]
    pub fn is_unsure(&self) -> bool {
        self.is_unsure.get()
    }

    /// After a try that failed so. Gives the error back if no other try is worth it.
    ///
    /// [`Unready`](After::Unready): nothing was there, and whatever comes from now on comes with an edge.
    /// [Wait](Self::poll) before the next try.
    #[cold]
    pub fn after(&self, error: io::Error) -> io::Result<After> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(After::Again),
            // The task has had its share of this turn: nothing was tried, so no edge may ever come.
            io::ErrorKind::WouldBlock if error.raw_os_error().is_none() => Ok(After::Later),
            io::ErrorKind::WouldBlock => {
                self.is_unsure.set(false);
                Ok(After::Unready)
            }
            _ => Err(error),
        }
    }

    /// Waits, after a try found nothing. It may tell of readiness that is gone by now: try, and come back.
    #[inline]
    pub fn poll(&self, fd: &SharedFd, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ask = || replies(PollMany { fd: fd.clone(), interest: self.interest });
        let mut edges = self.edges.take().unwrap_or_else(ask);
        let came = loop {
            match edges.poll_next(context) {
                Poll::Pending => {
                    self.edges.set(Some(edges));
                    return Poll::Pending;
                }
                Poll::Ready(Step::Item(came)) => {
                    self.edges.set(Some(edges));
                    break came;
                }
                // It was stopped, since nobody wanted its edges, or a signal came.
                Poll::Ready(Step::End(Err(error))) if is_no_news(&error) => edges = ask(),
                Poll::Ready(Step::End(came)) => break came,
            }
        };
        Poll::Ready(came.map(|came| self.note(came)))
    }

    /// What came is a reason to try, whatever it is: errors and hang-ups show when the socket is used. A ring tells who
    /// waits for room of the peer's end, too, which makes none; that is one try in vain.
    #[inline]
    fn note(&self, came: Interest) {
        let came = came.bits();
        let is_urgent = came & (URGENT.bits() | OF_WAKE.bits()) == URGENT.bits();
        if is_urgent || came & NOT_BYTES != 0 {
            self.is_unsure.set(true);
        }
    }

    /// Ends the poll, and waits until it holds the descriptor no more. Nobody may be waiting.
    pub async fn end(&self) {
        if let Some(mut edges) = self.edges.take() {
            edges.stop();
            // What it still says is of no use to anybody.
            while let Step::Item(_) = poll_fn(|context| edges.poll_next(context)).await {}
        }
    }
}

/// What to do after a try that came to nothing.
pub(crate) enum After {
    /// Try once more.
    Again,
    /// Let others have their turn, and try then.
    Later,
    /// Wait, and try then.
    Unready,
}

fn is_no_news(error: &io::Error) -> bool {
    [Errno::CANCELED, Errno::INTR].into_iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

const URGENT: Interest = Interest::from_bits(PollFlags::PRI.bits());

/// No socket is ever ready for this, but a wake by new bytes says so, as it says [`URGENT`]: it tells what may be
/// there. A ring hands that on if there was just one wake, and looks for itself otherwise. Urgent data makes wakes of
/// its own, so where it is hidden by one this bit is missing, or there are several edges.
const OF_WAKE: Interest = Interest::from_bits(PollFlags::RDBAND.bits());

const NOT_BYTES: u16 = PollFlags::ERR.union(PollFlags::HUP).union(PollFlags::RDHUP).bits() | Interest::SEVERAL.bits();

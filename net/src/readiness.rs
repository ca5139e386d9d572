//! Waiting until a socket is ready, by an op that belongs to the handle.
//!
//! Futures only wait on it. When one is dropped the op stays for the next, which costs nothing when calls are raced
//! against timeouts all the time, and loses nothing: readiness is not consumed by being told.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use runtime::fd::SharedFd;
use runtime::op::ready::{self, Interest};
use runtime::time::now;
use runtime::{Submit, submit};
use rustix::event::PollFlags;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// The wait for one kind of readiness, perhaps in flight. At most one: whoever waits has the turn.
pub(crate) struct Readiness {
    interest: Interest,
    /// Taken out while it is polled, since a waker may be anybody's.
    op: Cell<Option<Submit<ready::Poll>>>,
}

impl Readiness {
    pub fn new(interest: Interest) -> Readiness {
        Readiness { interest, op: Cell::new(None) }
    }

    /// Waits. It may tell of readiness that is gone by now: try, and come back.
    pub async fn wait(&self, fd: &SharedFd) -> io::Result<()> {
        poll_fn(|context| self.poll(fd, context)).await
    }

    fn poll(&self, fd: &SharedFd, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ask = || submit(ready::Poll { fd: fd.clone(), interest: self.interest });
        let mut op = self.op.take().unwrap_or_else(ask);
        loop {
            match Pin::new(&mut op).poll(context) {
                Poll::Pending => {
                    self.op.set(Some(op));
                    return Poll::Pending;
                }
                // A ring tells of the peer's end whether or not it was asked, and would do so again at once.
                Poll::Ready(Ok(came)) if came == PEERS_END && self.interest == Interest::WRITABLE => {
                    op = submit(ready::Poll { fd: room_alone(fd)?, interest: Interest::READABLE });
                }
                // What came does not matter: errors and hang-ups show when the socket is used.
                Poll::Ready(came) => return Poll::Ready(came.map(drop)),
            }
        }
    }

    /// Ends the op, and waits until it holds the descriptor no more. Nobody may be waiting.
    pub async fn end(&self) {
        if let Some(op) = self.op.take() {
            // Cancelled or not, its reply is of no use to anybody.
            let _ended = op.deadline(now()).await;
        }
    }
}

/// The peer sends no more, and nothing else.
const PEERS_END: Interest = Interest::from_bits(PollFlags::RDHUP.bits());

/// A descriptor that is readable once there is room in the socket, or an error: an epoll, which tells of the peer's end only
/// when it is asked to. Two system calls and a descriptor, for the rare writer who has to wait for a peer that sends no more.
fn room_alone(fd: &SharedFd) -> io::Result<SharedFd> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, fd.os()?, EventData::new_u64(0), EventFlags::OUT)?;
    Ok(SharedFd::new(epoll))
}

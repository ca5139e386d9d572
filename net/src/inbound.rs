//! The receiving side of a stream.
//!
//! ```text
//!  lent:   parked bytes ─► try the socket ─► nothing there: wait on the handle's poll ─► try again
//!  owned:  parked bytes ─► an op that carries the turn ─► the reply
//!                                 └ its future is dropped: cancelled; what it had received all the same is parked
//!          without a ring, or alone on its core for a while: as lent
//! ```
//!
//! Nothing is lost by dropping a future. The poll consumes nothing, and an op whose future is gone keeps the turn until
//! its last reply, so the next reader finds its bytes, in their place.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use runtime::buf::IoBufMut;
use runtime::call::{self, Cheaper};
use runtime::fd::SharedFd;
use runtime::op::socket::{RecvFlags, SocketRequest};
use runtime::op::{Op, Reply, Request};
use runtime::submit;
use runtime::time::Instant;
use rustix::io::Errno;

use crate::limit::{Limit, as_expired, within};
use crate::line::{Line, Turn};
use crate::readiness::{After, Readiness};

/// What the receives of one socket share.
pub(crate) struct Inbound {
    fd: SharedFd,
    readable: Readiness,
    parked: RefCell<Parked>,
    /// The error of a receive that nobody waited for any more. The kernel tells it once only.
    failed: Cell<Option<io::Error>>,
    /// The last receive left the socket empty, as far as one can tell: the next need not try before it waits.
    emptied: Cell<bool>,
    /// How many owned receives in a row found nothing else to do on their core.
    alone: Cell<u8>,
    pub limit: Limit,
}

/// So many in a row make it likely that the next is alone, too.
const ALONE_MIN: u8 = 16;

impl Inbound {
    pub fn new(fd: SharedFd) -> Rc<Line<Inbound>> {
        Line::new(Inbound {
            fd,
            readable: Readiness::to_receive(),
            parked: RefCell::default(),
            failed: Cell::new(None),
            emptied: Cell::new(false),
            alone: Cell::new(0),
            limit: Limit::default(),
        })
    }

    /// Receives into lent memory, which no op ever sees.
    #[inline]
    pub fn receive<'a>(&'a self, buf: &'a mut [u8]) -> impl Future<Output = io::Result<usize>> + Unpin + 'a {
        poll_fn(move |context| self.poll_receive(context, buf))
    }

    #[inline]
    fn poll_receive(&self, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Some(taken) = self.take_parked(buf) {
            return Poll::Ready(taken);
        }
        let received = ready!(self.poll_socket(context, buf, RecvFlags::empty()));
        if let Ok(received) = received {
            self.note(received, buf.len());
        }
        Poll::Ready(received)
    }

    /// As [`receive`](Inbound::receive), and leaves what it shows.
    pub fn peek<'a>(&'a self, buf: &'a mut [u8]) -> impl Future<Output = io::Result<usize>> + Unpin + 'a {
        poll_fn(move |context| {
            let parked = self.parked.borrow().copy(buf);
            if parked > 0 {
                return Poll::Ready(Ok(parked));
            }
            match self.failed.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => self.poll_socket(context, buf, RecvFlags::PEEK),
            }
        })
    }

    #[inline]
    fn poll_socket(&self, context: &mut Context<'_>, buf: &mut [u8], flags: RecvFlags) -> Poll<io::Result<usize>> {
        loop {
            if self.emptied.get() {
                ready!(self.readable.poll(&self.fd, context))?;
                self.emptied.set(false);
            }
            let error = match call::try_recv(&self.fd, buf, flags) {
                Err(error) => error,
                received => return Poll::Ready(received),
            };
            match self.readable.after(error)? {
                After::Again => {}
                After::Unready => self.emptied.set(true),
                After::Later => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whether a receive without an op is cheapest: always where there is no ring, and on one when this connection has
    /// been all that its core had to do for a while. Then one enter waits for the handle's poll, and the rest are plain
    /// calls.
    #[inline]
    fn prefers_calls(&self) -> bool {
        let alone = match call::cheaper() {
            Cheaper::AlwaysCall => return true,
            Cheaper::Call => self.alone.get().saturating_add(1),
            Cheaper::Op => 0,
        };
        self.alone.set(alone);
        alone >= ALONE_MIN
    }

    /// What an earlier receive brought that nobody took: bytes first, then its error.
    #[inline]
    fn take_parked(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let taken = self.parked.borrow_mut().take(buf);
        if taken > 0 {
            return Some(Ok(taken));
        }
        self.failed.take().map(Err)
    }

    /// Keeps bytes for the next reader. Bound: what one call has received. A call receives only when nothing is parked.
    pub fn park(&self, bytes: &[u8]) {
        let mut parked = self.parked.borrow_mut();
        debug_assert!(parked.is_empty(), "something was received although bytes were parked");
        parked.bytes.extend_from_slice(bytes);
    }

    /// Gives what is parked away.
    pub fn take_all_parked(&self) -> Vec<u8> {
        let mut parked = self.parked.take();
        parked.bytes.drain(..parked.start);
        parked.bytes
    }

    /// Gives away the error of a receive that nobody waited for, or takes one that was given away.
    pub fn take_failed(&self) -> Option<io::Error> {
        self.failed.take()
    }

    pub fn set_failed(&self, failed: Option<io::Error>) {
        self.failed.set(failed);
    }

    /// The one place that guesses. A receive that could have brought more has emptied the socket, unless it met what is
    /// no bytes: after the end nothing needs to be waited for, and urgent data ends a receive before it. (So does a
    /// descriptor that was passed, in a unix socket: a receive of such a stream tells less.)
    #[inline]
    fn note(&self, received: usize, asked: usize) {
        self.emptied.set(received > 0 && received < asked && !self.readable.is_unsure());
    }

    /// Ends what is in flight for the handle. Nobody may be waiting.
    pub async fn end(&self) {
        self.readable.end().await;
    }
}

/// Bytes from `start` on.
#[derive(Default)]
struct Parked {
    bytes: Vec<u8>,
    start: usize,
}

impl Parked {
    fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    fn copy(&self, buf: &mut [u8]) -> usize {
        let unread = &self.bytes[self.start..];
        let len = unread.len().min(buf.len());
        buf[..len].copy_from_slice(&unread[..len]);
        len
    }

    #[inline]
    fn take(&mut self, buf: &mut [u8]) -> usize {
        if self.is_empty() {
            return 0;
        }
        let taken = self.copy(buf);
        self.start += taken;
        if self.is_empty() {
            // Parking is rare, so its memory is not kept.
            *self = Parked::default();
        }
        taken
    }
}

/// A buffer that is being received into, and the turn.
pub(crate) struct Receiving<B> {
    pub turn: Turn<Inbound>,
    pub buf: B,
    /// So many bytes are there already.
    pub filled: usize,
}

impl<B: IoBufMut> Receiving<B> {
    /// Receives once, behind what is there. Adds to `filled`, and returns how much that was.
    pub async fn receive(
        mut self,
        line: &Line<Inbound>,
        deadline: Option<Instant>,
    ) -> (Receiving<B>, io::Result<usize>) {
        let filled = self.filled;
        if let Some(taken) = self.turn.take_parked(&mut self.buf.bytes_mut()[filled..]) {
            self.filled += *taken.as_ref().unwrap_or(&0);
            return (self, taken);
        }
        if self.turn.prefers_calls() {
            let mut unread = Unread(&mut self);
            let received = within(deadline, poll_fn(|context| unread.poll(context))).await.flatten();
            unread.disarm();
            return (self, received);
        }
        loop {
            let leaving = line.leaving();
            let (receiving, received) = match deadline {
                None => submit(self).await,
                Some(deadline) => submit(self).deadline(deadline).await,
            };
            leaving.disarm();
            match received {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self = receiving,
                received => return (receiving, received.map_err(as_expired)),
            }
        }
    }

    /// Makes what was received unread again.
    pub fn give_back(&mut self) {
        let filled = std::mem::take(&mut self.filled);
        if filled > 0 {
            self.turn.park(&self.buf.bytes_mut()[..filled]);
        }
    }
}

/// Receives without an op. Dropped while it waits, all that was received is unread again, as an op's `abandon` has it.
struct Unread<'a, B: IoBufMut>(&'a mut Receiving<B>);

impl<B: IoBufMut> Unread<'_, B> {
    #[inline]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Receiving { turn, buf, filled } = &mut *self.0;
        let received = ready!(turn.poll_receive(context, &mut buf.bytes_mut()[*filled..]))?;
        *filled += received;
        Poll::Ready(Ok(received))
    }

    /// It did not come to that.
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl<B: IoBufMut> Drop for Unread<'_, B> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl<B: IoBufMut> Op for Receiving<B> {
    type Output = (Receiving<B>, io::Result<usize>);

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Socket(SocketRequest::Recv {
            fd: self.turn.fd.borrow(),
            buf: &mut self.buf.bytes_mut()[self.filled..],
            flags: RecvFlags::empty(),
            poll_first: self.turn.emptied.get(),
        })
    }

    #[inline]
    fn finish(mut self, reply: io::Result<Reply>) -> Self::Output {
        let received = reply.and_then(Reply::count);
        if let Ok(received) = received {
            self.turn.note(received, self.buf.bytes().len().saturating_sub(self.filled));
            self.filled += received;
        }
        (self, received)
    }

    /// The bytes are the next reader's. The turn goes on when this returns, so nobody can come in between.
    fn abandon(self, reply: io::Result<Reply>) {
        let (mut receiving, received) = self.finish(reply);
        receiving.give_back();
        if let Err(error) = received
            && !is_harmless(&error)
        {
            receiving.turn.failed.set(Some(error));
        }
    }
}

/// Whether the error only says that nothing was received, so that the next receive is told anything else itself.
fn is_harmless(error: &io::Error) -> bool {
    let harmless = [Errno::CANCELED, Errno::INTR, Errno::AGAIN];
    harmless.into_iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Lent memory that is being filled. Dropped before it is full, the bytes are unread again.
pub(crate) struct Filling<'a> {
    turn: Turn<Inbound>,
    buf: &'a mut [u8],
    filled: usize,
}

impl<'a> Filling<'a> {
    pub fn new(turn: Turn<Inbound>, buf: &'a mut [u8]) -> Filling<'a> {
        Filling { turn, buf, filled: 0 }
    }

    /// Receives once. `true`: it is full.
    pub fn receive(&mut self) -> impl Future<Output = io::Result<bool>> + Unpin {
        poll_fn(|context| {
            match ready!(self.turn.poll_receive(context, &mut self.buf[self.filled..]))? {
                0 => return Poll::Ready(Err(unexpected_end())),
                received => self.filled += received,
            }
            Poll::Ready(Ok(self.filled == self.buf.len()))
        })
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if self.filled > 0 && self.filled < self.buf.len() {
            self.turn.park(&self.buf[..self.filled]);
        }
    }
}

/// The stream ended before a buffer was full, in std's words.
pub(crate) fn unexpected_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "failed to fill whole buffer")
}

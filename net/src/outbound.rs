//! The sending side of a stream.
//!
//! ```text
//!  lent:   try the socket ─► no room: wait on the handle's poll ─► try again
//!  owned:  a piece of at most 256 KiB ─► alone on its core: try the socket ─► no room, or not alone:
//!          an op that carries the turn ─► the reply ─► the next piece
//!             └ its future is dropped: the piece goes out whole; its error is the next writer's
//! ```
//!
//! A dropped lent write has sent nothing. An owned piece in flight is finished, since half of it, with nobody told
//! which half, would spoil the stream; it has the turn until then, so what is written later comes behind it. When the
//! handles are gone too, it is finished as long as the peer goes on taking it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use runtime::buf::IoBuf;
use runtime::call::{self, Cheaper};
use runtime::fd::SharedFd;
use runtime::op::socket::{SendFlags, Shutdown, SocketOption, SocketRequest};
use runtime::op::{OnDrop, Op, Reply, Request};
use runtime::submit;
use runtime::time::{Duration, Instant};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::limit::{Limit, as_expired};
use crate::line::{Line, Turn};
use crate::readiness::{After, Readiness};

/// So much goes out at once, and so much goes out still when a write is dropped.
pub(crate) const PIECE_MAX: usize = 256 << 10;

/// So long may a peer take nothing of a piece for which neither a future nor a handle is left.
///
/// As long as Linux keeps a connection that its program has closed, and its peer has not (`tcp_fin_timeout`).
const STALL_MAX: Duration = Duration::from_secs(60);

/// What the sends of one socket share.
pub(crate) struct Outbound {
    fd: SharedFd,
    writable: Readiness,
    /// The last lent send found no room, and none has come since, as far as anybody was told.
    filled: Cell<bool>,
    /// The error of a piece that nobody waited for any more.
    failed: Cell<Option<io::Error>>,
    /// `close(2)` would wait for the peer.
    pub lingers: Cell<bool>,
    pub limit: Limit,
}

impl Outbound {
    fn new(fd: SharedFd) -> Rc<Line<Outbound>> {
        Line::new(Outbound {
            fd,
            writable: Readiness::to_send(),
            filled: Cell::new(false),
            failed: Cell::new(None),
            lingers: Cell::new(false),
            limit: Limit::default(),
        })
    }

    /// Sends from lent memory, which no op ever sees.
    #[inline]
    pub fn send<'a>(&'a self, buf: &'a [u8]) -> impl Future<Output = io::Result<usize>> + Unpin + 'a {
        poll_fn(move |context| self.poll_send(context, buf))
    }

    #[inline]
    fn poll_send(&self, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        loop {
            // Nothing at all needs no room.
            if self.filled.get() && !buf.is_empty() {
                ready!(self.writable.poll(&self.fd, context))?;
                self.filled.set(false);
            }
            let error = match call::try_send(&self.fd, buf, SendFlags::empty()) {
                Err(error) => error,
                sent => return Poll::Ready(sent),
            };
            match self.writable.after(error)? {
                After::Again => {}
                After::Unready => self.filled.set(true),
                After::Later => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Tells once what became of a write that was dropped.
    pub fn check(&self) -> io::Result<()> {
        self.take_failed().map_or(Ok(()), Err)
    }

    /// Gives away the error of a write that nobody waited for any more, or takes one that was given away.
    pub fn take_failed(&self) -> Option<io::Error> {
        self.failed.take()
    }

    pub fn set_failed(&self, failed: Option<io::Error>) {
        self.failed.set(failed);
    }

    /// A piece is in flight for which nobody is left: its peer must not keep the descriptor by reading nothing.
    #[cold]
    fn hurry(&self) {
        let os = self.fd.os().ok();
        let linger = os.and_then(|fd| sockopt::socket_linger(fd).ok()).flatten();
        // What the program has chosen itself, it has chosen for this, too.
        let is_chosen = os.is_some_and(|fd| sockopt::tcp_user_timeout(fd).is_ok_and(|millis| millis > 0));
        // Failing that, the connection has ended already, or its runtime, which cancels the piece.
        let _ended = match () {
            () if linger == Some(Duration::ZERO) => call::shutdown(&self.fd, Shutdown::Both),
            () if is_chosen => Ok(()),
            () => call::set_option(&self.fd, SocketOption::UserTimeout(STALL_MAX)),
        };
    }

    /// Ends what is in flight for the handle. Nobody may be waiting.
    pub async fn end(&self) {
        self.writable.end().await;
    }
}

/// A handle's share of the sending side.
#[derive(Clone)]
pub(crate) struct Sender(Rc<Line<Outbound>>);

impl Sender {
    pub fn new(fd: SharedFd) -> Sender {
        Sender(Outbound::new(fd))
    }

    /// Whether no other handle has one.
    pub fn is_last(&self) -> bool {
        // A piece in flight has the turn, and that has the line.
        Rc::strong_count(&self.0) == 1 + usize::from(self.0.is_left_to_op())
    }
}

impl Deref for Sender {
    type Target = Rc<Line<Outbound>>;

    #[inline]
    fn deref(&self) -> &Rc<Line<Outbound>> {
        &self.0
    }
}

impl Drop for Sender {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_left_to_op() && self.is_last() {
            self.0.hurry();
        }
    }
}

impl Drop for Outbound {
    /// All handles are gone and all pieces are out, so the descriptor closes next, on the core, which must not wait. To
    /// the peer it makes no difference: Linux goes on sending in the background either way.
    fn drop(&mut self) {
        if self.lingers.get()
            && let Ok(fd) = self.fd.os()
        {
            // Failing that, the core waits; there is nobody to tell.
            let _stays = sockopt::set_socket_linger(fd, None);
        }
    }
}

/// A buffer that is being sent, and the turn.
pub(crate) struct Sending<B> {
    turn: Turn<Outbound>,
    pub buf: B,
    /// So many bytes are out.
    pub sent: usize,
    /// Where the piece begins that is on its way, and where it ends.
    begin: usize,
    end: usize,
}

impl<B: IoBuf> Sending<B> {
    pub fn new(turn: Turn<Outbound>, buf: B) -> Sending<B> {
        Sending { turn, buf, sent: 0, begin: 0, end: 0 }
    }

    /// Sends one piece. Adds to `sent`, and returns how much that was.
    pub async fn send(mut self, line: &Line<Outbound>, deadline: Option<Instant>) -> (Sending<B>, io::Result<usize>) {
        if let Err(error) = self.turn.check() {
            return (self, Err(error));
        }
        // A piece of which a part is out is gone on with.
        if self.sent == self.end {
            (self.begin, self.end) = (self.sent, self.buf.bytes().len().min(self.sent + PIECE_MAX));
        }
        if call::cheaper() != Cheaper::Op {
            match call::try_send(&self.turn.fd, &self.buf.bytes()[self.sent..self.end], SendFlags::empty()) {
                // No room: the op waits for that. Or a signal.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                sent => {
                    self.sent += *sent.as_ref().unwrap_or(&0);
                    return (self, sent);
                }
            }
        }
        loop {
            let leaving = line.leaving();
            let (sending, sent) = match deadline {
                None => submit(self).await,
                Some(deadline) => submit(self).deadline(deadline).await,
            };
            leaving.disarm();
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self = sending,
                sent => return (sending, sent.map_err(as_expired)),
            }
        }
    }

    /// What is left of a piece whose future is gone. A ring sends pieces whole; where none does, a full socket splits
    /// them.
    async fn finish_piece(mut self) {
        while self.sent < self.end {
            let (sending, sent) = submit(self).await;
            self = sending;
            match sent {
                Ok(0) => return self.turn.failed.set(Some(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.turn.failed.set(Some(error)),
            }
        }
    }
}

impl<B: IoBuf> Op for Sending<B> {
    type Output = (Sending<B>, io::Result<usize>);

    const ON_DROP: OnDrop = OnDrop::Finish;

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Socket(SocketRequest::Send {
            fd: self.turn.fd.borrow(),
            buf: &self.buf.bytes()[self.sent..self.end],
            flags: SendFlags::empty(),
            whole: true,
        })
    }

    #[inline]
    fn finish(mut self, reply: io::Result<Reply>) -> Self::Output {
        let sent = reply.and_then(Reply::count);
        self.sent += *sent.as_ref().unwrap_or(&0);
        (self, sent)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        let (sending, sent) = self.finish(reply);
        let is_cancelled = matches!(&sent, Err(error) if error.raw_os_error() == Some(Errno::CANCELED.raw_os_error()));
        match sent {
            // The end of the runtime, or a deadline: a piece of which nothing is out stays so.
            Err(_) if is_cancelled && sending.sent == sending.begin => {}
            Err(error) if !is_cancelled && error.kind() != io::ErrorKind::Interrupted => {
                sending.turn.failed.set(Some(error));
            }
            _ if sending.sent < sending.end => drop(runtime::spawn(sending.finish_piece())),
            _ => {}
        }
    }
}

//! Ops on sockets: make, name, connect, accept, receive, send, shut down.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use io_uring::{opcode, squeue, types};
use rustix::fs::OFlags;
use rustix::io::{Errno, retry_on_intr};
pub use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, Shutdown, SocketType, ipproto};
use rustix::net::{SocketFlags, sockopt};

use super::address::SocketAddress;
use super::{
    Answered, Attempt, OnDrop, Op, Replies, Reply, Request, StreamOp, Way, Yields, check_room, len_asked, ready,
    ready::Interest,
};
use crate::buf::{BufResult, IoBuf, IoBufMut, with_buf};
use crate::fd::{Fd, FdRef, SharedFd};

/// What is asked of a socket.
#[non_exhaustive]
pub enum SocketRequest<'a> {
    /// Make one.
    Socket {
        /// The family of addresses.
        family: AddressFamily,
        /// Stream or datagram.
        kind: SocketType,
        /// The protocol, or the usual one.
        protocol: Option<Protocol>,
    },
    /// Make two unix sockets that are connected to each other.
    Pair {
        /// Stream or datagram.
        kind: SocketType,
    },
    /// Bind it to a local address.
    Bind {
        /// The socket.
        fd: FdRef<'a>,
        /// The address.
        address: &'a SocketAddress,
    },
    /// Listen for connections.
    Listen {
        /// The socket.
        fd: FdRef<'a>,
        /// How many may wait to be accepted.
        backlog: i32,
    },
    /// Connect.
    Connect {
        /// The socket.
        fd: FdRef<'a>,
        /// The address to connect to.
        address: &'a SocketAddress,
        /// As [`Connect::ours`].
        ours: bool,
    },
    /// Accept a connection.
    Accept {
        /// The listener.
        fd: FdRef<'a>,
        /// Who connected; a ring that accepts many does not say.
        peer: Option<&'a mut SocketAddress>,
    },
    /// Receive.
    Recv {
        /// The socket.
        fd: FdRef<'a>,
        /// Filled from its start.
        buf: &'a mut [u8],
        /// `DONTWAIT` answers EAGAIN instead of waiting.
        flags: RecvFlags,
        /// Set it if the socket was empty at the last receive: then the kernel waits before it tries.
        poll_first: bool,
    },
    /// Send. Never raises SIGPIPE.
    Send {
        /// The socket.
        fd: FdRef<'a>,
        /// Sent from its start.
        buf: &'a [u8],
        /// `DONTWAIT` answers EAGAIN instead of waiting.
        flags: SendFlags,
        /// Whether to send all of it, unless there is an error.
        whole: bool,
    },
    /// Shut down one or both directions.
    Shutdown {
        /// The socket.
        fd: FdRef<'a>,
        /// Which.
        how: Shutdown,
    },
    /// Get the address of one end.
    Name {
        /// The socket.
        fd: FdRef<'a>,
        /// Whose end.
        end: End,
        /// Where the address goes.
        address: &'a mut SocketAddress,
    },
    /// Set an option.
    SetOption {
        /// The socket.
        fd: FdRef<'a>,
        /// Which, and its value.
        option: SocketOption,
    },
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This end.
    Local,
    /// The peer.
    Peer,
}

/// A socket option that every driver supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// `TCP_NODELAY`: send small pieces at once.
    NoDelay(bool),
    /// `SO_REUSEADDR`: allow binding to an address whose old connections are still in TIME_WAIT.
    ReuseAddress(bool),
    /// `TCP_USER_TIMEOUT`: the connection ends with ETIMEDOUT when the peer has taken nothing of what waits for it for
    /// so long, in whole milliseconds and 24 days at most. Zero is the system's own bound, and that is none for a peer
    /// which is there and does not read. See tcp(7).
    UserTimeout(Duration),
}

/// How `TCP_USER_TIMEOUT` says it: rounded up, so that a short one is one, and no more than the kernel's `int` holds.
pub(crate) fn millis(timeout: Duration) -> u32 {
    let most = i32::MAX.unsigned_abs();
    u32::try_from(timeout.as_nanos().div_ceil(1_000_000)).map_or(most, |millis| millis.min(most))
}

impl<'a> SocketRequest<'a> {
    /// `None` where no ring op does it everywhere; the plain syscall, which never blocks, does.
    #[inline(always)]
    pub(super) fn sqe(&mut self) -> Option<squeue::Entry> {
        Some(match self {
            SocketRequest::Recv { fd, buf, flags, poll_first } => {
                opcode::Recv::new(types::Fd(fd.number()), buf.as_mut_ptr(), len_asked(buf.len()))
                    .flags(flags.bits().cast_signed())
                    .ioprio(if *poll_first { POLL_FIRST } else { 0 })
                    .build()
            }
            SocketRequest::Send { fd, buf, flags, whole } => {
                opcode::Send::new(types::Fd(fd.number()), buf.as_ptr(), len_asked(buf.len()))
                    .flags(flags.bits().cast_signed() | NOSIGNAL | if *whole { WAITALL } else { 0 })
                    .build()
            }
            SocketRequest::Accept { fd, peer: Some(peer) } => {
                let (address, len) = peer.raw_mut();
                opcode::Accept::new(types::Fd(fd.number()), address.cast(), len).flags(CLOEXEC).build()
            }
            SocketRequest::Accept { fd, peer: None } => {
                opcode::AcceptMulti::new(types::Fd(fd.number())).flags(CLOEXEC).build()
            }
            SocketRequest::Connect { fd, address, .. } => {
                let (address, len) = address.raw();
                opcode::Connect::new(types::Fd(fd.number()), address.cast(), len).build()
            }
            SocketRequest::Socket { .. }
            | SocketRequest::Pair { .. }
            | SocketRequest::Bind { .. }
            | SocketRequest::Listen { .. }
            | SocketRequest::Shutdown { .. }
            | SocketRequest::Name { .. }
            | SocketRequest::SetOption { .. } => return None,
        })
    }

    /// Waits for nothing: EAGAIN says that it would have to. The exception is a connect of a blocking socket that is
    /// not [ours](Connect::ours), whose way is the pool.
    #[inline(always)]
    pub(super) fn call(&mut self) -> Answered {
        let none = |()| Reply::Count(0);
        match self {
            SocketRequest::Socket { family, kind, protocol } => {
                rustix::net::socket_with(*family, *kind, SocketFlags::CLOEXEC, *protocol).map(|fd| Reply::Fd(fd.into()))
            }
            SocketRequest::Pair { kind } => {
                let pair = rustix::net::socketpair(AddressFamily::UNIX, *kind, SocketFlags::CLOEXEC, None);
                pair.map(|(one, other)| Reply::Pair(Box::new((one.into(), other.into()))))
            }
            SocketRequest::Bind { fd, address } => rustix::net::bind(fd.os()?, &address.any()?).map(none),
            SocketRequest::Listen { fd, backlog } => rustix::net::listen(fd.os()?, *backlog).map(none),
            SocketRequest::Connect { fd, address, ours } => connect(*fd, address, *ours).map(none),
            SocketRequest::Accept { fd, peer } => accept(*fd, peer.as_deref_mut()),
            SocketRequest::Recv { fd, buf, flags, .. } => {
                let len = buf.len().min(super::LEN_MAX);
                rustix::net::recv(fd.os()?, &mut buf[..len], *flags | RecvFlags::DONTWAIT)
                    .map(|(_, received)| Reply::Count(received))
            }
            SocketRequest::Send { fd, buf, flags, .. } => {
                let buf = &buf[..buf.len().min(super::LEN_MAX)];
                rustix::net::send(fd.os()?, buf, *flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(Reply::Count)
            }
            SocketRequest::Shutdown { fd, how } => rustix::net::shutdown(fd.os()?, *how).map(none),
            SocketRequest::Name { fd, end: End::Local, address } => {
                address.set(Some(rustix::net::getsockname(fd.os()?)?));
                Ok(Reply::Count(0))
            }
            SocketRequest::Name { fd, end: End::Peer, address } => {
                address.set(rustix::net::getpeername(fd.os()?)?);
                Ok(Reply::Count(0))
            }
            SocketRequest::SetOption { fd, option: SocketOption::NoDelay(on) } => {
                sockopt::set_tcp_nodelay(fd.os()?, *on).map(none)
            }
            SocketRequest::SetOption { fd, option: SocketOption::ReuseAddress(on) } => {
                sockopt::set_socket_reuseaddr(fd.os()?, *on).map(none)
            }
            SocketRequest::SetOption { fd, option: SocketOption::UserTimeout(timeout) } => {
                sockopt::set_tcp_user_timeout(fd.os()?, millis(*timeout)).map(none)
            }
        }
    }

    /// Never blocks. Who wants all gets what there is, and asks for the rest when there is more.
    pub(super) fn attempt(&mut self) -> Attempt {
        if let SocketRequest::Connect { fd, address, ours } = self
            && address.family() == AddressFamily::UNIX
        {
            return connect_unix(*fd, address, ours);
        }
        let (fd, len) = match self {
            SocketRequest::Recv { fd, buf, flags, .. }
                if flags.contains(RecvFlags::WAITALL) && !flags.contains(RecvFlags::PEEK) =>
            {
                (*fd, buf.len())
            }
            SocketRequest::Send { fd, buf, whole: true, .. } => (*fd, buf.len()),
            _ => return Attempt::from(retry_on_intr(|| self.call())),
        };
        match retry_on_intr(|| self.call()) {
            Ok(Reply::Count(moved)) if 0 < moved && moved < len && is_stream(fd) => {
                self.skip(moved);
                Attempt::Moved(moved)
            }
            answered => Attempt::from(answered),
        }
    }

    fn skip(&mut self, moved: usize) {
        match self {
            SocketRequest::Recv { buf, .. } => *buf = &mut std::mem::take(buf)[moved..],
            SocketRequest::Send { buf, .. } => *buf = &buf[moved..],
            _ => {}
        }
    }

    pub(super) fn way(&self) -> Way<'a> {
        match *self {
            SocketRequest::Recv { flags, .. } if flags.contains(RecvFlags::DONTWAIT) => Way::Inline,
            SocketRequest::Send { flags, .. } if flags.contains(SendFlags::DONTWAIT) => Way::Inline,
            SocketRequest::Recv { fd, .. } | SocketRequest::Accept { fd, .. } => Way::Ready(fd, Interest::READABLE),
            SocketRequest::Connect { fd, ours: false, .. } if is_blocking(fd) => Way::Pool,
            SocketRequest::Send { fd, .. } | SocketRequest::Connect { fd, .. } => Way::Ready(fd, Interest::WRITABLE),
            SocketRequest::Socket { .. }
            | SocketRequest::Pair { .. }
            | SocketRequest::Bind { .. }
            | SocketRequest::Listen { .. }
            | SocketRequest::Shutdown { .. }
            | SocketRequest::Name { .. }
            | SocketRequest::SetOption { .. } => Way::Inline,
        }
    }

    /// Whoever accepts waits for strangers; whoever receives may know that nothing is there.
    pub(super) fn expects_to_wait(&self) -> bool {
        match self {
            // What does not listen is never readable for this: it is told so at once, and waits for nothing.
            SocketRequest::Accept { fd, .. } => is_listening(*fd),
            SocketRequest::Recv { poll_first, .. } => *poll_first,
            _ => false,
        }
    }

    pub(super) fn replies(&self) -> Replies {
        match self {
            SocketRequest::Accept { peer: None, .. } => Replies::All,
            _ => Replies::One,
        }
    }

    pub(super) fn yields(&self) -> Yields {
        match self {
            SocketRequest::Socket { .. } | SocketRequest::Accept { .. } => Yields::Fd,
            _ => Yields::Count,
        }
    }
}

impl fmt::Debug for SocketRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketRequest::Socket { family, kind, .. } => write!(f, "socket {family:?} {kind:?}"),
            SocketRequest::Pair { kind } => write!(f, "socketpair {kind:?}"),
            SocketRequest::Bind { fd, address } => write!(f, "bind {fd:?} to {address:?}"),
            SocketRequest::Listen { fd, backlog } => write!(f, "listen on {fd:?}, backlog {backlog}"),
            SocketRequest::Connect { fd, address, .. } => write!(f, "connect {fd:?} to {address:?}"),
            SocketRequest::Accept { fd, .. } => write!(f, "accept on {fd:?}"),
            SocketRequest::Recv { fd, buf, .. } => write!(f, "receive {} bytes on {fd:?}", buf.len()),
            SocketRequest::Send { fd, buf, .. } => write!(f, "send {} bytes on {fd:?}", buf.len()),
            SocketRequest::Shutdown { fd, how } => write!(f, "shut down {fd:?}, {how:?}"),
            SocketRequest::Name { fd, end, .. } => write!(f, "name of {fd:?}, {end:?}"),
            SocketRequest::SetOption { fd, option } => write!(f, "set {option:?} on {fd:?}"),
        }
    }
}

/// `IORING_RECVSEND_POLL_FIRST`: do not try, wait for readiness at once.
pub(super) const POLL_FIRST: u16 = 1;
const CLOEXEC: i32 = SocketFlags::CLOEXEC.bits().cast_signed();
const NOSIGNAL: i32 = SendFlags::NOSIGNAL.bits().cast_signed();
/// `MSG_WAITALL`: rustix has it for receives only; a ring heeds it for sends too.
const WAITALL: i32 = RecvFlags::WAITALL.bits().cast_signed();

/// Begins to connect, or asks what became of it: the kernel takes the second connect(2) for that question, and answers
/// EALREADY, then once 0 or the error.
///
/// EAGAIN: not decided yet.
fn connect(fd: FdRef<'_>, address: &SocketAddress, ours: bool) -> Result<(), Errno> {
    let fd = fd.os()?;
    let address = address.any()?;
    if ours {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    let connected = rustix::net::connect(fd, &address);
    if ours {
        rustix::io::ioctl_fionbio(fd, false)?;
    }
    connected.map_err(|error| if matches!(error, Errno::INPROGRESS | Errno::ALREADY) { Errno::AGAIN } else { error })
}

/// No event tells that a full listener has room again: waiting for that is left to a thread, in a connect that blocks.
fn connect_unix(fd: FdRef<'_>, address: &SocketAddress, ours: &mut bool) -> Attempt {
    match retry_on_intr(|| connect(fd, address, *ours)) {
        Err(Errno::AGAIN) => {
            *ours = false;
            Attempt::MayBlock
        }
        connected => Attempt::Done(connected.map(|()| Reply::Count(0))),
    }
}

/// Whether calls on it may wait. A descriptor that cannot be asked fails by itself, at once.
fn is_blocking(fd: FdRef<'_>) -> bool {
    fd.os().and_then(rustix::fs::fcntl_getfl).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK))
}

fn is_listening(fd: FdRef<'_>) -> bool {
    fd.os().and_then(sockopt::socket_acceptconn).unwrap_or(false)
}

/// Whether there is more to wait for: a datagram is all there is of it.
fn is_stream(fd: FdRef<'_>) -> bool {
    fd.os().and_then(sockopt::socket_type).is_ok_and(|kind| kind == SocketType::STREAM)
}

/// What accept(2) says of what does not listen.
fn why_not_accepted(fd: FdRef<'_>) -> Errno {
    match fd.os().and_then(sockopt::socket_type) {
        Ok(SocketType::STREAM | SocketType::SEQPACKET) => Errno::INVAL,
        Ok(_) => Errno::OPNOTSUPP,
        Err(error) => error,
    }
}

/// Between the look at a listener and the accept on it no other core may take the connection. One for all listeners: it
/// is held for two system calls, and where no ring is.
static ACCEPTING: Mutex<()> = Mutex::new(());

/// Takes a connection that is there. A blocking listener must not block us: somebody else may have been faster than our
/// poll, so the listener is asked once more. Cores wait for each other here; the rest of the race, with other
/// processes, is left to the caller.
fn accept(fd: FdRef<'_>, peer: Option<&mut SocketAddress>) -> Answered {
    let _alone = ACCEPTING.lock().unwrap_or_else(PoisonError::into_inner);
    match ready::poll_now(fd, Interest::READABLE) {
        Err(Errno::AGAIN) if !is_listening(fd) => return Err(why_not_accepted(fd)),
        readable => readable?,
    };
    let fd = fd.os()?;
    let Some(peer) = peer else {
        return rustix::net::accept_with(fd, SocketFlags::CLOEXEC).map(|fd| Reply::Fd(fd.into()));
    };
    let (accepted, address) = rustix::net::acceptfrom_with(fd, SocketFlags::CLOEXEC)?;
    peer.set(address);
    Ok(Reply::Fd(accepted.into()))
}

/// Connects. `connect(2)`; `IORING_OP_CONNECT` (5.5).
///
/// A connect that is cancelled may still succeed: close the socket, do not use it again. A unix socket is connected at
/// once, or waits while the listener's backlog is full; waiting uses a thread of the kernel's or of the blocking pool.
#[derive(Debug)]
pub struct Connect {
    /// The socket.
    pub fd: SharedFd,
    /// To whom.
    pub address: SocketAddress,
    /// Whether the socket was made by [`call::socket`](crate::call::socket) and nothing else uses it yet. If so, the
    /// fallback may make it non-blocking during the system call; otherwise connecting a blocking socket uses a thread
    /// of the blocking pool, which cannot be cancelled.
    pub ours: bool,
}

impl Op for Connect {
    type Output = io::Result<()>;

    fn request(&mut self) -> Request<'_> {
        Request::Socket(SocketRequest::Connect { fd: self.fd.borrow(), address: &self.address, ours: self.ours })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        reply.and_then(Reply::count).map(|_zero| ())
    }
}

/// Accepts a connection. `accept4(2)`, close-on-exec; `IORING_OP_ACCEPT` (5.5).
///
/// Returns the connection and the peer's address. The kernel may complete an accept although it was cancelled:
/// `abandon` closes that connection. To keep it for the next caller, let a handle own the op, as `net` does.
#[derive(Debug)]
pub struct Accept {
    /// The listener.
    pub fd: SharedFd,
    /// Where the kernel writes the peer's address.
    pub peer: SocketAddress,
}

impl Accept {
    /// Accepts on `fd`.
    pub fn new(fd: SharedFd) -> Accept {
        Accept { fd, peer: SocketAddress::room() }
    }
}

impl Op for Accept {
    type Output = io::Result<(Fd, SocketAddress)>;

    fn request(&mut self) -> Request<'_> {
        Request::Socket(SocketRequest::Accept { fd: self.fd.borrow(), peer: Some(&mut self.peer) })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        Ok((reply?.fd()?, self.peer))
    }
}

/// Accepts connections, one reply each. `IORING_OP_ACCEPT` with `IORING_ACCEPT_MULTISHOT` (5.19).
///
/// The peers' addresses are not returned: ask [`call::name`](crate::call::name). It can end at any time without an
/// error; then start it again.
#[derive(Debug)]
pub struct AcceptMany {
    /// The listener.
    pub fd: SharedFd,
}

impl Op for AcceptMany {
    type Output = io::Result<Fd>;

    fn request(&mut self) -> Request<'_> {
        Request::Socket(SocketRequest::Accept { fd: self.fd.borrow(), peer: None })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        reply?.fd()
    }
}

impl StreamOp for AcceptMany {
    type Item = io::Result<Fd>;

    fn item(reply: io::Result<Reply>) -> Self::Item {
        reply?.fd()
    }
}

/// Receives into `buf`. `recv(2)`; `IORING_OP_RECV` (5.6).
///
/// Returns how many bytes were received, and the buffer; 0 is the end.
#[derive(Debug)]
pub struct Recv<B> {
    /// The socket.
    pub fd: SharedFd,
    /// Filled up to its length. Must not be empty.
    pub buf: B,
    /// `recv(2)`'s flags.
    pub flags: RecvFlags,
    /// The socket was empty when last looked at: wait first, do not try.
    pub poll_first: bool,
}

impl<B: IoBufMut> Op for Recv<B> {
    type Output = BufResult<usize, B>;

    #[inline]
    fn check(&self) -> io::Result<()> {
        check_room(self.buf.bytes().len())
    }

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Socket(SocketRequest::Recv {
            fd: self.fd.borrow(),
            buf: self.buf.bytes_mut(),
            flags: self.flags,
            poll_first: self.poll_first,
        })
    }

    #[inline]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        with_buf(reply.and_then(Reply::count), self.buf)
    }
}

/// Sends from `buf`. `send(2)` with `MSG_NOSIGNAL`; `IORING_OP_SEND` (5.6).
///
/// Returns how many bytes were sent, and the buffer. With `whole`, fewer bytes than the buffer holds mean that the
/// connection broke.
///
/// Beware of one case: between unix datagram sockets that are not each other's peers, a ring that had to wait for room
/// sends an **empty** datagram and returns 0 (seen on Linux 6.18, which loses the contents at the first try). In that
/// case wait with [`Poll`](super::ready::Poll), and send with `DONTWAIT`.
#[derive(Debug)]
pub struct Send<B> {
    /// The socket.
    pub fd: SharedFd,
    /// What to send.
    pub buf: B,
    /// `send(2)`'s flags.
    pub flags: SendFlags,
    /// All of it, unless an error comes between.
    pub whole: bool,
}

impl<B: IoBuf> Op for Send<B> {
    type Output = BufResult<usize, B>;

    // Half of a message, and nobody told which half, is worse than all of it.
    const ON_DROP: OnDrop = OnDrop::Finish;

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Socket(SocketRequest::Send {
            fd: self.fd.borrow(),
            buf: self.buf.bytes(),
            flags: self.flags,
            whole: self.whole,
        })
    }

    #[inline]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        with_buf(reply.and_then(Reply::count), self.buf)
    }
}

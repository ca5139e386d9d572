//! Listening for TCP connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use runtime::call;
use runtime::fd::{Fd, SharedFd};
use runtime::op::socket::{End, SocketOption};
use runtime::time::Duration;
use rustix::net::sockopt;

use super::detached::{DetachedTcpListener, into_fd, into_owned};
use super::socket;
use super::stream::TcpStream;
use crate::accepting::Accepting;
use crate::address::{ToSocketAddrs, on_each};
use crate::line::Line;

/// How many connections may wait to be accepted: std's number.
const BACKLOG: i32 = 128;

/// A socket that listens for TCP connections: [`std::net::TcpListener`], async.
///
/// Dropping it closes the socket as soon as the accept that may be in flight has been cancelled, in the core's next
/// turn; a connection that arrives in between is closed. [`close`](TcpListener::close) waits for that.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
/// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
/// loop {
///     let (stream, _peer) = listener.accept().await?;
///     let answered = runtime::spawn(async move { stream.write_all(b"hello\n").await });
///     drop(answered); // It goes on by itself.
///     # break;
/// }
/// # client.read_exact(&mut [0; 6]).await
/// # }
/// ```
pub struct TcpListener {
    fd: SharedFd,
    accepting: Rc<Line<Accepting>>,
    /// What connections inherit: `SO_LINGER`, as it was when this handle was made.
    linger: Option<Duration>,
}

impl TcpListener {
    /// Listens on an address; if there are several, on the first that works. [`std::net::TcpListener::bind`].
    ///
    /// With port 0 the system chooses a port: see [`local_addr`](TcpListener::local_addr). The address may be one whose
    /// old connections are still in TIME_WAIT (`SO_REUSEADDR`). Up to 128 connections may wait to be accepted.
    ///
    /// # Errors
    ///
    /// Those of [`ToSocketAddrs`]; [`InvalidInput`](io::ErrorKind::InvalidInput) if there is no address at all;
    /// otherwise the error of the last address, such as [`AddrInUse`](io::ErrorKind::AddrInUse).
    ///
    /// # Cancel safety
    ///
    /// A dropped `bind` has bound nothing. Only looking up a name waits.
    ///
    /// # io_uring
    ///
    /// No op: socket(2), setsockopt(2), bind(2) and listen(2) never block.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind(("127.0.0.1", 0)).await?;
    /// assert_ne!(listener.local_addr()?.port(), 0);
    /// # Ok(()) }
    /// ```
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        on_each(addr, async |address| {
            let fd = socket(address)?;
            call::set_option(&fd, SocketOption::ReuseAddress(true))?;
            call::bind(&fd, address)?;
            call::listen(&fd, BACKLOG)?;
            Ok(TcpListener::new(fd))
        })
        .await
    }

    fn new(fd: SharedFd) -> TcpListener {
        TcpListener { accepting: Accepting::new(fd.clone()), fd, linger: None }
    }

    /// One that was made elsewhere, and may have any options.
    fn adopted(fd: Fd) -> TcpListener {
        let mut listener = TcpListener::new(SharedFd::new(fd));
        // No socket fails to tell; a simulated one never lingers.
        listener.linger = listener.fd.os().ok().and_then(|fd| sockopt::socket_linger(fd).ok()).flatten();
        listener
    }

    /// Takes over a listener of std's, blocking or not. It is made blocking, and so are its clones, and
    /// [`into_std`](TcpListener::into_std) gives it back like that. (Accepting here would wait on either kind.)
    ///
    /// With the fallback driver, only cores may accept from this socket: no other process that inherited it or was sent
    /// it, and no thread through a clone of std's. If one of these takes the connection that the core was notified of,
    /// accept4(2) blocks the core, and others that accept, until the next connection arrives. (A ring waits in the
    /// kernel.) `SO_REUSEPORT` gives each process a socket of its own.
    ///
    /// # Errors
    ///
    /// As ioctl(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::from_std(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    /// # let _ = listener;
    /// # Ok(()) }
    /// ```
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(false)?;
        Ok(TcpListener::adopted(OwnedFd::from(listener).into()))
    }

    /// Waits for a connection. [`std::net::TcpListener::accept`].
    ///
    /// Returns the connection and the peer's address. Several calls may wait; they are served in the order in which
    /// they began.
    ///
    /// # Errors
    ///
    /// Those of accept(2). An error may concern only one connection that is gone again, so a server should carry on.
    /// When descriptors or memory have run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) the next `accept` begins with a pause
    /// of 50 ms, so that a loop does not use up the core.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: a connection that arrives for a dropped `accept` goes to the next one.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ACCEPT` (5.5), one in flight per listener; the fallback waits with epoll.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (server, peer) = listener.accept().await?;
    /// assert_eq!(peer, client.local_addr()?);
    /// assert_eq!(peer, server.peer_addr()?);
    /// # Ok(()) }
    /// ```
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let turn = self.accepting.turn().await;
        let (fd, peer) = turn.accept().await?;
        Ok((TcpStream::accepted(fd, self.linger), peer.ip()?))
    }

    /// The connections, one after another. [`std::net::TcpListener::incoming`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let _client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let mut incoming = listener.incoming();
    /// while let Some(stream) = incoming.next().await {
    ///     stream?.write_all(b"hello").await?;
    ///     # break;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The address it listens on. [`std::net::TcpListener::local_addr`].
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// assert!(listener.local_addr()?.ip().is_loopback());
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        call::name(&self.fd, End::Local)?.ip()
    }

    /// Another handle of the same listener. Like [`std::net::TcpListener::try_clone`], except that both share one
    /// descriptor: a connection that was accepted and not taken goes to the next `accept` of either.
    ///
    /// # Errors
    ///
    /// None; std's has some.
    ///
    /// # Examples
    ///
    /// Two tasks that take turns accepting:
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?;
    /// for worker in [listener.try_clone()?, listener] {
    ///     drop(runtime::spawn(async move { worker.accept().await }));
    /// }
    /// # for _ in 0..2 { net::TcpStream::connect(address).await?; }
    /// # Ok(()) }
    /// ```
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { fd: self.fd.clone(), accepting: self.accepting.clone(), linger: self.linger })
    }

    /// Sets the default time to live of what its connections send: over how many routers a packet may go, 1 to 255.
    /// [`std::net::TcpListener::set_ttl`].
    ///
    /// # Errors
    ///
    /// As setsockopt(2): [`InvalidInput`](io::ErrorKind::InvalidInput) for 0 and above 255;
    /// [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// listener.set_ttl(100)?;
    /// assert_eq!(listener.ttl()?, 100);
    /// # Ok(()) }
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        Ok(sockopt::set_ip_ttl(call::os(&self.fd, "set_ttl")?, ttl)?)
    }

    /// The value of [`set_ttl`](TcpListener::set_ttl). [`std::net::TcpListener::ttl`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2); [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// See [`set_ttl`](TcpListener::set_ttl).
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(sockopt::ip_ttl(call::os(&self.fd, "ttl")?)?)
    }

    /// Returns the socket's pending error, and clears it. [`std::net::TcpListener::take_error`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2); [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// assert!(listener.take_error()?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(sockopt::socket_error(call::os(&self.fd, "take_error")?)?.err().map(io::Error::from))
    }

    /// Stops listening, and waits until that is done: the address is free when this returns.
    ///
    /// Connections that have not been accepted are closed. A [clone](TcpListener::try_clone) of the handle keeps the
    /// socket open.
    ///
    /// # Errors
    ///
    /// Currently none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the listener, which closes it.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of the accept in flight, then close(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?;
    /// listener.close().await?;
    /// net::TcpListener::bind(address).await?;
    /// # Ok(()) }
    /// ```
    pub async fn close(self) -> io::Result<()> {
        let (fd, unread) = self.end().await;
        drop((fd, unread));
        Ok(())
    }

    /// Turns it into a listener of std's, blocking. Also returns the connection that was accepted and not taken, if
    /// there is one.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel; EMFILE if a clone of the handle still exists,
    /// since the descriptor is then duplicated.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the listener, which closes it.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of the accept in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let (listener, unread): (std::net::TcpListener, _) = listener.into_std().await?;
    /// assert!(unread.is_none());
    /// # drop(listener); Ok(()) }
    /// ```
    pub async fn into_std(self) -> io::Result<(std::net::TcpListener, Option<TcpStream>)> {
        let (fd, unread) = self.end().await;
        Ok((into_owned(fd)?.into(), unread))
    }

    /// Detaches it from this core, to be [attached](DetachedTcpListener::attach) on another.
    ///
    /// A connection that was accepted and not taken moves with it, and goes to the next `accept` there.
    ///
    /// # Errors
    ///
    /// Only if a [clone](TcpListener::try_clone) of the handle still exists: EMFILE, since the descriptor is then
    /// duplicated, and [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the listener, which closes it.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of the accept in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main(cores = 2)] async fn main() -> std::io::Result<()> {
    /// let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let address = listener.local_addr()?;
    /// let listener = listener.detach().await?;
    /// let server = runtime::spawn_on(1, || async { listener.attach().accept().await.map(|(_stream, peer)| peer) });
    /// let client = net::TcpStream::connect(address).await?;
    /// assert_eq!(server.await??, client.local_addr()?);
    /// # Ok(()) }
    /// ```
    pub async fn detach(self) -> io::Result<DetachedTcpListener> {
        let TcpListener { fd, accepting, .. } = self;
        let accepted = if Rc::strong_count(&accepting) == 1 { accepting.end().await } else { None };
        drop(accepting);
        Ok(DetachedTcpListener { fd: into_fd(fd)?, accepted })
    }

    pub(super) fn attached(detached: DetachedTcpListener) -> TcpListener {
        let listener = TcpListener::adopted(detached.fd);
        listener.accepting.park(detached.accepted);
        listener
    }

    /// Ends what is in flight, unless a clone of the handle needs it.
    async fn end(self) -> (SharedFd, Option<TcpStream>) {
        let TcpListener { fd, accepting, linger } = self;
        let is_last = Rc::strong_count(&accepting) == 1;
        let unread = if is_last { accepting.end().await } else { None };
        (fd, unread.map(|(fd, _peer)| TcpStream::accepted(fd, linger)))
    }
}

impl AsFd for TcpListener {
    /// `SO_LINGER` is not to be set through this: the connections inherit it, unnoticed, and dropping one would block
    /// the core.
    ///
    /// # Panics
    ///
    /// On a simulated kernel, whose descriptors have no number.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TcpListener {
    /// # Panics
    ///
    /// On a simulated kernel, whose descriptors have no number.
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpListener");
        if let Ok(address) = self.local_addr() {
            debug.field("addr", &address);
        }
        debug.field("fd", &self.fd.borrow()).finish()
    }
}

/// The connections of a listener. Returned by [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "it accepts only while it is asked for the next"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Incoming<'_> {
    /// Waits for the next connection. Never returns `None`.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`]; the next call continues after an error.
    ///
    /// # Cancel safety
    ///
    /// As [`TcpListener::accept`].
    ///
    /// # io_uring
    ///
    /// As [`TcpListener::accept`].
    ///
    /// # Examples
    ///
    /// See [`TcpListener::incoming`].
    pub async fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().await.map(|(stream, _peer)| stream))
    }
}

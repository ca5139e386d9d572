//! A TCP connection, and how one is made. Its methods are in the files below.

mod ends;
mod options;
mod read;
mod write;

pub use ends::Remains;

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use runtime::fd::{Fd, SharedFd};
use runtime::op::socket::{self, Connect};
use runtime::time::{Duration, now};
use runtime::{call, submit};
use rustix::net::sockopt;

use super::socket;
use crate::address::{ToSocketAddrs, on_each};
use crate::inbound::Inbound;
use crate::limit;
use crate::line::Line;
use crate::outbound::Sender;

/// A TCP connection: [`std::net::TcpStream`], async.
///
/// Reading and writing take `&self`, so one task can read while another writes, through an [`Rc`] or a
/// [clone](TcpStream::try_clone). Dropping it closes the connection as soon as nothing is in flight: at once, in the
/// core's next turn, or when the piece of a dropped [`write_owned`](TcpStream::write_owned) has been sent. If the peer
/// takes nothing of that piece for 60 seconds, or for the socket's own `TCP_USER_TIMEOUT`, the connection is broken
/// off; with a [linger time](TcpStream::set_linger) of zero that happens at once. So a peer that stops reading cannot
/// keep a descriptor open for ever.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
/// # let address = listener.local_addr()?;
/// let stream = net::TcpStream::connect(address).await?;
/// stream.write_all(b"ping").await?;
/// # let (server, _) = listener.accept().await?;
/// # let (_, ping) = server.read_exact_owned([0; 4]).await?;
/// # server.write_all(&ping).await?;
/// let mut answer = [0; 4];
/// stream.read_exact(&mut answer).await?;
/// stream.close().await?;
/// # Ok(()) }
/// ```
pub struct TcpStream {
    fd: SharedFd,
    // Made when first used, so that a connection costs one allocation until it is.
    inbound: OnceCell<Rc<Line<Inbound>>>,
    outbound: OnceCell<Sender>,
}

impl TcpStream {
    /// Connects to an address; if there are several, to the first that answers. [`std::net::TcpStream::connect`].
    ///
    /// # Errors
    ///
    /// Those of [`ToSocketAddrs`]; [`InvalidInput`](io::ErrorKind::InvalidInput) if there is no address at all;
    /// otherwise the error of the last address, such as [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
    ///
    /// # Cancel safety
    ///
    /// A dropped `connect` closes its socket. The peer may see a connection that is closed at once.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_CONNECT` (5.5), one address after another; the fallback waits with epoll.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?;
    /// let stream = net::TcpStream::connect(address).await?;
    /// assert_eq!(stream.peer_addr()?, address);
    /// # Ok(()) }
    /// ```
    pub async fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        on_each(addr, async |address| {
            let connect = connect(address)?;
            let fd = connect.fd.clone();
            submit(connect).await?;
            Ok(TcpStream::new(fd))
        })
        .await
    }

    /// Connects to one address, and gives up after `timeout`. [`std::net::TcpStream::connect_timeout`].
    ///
    /// # Errors
    ///
    /// As [`connect`](TcpStream::connect); [`InvalidInput`](io::ErrorKind::InvalidInput) for a timeout of zero;
    /// [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](TcpStream::connect).
    ///
    /// # io_uring
    ///
    /// `IORING_OP_CONNECT` (5.5), and a timer of the core.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let address = listener.local_addr()?;
    /// use std::time::Duration;
    ///
    /// let stream = net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).await?;
    /// # drop(stream); Ok(()) }
    /// ```
    pub async fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        limit::check(Some(timeout))?;
        let connect = connect(*addr)?;
        let fd = connect.fd.clone();
        match now().checked_add(timeout) {
            Some(deadline) => submit(connect).deadline(deadline).await?,
            None => submit(connect).await?,
        }
        Ok(TcpStream::new(fd))
    }

    pub(super) fn new(fd: SharedFd) -> TcpStream {
        TcpStream { fd, inbound: OnceCell::new(), outbound: OnceCell::new() }
    }

    /// One that inherited `linger` from its listener.
    #[inline]
    pub(super) fn accepted(fd: Fd, linger: Option<Duration>) -> TcpStream {
        let stream = TcpStream::new(SharedFd::new(fd));
        if linger.is_some() {
            stream.note_linger(linger);
        }
        stream
    }

    #[inline]
    fn inbound(&self) -> &Rc<Line<Inbound>> {
        self.inbound.get_or_init(|| Inbound::new(self.fd.clone()))
    }

    #[inline]
    fn outbound(&self) -> &Sender {
        self.outbound.get_or_init(|| Sender::new(self.fd.clone()))
    }

    /// Takes over a stream of std's, blocking or not. It is made blocking, and so are its clones, and
    /// [`into_std`](TcpStream::into_std) gives it back like that. (Reads and writes here would wait on either kind.)
    /// Timeouts that were set on it are taken over, too.
    ///
    /// # Errors
    ///
    /// As ioctl(2) and getsockopt(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// let stream = net::TcpStream::from_std(std::net::TcpStream::connect(address)?)?;
    /// stream.write_all(b"hello").await?;
    /// # Ok(()) }
    /// ```
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        stream.set_nonblocking(false)?;
        let (read_timeout, write_timeout) = (stream.read_timeout()?, stream.write_timeout()?);
        let lingers = sockopt::socket_linger(&stream)?;
        let stream = TcpStream::new(SharedFd::new(OwnedFd::from(stream)));
        if read_timeout.is_some() {
            stream.set_read_timeout(read_timeout)?;
        }
        if write_timeout.is_some() {
            stream.set_write_timeout(write_timeout)?;
        }
        if lingers.is_some() {
            stream.note_linger(lingers);
        }
        Ok(stream)
    }

    /// Another handle of the same connection. Like [`std::net::TcpStream::try_clone`], except that both share one
    /// descriptor: bytes that were received and not taken go to the next read of either.
    ///
    /// # Errors
    ///
    /// None; std's has some.
    ///
    /// # Examples
    ///
    /// One task reads while another writes:
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (peer, _) = listener.accept().await?;
    /// let reader = stream.try_clone()?;
    /// let answer = runtime::spawn(async move { reader.read_owned(vec![0; 16]).await });
    /// stream.write_all(b"ping").await?;
    /// # peer.read_exact(&mut [0; 4]).await?;
    /// # peer.write_all(b"pong").await?;
    /// let (received, buf) = answer.await??;
    /// assert!(b"pong".starts_with(&buf[..received]));
    /// # Ok(()) }
    /// ```
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let inbound = OnceCell::from(self.inbound().clone());
        let outbound = OnceCell::from(self.outbound().clone());
        Ok(TcpStream { fd: self.fd.clone(), inbound, outbound })
    }

    /// Shuts down reading, writing or both. [`std::net::TcpStream::shutdown`].
    ///
    /// Calls that wait in that direction end: reads with 0 bytes, writes with an error. The piece of a dropped
    /// [`write_owned`](TcpStream::write_owned) is sent first, and its error is returned here.
    ///
    /// # Errors
    ///
    /// As shutdown(2): [`NotConnected`](io::ErrorKind::NotConnected) when the connection is gone.
    ///
    /// # Cancel safety
    ///
    /// A dropped `shutdown` has shut down nothing.
    ///
    /// # io_uring
    ///
    /// No op: shutdown(2) never blocks, and costs twice as much through a ring.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, _) = listener.accept().await?;
    /// stream.shutdown(net::Shutdown::Write).await?;
    /// assert_eq!(server.read(&mut [0; 8]).await?, 0);
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let (Shutdown::Write | Shutdown::Both, Some(outbound)) = (how, self.outbound.get()) {
            outbound.settled().await;
            outbound.check()?;
        }
        let how = match how {
            Shutdown::Read => socket::Shutdown::Read,
            Shutdown::Write => socket::Shutdown::Write,
            Shutdown::Both => socket::Shutdown::Both,
        };
        call::shutdown(&self.fd, how)
    }
}

/// The op that connects a new socket to `address`.
fn connect(address: SocketAddr) -> io::Result<Connect> {
    Ok(Connect { fd: socket(address)?, address: address.into(), ours: true })
}

impl AsFd for TcpStream {
    /// # Panics
    ///
    /// On a simulated kernel, whose descriptors have no number.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for TcpStream {
    /// # Panics
    ///
    /// On a simulated kernel, whose descriptors have no number.
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TcpStream");
        if let Ok(address) = self.local_addr() {
            debug.field("addr", &address);
        }
        if let Ok(peer) = self.peer_addr() {
            debug.field("peer", &peer);
        }
        debug.field("fd", &self.fd.borrow()).finish()
    }
}

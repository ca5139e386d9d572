//! A TCP connection: making one, its options, its end. Its reads and writes are in the files below.

mod read;
mod write;

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use runtime::fd::{Fd, SharedFd};
use runtime::op::socket::{self, Connect, End, SocketOption};
use runtime::time::{Duration, now};
use runtime::{call, submit};
use rustix::net::sockopt;

use super::detached::{DetachedTcpStream, into_fd, into_owned};
use super::socket;
use crate::address::{ToSocketAddrs, on_each};
use crate::inbound::Inbound;
use crate::limit;
use crate::line::Line;
use crate::outbound::Outbound;

/// A TCP connection: [`std::net::TcpStream`], async.
///
/// Reading and writing take `&self`, so one task can read while another writes, through an [`Rc`] or a
/// [clone](TcpStream::try_clone). Dropping it closes the connection as soon as nothing is in flight: at once, or in the
/// core's next turn, or when the piece of a dropped [`write_owned`](TcpStream::write_owned) is out.
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
    outbound: OnceCell<Rc<Line<Outbound>>>,
}

impl TcpStream {
    /// Connects to an address; of several, to the first that answers. [`std::net::TcpStream::connect`].
    ///
    /// # Errors
    ///
    /// Those of [`ToSocketAddrs`]; [`InvalidInput`](io::ErrorKind::InvalidInput) if that is no address at all; else the last
    /// address's error, such as [`ConnectionRefused`](io::ErrorKind::ConnectionRefused).
    ///
    /// # Cancel safety
    ///
    /// A dropped `connect` closes its socket. The peer may see a connection that ends at once.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_CONNECT` (5.5), one address after the other; the fallback waits with epoll.
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
    fn outbound(&self) -> &Rc<Line<Outbound>> {
        self.outbound.get_or_init(|| Outbound::new(self.fd.clone()))
    }

    /// Takes over a stream of std's, blocking or not. It is made blocking, and so are its clones: the ring waits for a
    /// blocking socket, and takes a non-blocking one at its word. Timeouts that std has set are taken over, too.
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

    /// Another handle of the same connection. [`std::net::TcpStream::try_clone`], except that both are one descriptor:
    /// what was received and not taken is for whoever reads next.
    ///
    /// # Errors
    ///
    /// None; std's has some.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let inbound = OnceCell::from(self.inbound().clone());
        let outbound = OnceCell::from(self.outbound().clone());
        Ok(TcpStream { fd: self.fd.clone(), inbound, outbound })
    }

    /// Shuts down reading, writing or both. [`std::net::TcpStream::shutdown`].
    ///
    /// What waits in that direction ends: reads with 0 bytes, writes with an error. A piece of a dropped
    /// [`write_owned`](TcpStream::write_owned) is waited for, as it comes before the end; its error is returned here.
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

    /// Our end's address. [`std::net::TcpStream::local_addr`].
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        call::name(&self.fd, End::Local)?.ip()
    }

    /// Their end's address. [`std::net::TcpStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// As getpeername(2): [`NotConnected`](io::ErrorKind::NotConnected) when the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        call::name(&self.fd, End::Peer)?.ip()
    }

    /// Sends small pieces at once, instead of waiting for more. [`std::net::TcpStream::set_nodelay`].
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        call::set_option(&self.fd, SocketOption::NoDelay(nodelay))
    }

    /// What [`set_nodelay`](TcpStream::set_nodelay) set. [`std::net::TcpStream::nodelay`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2).
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(sockopt::tcp_nodelay(self.fd.os()?)?)
    }

    /// Sets the time to live of what is sent. [`std::net::TcpStream::set_ttl`].
    ///
    /// # Errors
    ///
    /// As setsockopt(2): [`InvalidInput`](io::ErrorKind::InvalidInput) for 0 and above 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        Ok(sockopt::set_ip_ttl(self.fd.os()?, ttl)?)
    }

    /// What [`set_ttl`](TcpStream::set_ttl) set. [`std::net::TcpStream::ttl`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(sockopt::ip_ttl(self.fd.os()?)?)
    }

    /// How long [`close`](TcpStream::close) waits until the peer has everything; `Some(ZERO)` breaks the connection off.
    /// `SO_LINGER`.
    ///
    /// A handle that is dropped makes nobody wait: the system goes on sending in the background.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        sockopt::set_socket_linger(self.fd.os()?, linger)?;
        self.note_linger(linger);
        Ok(())
    }

    /// What [`set_linger`](TcpStream::set_linger) set.
    ///
    /// # Errors
    ///
    /// As getsockopt(2).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(sockopt::socket_linger(self.fd.os()?)?)
    }

    fn note_linger(&self, linger: Option<Duration>) {
        self.outbound().lingers.set(linger.is_some_and(|linger| !linger.is_zero()));
    }

    /// The socket's pending error, which is cleared by that. [`std::net::TcpStream::take_error`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(sockopt::socket_error(self.fd.os()?)?.err().map(io::Error::from))
    }

    /// Closes the connection, and waits until it is so: until the piece of a dropped write is out, and for as long as
    /// [`set_linger`](TcpStream::set_linger) says.
    ///
    /// A [clone](TcpStream::try_clone) of the handle keeps the connection.
    ///
    /// # Errors
    ///
    /// That of a dropped write, of which nobody has heard yet. The connection is closed all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection as dropping the handle does.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of what is in flight, then close(2), which only a lingering socket blocks: that runs
    /// on the blocking pool.
    ///
    /// # Examples
    ///
    /// See [`TcpStream`].
    pub async fn close(self) -> io::Result<()> {
        let Ended { fd, inbound, written, linger } = self.end().await;
        drop(inbound);
        if linger.is_some()
            && let Ok(owned) = into_owned(fd)
        {
            sockopt::set_socket_linger(&owned, linger)?;
            runtime::spawn_blocking(move || drop(owned)).await?;
        }
        written
    }

    /// Turns it into std's, blocking. Beside it come the bytes that were received and that no read has taken.
    ///
    /// # Errors
    ///
    /// That of a dropped write, of which nobody has heard yet; [`Unsupported`](io::ErrorKind::Unsupported) on a simulated
    /// kernel; EMFILE if a clone of the handle lives on, since then the descriptor is duplicated.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection as dropping the handle does.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of what is in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (stream, unread): (std::net::TcpStream, Vec<u8>) = stream.into_std().await?;
    /// assert!(unread.is_empty());
    /// # drop(stream); Ok(()) }
    /// ```
    pub async fn into_std(self) -> io::Result<(std::net::TcpStream, Vec<u8>)> {
        let mut ended = self.end().await;
        std::mem::replace(&mut ended.written, Ok(()))?;
        let linger = ended.linger;
        let (owned, unread, _failed) = ended.take(into_owned)?;
        if linger.is_some() {
            sockopt::set_socket_linger(&owned, linger)?;
        }
        Ok((owned.into(), unread))
    }

    /// Takes it off this core, to be [attached](DetachedTcpStream::attach) on another.
    ///
    /// What is in flight ends first; bytes that were received and that no read has taken go along, and so do the timeouts.
    ///
    /// # Errors
    ///
    /// That of a dropped write, of which nobody has heard yet, after which the connection is closed. When a
    /// [clone](TcpStream::try_clone) of the handle lives on: EMFILE, since the descriptor is duplicated then, and
    /// [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection as dropping the handle does.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of what is in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main(cores = 2)] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (stream, _peer) = listener.accept().await?;
    /// let stream = stream.detach().await?;
    /// let served = runtime::spawn_on(1, || async { stream.attach()?.write_all(b"from core 1").await });
    /// let (received, buf) = client.read_owned(vec![0; 32]).await?;
    /// assert_eq!(&buf[..received], b"from core 1");
    /// served.await?
    /// # }
    /// ```
    pub async fn detach(self) -> io::Result<DetachedTcpStream> {
        let read_timeout = self.inbound.get().and_then(|inbound| inbound.limit.get());
        let write_timeout = self.outbound.get().and_then(|outbound| outbound.limit.get());
        let mut ended = self.end().await;
        std::mem::replace(&mut ended.written, Ok(()))?;
        let linger = ended.linger;
        let (fd, unread, failed) = ended.take(into_fd)?;
        Ok(DetachedTcpStream { fd, unread, failed, read_timeout, write_timeout, linger })
    }

    pub(super) fn attached(detached: DetachedTcpStream) -> io::Result<TcpStream> {
        let DetachedTcpStream { fd, unread, failed, read_timeout, write_timeout, linger } = detached;
        let stream = TcpStream::new(SharedFd::new(fd));
        if !unread.is_empty() || failed.is_some() {
            stream.inbound().park(&unread);
            stream.inbound().set_failed(failed);
        }
        if read_timeout.is_some() {
            stream.inbound().limit.set(read_timeout)?;
        }
        if write_timeout.is_some() {
            stream.outbound().limit.set(write_timeout)?;
        }
        if linger.is_some() {
            stream.set_linger(linger)?;
        }
        Ok(stream)
    }

    /// Waits for ops whose future is gone, and ends what is in flight, unless a clone of the handle needs it.
    async fn end(self) -> Ended {
        let TcpStream { fd, inbound, outbound } = self;
        let mut ended = Ended { fd, inbound: None, written: Ok(()), linger: None };
        if let Some(outbound) = outbound.into_inner() {
            outbound.settled().await;
            ended.written = outbound.check();
            if Rc::strong_count(&outbound) == 1 {
                outbound.end().await;
                if outbound.lingers.get() {
                    ended.linger = ended.fd.os().ok().and_then(|fd| sockopt::socket_linger(fd).ok()).flatten();
                }
            }
        }
        if let Some(inbound) = inbound.into_inner() {
            inbound.settled().await;
            if Rc::strong_count(&inbound) == 1 {
                inbound.end().await;
            }
            ended.inbound = Some(inbound);
        }
        ended
    }
}

/// What is left of a stream when nothing is in flight any more.
struct Ended {
    fd: SharedFd,
    inbound: Option<Rc<Line<Inbound>>>,
    written: io::Result<()>,
    /// What was set, and was unset so that dropping would not block.
    linger: Option<Duration>,
}

impl Ended {
    /// The descriptor as `owned` makes it, the bytes that no read has taken, and the error of a receive that nobody waited for.
    fn take<T>(self, owned: impl FnOnce(SharedFd) -> io::Result<T>) -> io::Result<(T, Vec<u8>, Option<io::Error>)> {
        let Ended { fd, inbound, .. } = self;
        match inbound {
            // A clone lives, and the descriptor is duplicated: if that cannot be, it keeps what it has.
            Some(shared) if Rc::strong_count(&shared) > 1 => {
                let fd = owned(fd)?;
                Ok((fd, shared.take_all_parked(), shared.take_failed()))
            }
            Some(last) => {
                let (unread, failed) = (last.take_all_parked(), last.take_failed());
                drop(last);
                Ok((owned(fd)?, unread, failed))
            }
            None => Ok((owned(fd)?, Vec::new(), None)),
        }
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

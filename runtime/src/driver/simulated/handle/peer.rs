//! What a test plays outside the program: the far ends of connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};

use super::super::network::SocketId;
use super::super::world::Shared;

/// The outer end of a connection with the program. What it does happens at once; what it sends takes time to arrive.
///
/// The connection stays open when this is dropped. Clones are the same end. [`World::connect`](super::World::connect)
/// and [`PeerListener::accept`] make it.
///
/// # Examples
///
/// ```
/// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
/// # runtime.block_on(async {
/// use runtime::time::{Duration, sleep};
///
/// let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
/// let world = runtime::simulated::world();
/// let (polite, rude) = (world.connect(listener.local_addr()?)?, world.connect(listener.local_addr()?)?);
/// let (one, _) = listener.accept().await?;
/// let (other, _) = listener.accept().await?;
///
/// polite.shutdown_write();
/// assert_eq!(one.read(&mut [0; 8]).await?, 0);
/// rude.reset();
/// assert_eq!(other.read(&mut [0; 8]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
///
/// drop(one);
/// sleep(Duration::from_secs(1)).await;
/// assert!(polite.has_ended() && !polite.is_reset());
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Peer {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: SocketId,
}

impl Peer {
    /// Sends. There is always room: what the program does not read waits outside.
    ///
    /// # Errors
    ///
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset) or [`BrokenPipe`](io::ErrorKind::BrokenPipe) once the
    /// connection is broken or this direction shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// # let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
    /// # let peer = runtime::simulated::world().connect("127.0.0.1:7000".parse().unwrap())?;
    /// # let (stream, _) = listener.accept().await?;
    /// peer.send(b"hello")?;
    /// let (_, greeting) = stream.read_exact_owned([0; 5]).await?;
    /// assert_eq!(&greeting, b"hello");
    /// peer.close();
    /// assert!(peer.send(b"hello").is_err());
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        Ok(kernel.network.send(self.socket, bytes, now_ns).map(drop)?)
    }

    /// Takes what the program sent since the last time, which makes room for more: 64 KiB at most wait here.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// # let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
    /// # let peer = runtime::simulated::world().connect("127.0.0.1:7000".parse().unwrap())?;
    /// # let (stream, _) = listener.accept().await?;
    /// stream.write_all(b"hello").await?;
    /// runtime::time::sleep(runtime::time::Duration::from_secs(1)).await;
    /// assert_eq!(peer.received(), b"hello");
    /// assert_eq!(peer.received(), b"");                                           // it is taken
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn received(&self) -> Vec<u8> {
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        // An end or an error is told by `has_ended` and `is_reset`, and must be left for them; here only bytes count.
        while kernel.network.has_bytes(self.socket)
            && let Ok(count @ 1..) = kernel.network.receive(self.socket, &mut piece, RecvFlags::empty(), now_ns)
        {
            all.extend_from_slice(&piece[..count]);
        }
        all
    }

    /// Shuts down this direction: the program reads an end after what was sent.
    pub fn shutdown_write(&self) {
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        // A connection that is gone needs no end.
        let _gone = kernel.network.shutdown(self.socket, Shutdown::Write, now_ns);
    }

    /// Closes. As from any program: with an end, or with a reset if something is unread.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// # let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
    /// # let peer = runtime::simulated::world().connect("127.0.0.1:7000".parse().unwrap())?;
    /// # let (stream, _) = listener.accept().await?;
    /// peer.send(b"bye")?;
    /// peer.close();
    /// stream.read_exact(&mut [0; 3]).await?;
    /// assert_eq!(stream.read(&mut [0; 3]).await?, 0);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn close(&self) {
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        kernel.network.close(self.socket, now_ns);
    }

    /// Resets the connection: what is on its way to the program may still arrive before.
    pub fn reset(&self) {
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        kernel.network.break_off(self.socket, now_ns);
    }

    /// Whether the program sends no more: it closed or shut down its direction, or the connection broke.
    pub fn has_ended(&self) -> bool {
        self.readiness().intersects(PollFlags::RDHUP | PollFlags::ERR | PollFlags::HUP)
    }

    /// Whether the connection broke, and did not end well.
    pub fn is_reset(&self) -> bool {
        self.readiness().contains(PollFlags::ERR)
    }

    fn readiness(&self) -> PollFlags {
        self.shared.lock().network.readiness(self.socket)
    }

    /// The address of this end, if it speaks IP.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) once it is gone, reset from here or closed at both ends, and of a
    /// unix socket.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// # let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
    /// # let peer = runtime::simulated::world().connect("127.0.0.1:7000".parse().unwrap())?;
    /// # let (stream, _) = listener.accept().await?;
    /// assert_eq!(peer.address()?, stream.peer_addr()?);
    /// peer.reset();
    /// assert_eq!(peer.address().unwrap_err().kind(), std::io::ErrorKind::NotConnected);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.shared.lock().network.local(self.socket).ok_or(Errno::NOTCONN)?)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer at {:?}", self.address().ok())
    }
}

/// A listener outside, which the program can connect to: [`World::listen`](super::World::listen) makes it, and shows
/// how.
///
/// # Examples
///
/// ```
/// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
/// # runtime.block_on(async {
/// use runtime::simulated::world;
///
/// let database = world().listen("10.0.0.9:0".parse().unwrap())?;              // any free port
/// assert!(database.accept().is_none());
/// let stream = net::TcpStream::connect(database.address()?).await?;
/// assert_eq!(database.accept().unwrap().address()?, stream.peer_addr()?);
///
/// let not_accepted = net::TcpStream::connect(database.address()?).await?;
/// database.close();
/// assert_eq!(not_accepted.read(&mut [0; 8]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
/// # Ok::<(), std::io::Error>(()) })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct PeerListener {
    pub(super) shared: Arc<Shared>,
    pub(super) socket: SocketId,
}

impl PeerListener {
    /// Where it listens, if it speaks IP.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) after it was closed, and of a unix socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.shared.lock().network.local(self.socket).ok_or(Errno::NOTCONN)?)
    }

    /// Takes a connection of the program's, if there is one; `None` if none waits, or after it was closed.
    pub fn accept(&self) -> Option<Peer> {
        let socket = self.shared.lock().network.accept(self.socket).ok()?;
        Some(Peer { shared: self.shared.clone(), socket })
    }

    /// Stops to listen. Connections that were not accepted are reset.
    pub fn close(&self) {
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        kernel.network.close(self.socket, now_ns);
    }
}

impl fmt::Debug for PeerListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerListener at {:?}", self.address().ok())
    }
}

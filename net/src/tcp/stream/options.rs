//! The options of a connection, and the state of its socket. All of them are plain system calls that never block and
//! need no runtime.

use std::io;
use std::net::SocketAddr;

use runtime::call;
use runtime::op::socket::{End, SocketOption};
use runtime::time::Duration;
use rustix::net::sockopt;

use super::TcpStream;

impl TcpStream {
    /// The address of this end. [`std::net::TcpStream::local_addr`].
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (server, client) = listener.accept().await?;
    /// assert_eq!(stream.local_addr()?, server.peer_addr()?);
    /// # assert_eq!(stream.local_addr()?, client);
    /// # Ok(()) }
    /// ```
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        call::name(&self.fd, End::Local)?.ip()
    }

    /// The address of the peer. [`std::net::TcpStream::peer_addr`].
    ///
    /// # Errors
    ///
    /// As getpeername(2): [`NotConnected`](io::ErrorKind::NotConnected) when the connection is gone.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok(()) }
    /// ```
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        call::name(&self.fd, End::Peer)?.ip()
    }

    /// Sends small pieces at once, instead of waiting for more to send. [`std::net::TcpStream::set_nodelay`].
    ///
    /// `TCP_NODELAY`. It is off for a new connection.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// assert!(!stream.nodelay()?);
    /// stream.set_nodelay(true)?;
    /// assert!(stream.nodelay()?);
    /// # Ok(()) }
    /// ```
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        call::set_option(&self.fd, SocketOption::NoDelay(nodelay))
    }

    /// The value of [`set_nodelay`](TcpStream::set_nodelay). [`std::net::TcpStream::nodelay`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2); [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// See [`set_nodelay`](TcpStream::set_nodelay).
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(sockopt::tcp_nodelay(call::os(&self.fd, "nodelay")?)?)
    }

    /// Sets the time to live: over how many routers a packet may go, 1 to 255. [`std::net::TcpStream::set_ttl`].
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
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// stream.set_ttl(100)?;
    /// assert_eq!(stream.ttl()?, 100);
    /// assert_eq!(stream.set_ttl(0).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok(()) }
    /// ```
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        Ok(sockopt::set_ip_ttl(call::os(&self.fd, "set_ttl")?, ttl)?)
    }

    /// The value of [`set_ttl`](TcpStream::set_ttl). [`std::net::TcpStream::ttl`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2); [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// See [`set_ttl`](TcpStream::set_ttl).
    pub fn ttl(&self) -> io::Result<u32> {
        Ok(sockopt::ip_ttl(call::os(&self.fd, "ttl")?)?)
    }

    /// Sets how long [`close`](TcpStream::close) waits until the peer has received everything; `Some(ZERO)` resets the
    /// connection. `SO_LINGER`, in whole seconds.
    ///
    /// Dropping a handle does not wait: the system continues to send in the background.
    ///
    /// # Errors
    ///
    /// As setsockopt(2); [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// A peer that reads gets an error instead of the end of the stream:
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (peer, _) = listener.accept().await?;
    /// use std::time::Duration;
    ///
    /// assert_eq!(stream.linger()?, None);
    /// stream.set_linger(Some(Duration::ZERO))?;
    /// assert_eq!(stream.linger()?, Some(Duration::ZERO));
    /// stream.close().await?;
    /// assert_eq!(peer.read(&mut [0; 8]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    /// # Ok(()) }
    /// ```
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        sockopt::set_socket_linger(call::os(&self.fd, "set_linger")?, linger)?;
        self.note_linger(linger);
        Ok(())
    }

    /// The value of [`set_linger`](TcpStream::set_linger).
    ///
    /// # Errors
    ///
    /// As getsockopt(2); [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// See [`set_linger`](TcpStream::set_linger).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(sockopt::socket_linger(call::os(&self.fd, "linger")?)?)
    }

    /// It is set on the socket: `close(2)` would wait for the peer, unless it breaks off.
    pub(super) fn note_linger(&self, linger: Option<Duration>) {
        self.outbound().lingers.set(linger.is_some_and(|linger| !linger.is_zero()));
    }

    /// Returns the socket's pending error, and clears it. [`std::net::TcpStream::take_error`].
    ///
    /// # Errors
    ///
    /// As getsockopt(2); [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// assert!(stream.take_error()?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(sockopt::socket_error(call::os(&self.fd, "take_error")?)?.err().map(io::Error::from))
    }
}

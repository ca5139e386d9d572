//! Who stands outside: connections to the program, listeners for it, and the network between.

use std::io;
use std::net::SocketAddr;

use rustix::net::AddressFamily;

use super::{Peer, PeerListener, World};
use crate::op::address::{self, SocketAddress};

impl World {
    /// Connects from outside to a listener of the program's, from an address of the world's choice.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody listens there;
    /// [`TimedOut`](io::ErrorKind::TimedOut) if the backlog is full or the network is cut.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// use runtime::time::{Duration, sleep};
    ///
    /// let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
    /// let client = runtime::simulated::world().connect("127.0.0.1:7000".parse().unwrap())?;
    /// let (stream, _peer) = listener.accept().await?;
    /// client.send(b"hello")?;
    /// let mut greeting = [0; 5];
    /// stream.read_exact(&mut greeting).await?;
    /// stream.write_all(b"well met").await?;
    /// sleep(Duration::from_secs(1)).await;
    /// assert_eq!(client.received(), b"well met");
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect(&self, to: SocketAddr) -> io::Result<Peer> {
        self.connect_as(None, to)
    }

    /// As [`connect`](World::connect), from an address of yours.
    ///
    /// # Errors
    ///
    /// As there; and [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody has that address.
    pub fn connect_from(&self, from: SocketAddr, to: SocketAddr) -> io::Result<Peer> {
        self.connect_as(Some(from), to)
    }

    fn connect_as(&self, from: Option<SocketAddr>, to: SocketAddr) -> io::Result<Peer> {
        let mut kernel = self.shared().lock();
        let network = &mut kernel.network;
        let socket = network.socket(address::family(to.ip()), true);
        let bound = from.map_or(Ok(()), |from| network.bind(socket, from));
        match bound.and_then(|()| network.connect_now(socket, to)) {
            Ok(()) => Ok(Peer { shared: self.shared().clone(), socket }),
            Err(error) => {
                network.break_off(socket, 0);
                Err(error.into())
            }
        }
    }

    /// Listens outside, for the program to connect to. Port 0 is a free one.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody listens there.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// let database = runtime::simulated::world().listen("10.0.0.9:5432".parse().unwrap())?;
    /// let stream = net::TcpStream::connect("10.0.0.9:5432").await?;
    /// let far_end = database.accept().expect("it has connected");
    /// assert_eq!(far_end.address()?, stream.peer_addr()?);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(&self, at: SocketAddr) -> io::Result<PeerListener> {
        let mut kernel = self.shared().lock();
        let network = &mut kernel.network;
        let socket = network.socket(address::family(at.ip()), true);
        match network.bind(socket, at).and_then(|()| network.listen(socket, 128)) {
            Ok(()) => Ok(PeerListener { shared: self.shared().clone(), socket }),
            Err(error) => {
                network.break_off(socket, 0);
                Err(error.into())
            }
        }
    }

    /// Connects from outside to a unix socket on which the program listens.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if there is no such file;
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if nobody listens there;
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if the backlog is full.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// use runtime::{call, fd::SharedFd, op::socket::Accept, simulated::world, submit};
    /// use rustix::net::{AddressFamily, SocketType};
    /// use std::os::unix::net::SocketAddr;
    ///
    /// let path = SocketAddr::from_pathname("/tmp/greetings")?;
    /// let listener = SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::STREAM, None)?);
    /// call::bind(&listener, &path)?;
    /// call::listen(&listener, 16)?;
    /// let client = world().connect_unix(&path)?;
    /// let (_stream, peer) = submit(Accept::new(listener)).await?;
    /// assert!(peer.unix()?.is_unnamed() && !client.has_ended());
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_unix(&self, to: impl Into<SocketAddress>) -> io::Result<Peer> {
        let mut kernel = self.shared().lock();
        let listener = kernel.unix_at(&to.into(), false)?;
        let socket = kernel.network.socket(AddressFamily::UNIX, true);
        match kernel.network.connect_unix(socket, listener) {
            Ok(()) => Ok(Peer { shared: self.shared().clone(), socket }),
            Err(error) => {
                kernel.network.break_off(socket, 0);
                Err(error.into())
            }
        }
    }

    /// Listens outside on a unix socket, for the program to connect to: for instance as a database on the same machine.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if the name is taken, [`NotFound`](io::ErrorKind::NotFound) if there is
    /// no such folder.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// use runtime::{call, fd::SharedFd, op::socket::Connect, simulated::world, submit};
    /// use rustix::net::{AddressFamily, SocketType};
    /// use std::os::unix::net::SocketAddr;
    ///
    /// let path = SocketAddr::from_pathname("/tmp/postgres.sock")?;
    /// let database = world().listen_unix(&path)?;
    /// let fd = SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::STREAM, None)?);
    /// submit(Connect { fd, address: path.into(), ours: true }).await?;
    /// assert!(database.accept().is_some());
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen_unix(&self, at: impl Into<SocketAddress>) -> io::Result<PeerListener> {
        let mut kernel = self.shared().lock();
        let socket = kernel.network.socket(AddressFamily::UNIX, true);
        let bound = kernel.bind(socket, &at.into());
        match bound.and_then(|()| kernel.network.listen(socket, 128)) {
            Ok(()) => Ok(PeerListener { shared: self.shared().clone(), socket }),
            Err(error) => {
                kernel.network.break_off(socket, 0);
                Err(error.into())
            }
        }
    }

    /// Cuts the network between the program and the outside. What is sent is sent again, ever more rarely, until the
    /// network is [mended](World::mend) or TCP gives up, which takes it a quarter of an hour.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// use runtime::simulated::world;
    /// use runtime::time::{Duration, timeout};
    ///
    /// let listener = net::TcpListener::bind("127.0.0.1:7000").await?;
    /// let client = world().connect("127.0.0.1:7000".parse().unwrap())?;
    /// let (stream, _peer) = listener.accept().await?;
    /// world().cut();
    /// client.send(b"lost, for now")?;
    /// assert!(timeout(Duration::from_secs(60), stream.read(&mut [0; 16])).await.is_err());
    /// world().mend();
    /// assert!(stream.read(&mut [0; 16]).await? > 0);
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cut(&self) {
        self.shared().lock().network.set_cut(true);
    }

    /// Mends the network. What was lost arrives when it is next sent again.
    pub fn mend(&self) {
        self.shared().lock().network.set_cut(false);
    }
}

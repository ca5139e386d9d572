//! Sockets of datagrams outside.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags};

use super::super::network::SocketId;
use super::super::world::Shared;
use super::World;
use crate::op::address::{self, SocketAddress};

/// A socket of datagrams outside the program: [`World::datagrams`] and [`World::unix_datagrams`] make it, and show how.
///
/// What it is sent is there at once; what it sends over the network takes its time to arrive. It stays there when this
/// is dropped. Clones are the same socket.
#[derive(Clone)]
pub struct PeerDatagrams {
    shared: Arc<Shared>,
    socket: SocketId,
}

/// A datagram that came to a socket outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddress,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl World {
    /// A socket of datagrams outside, at an address of yours: a resolver, a server of time, a neighbour.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody has that address.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// use runtime::op::datagram::{RecvFrom, SendTo, Sender};
    /// use runtime::op::socket::{AddressFamily, RecvFlags, SendFlags, SocketType};
    /// use runtime::{call, fd::SharedFd, simulated::world, submit};
    ///
    /// let resolver = world().datagrams("10.0.0.53:53".parse().unwrap())?;
    /// let fd = SharedFd::new(call::socket(AddressFamily::INET, SocketType::DGRAM, None)?);
    /// let (buf, to) = (*b"who is example.org?", resolver.address()?.into());
    /// submit(SendTo { fd: fd.clone(), buf, to, flags: SendFlags::empty() }).await?;
    ///
    /// let asked = resolver.received();
    /// assert_eq!(asked[0].bytes, b"who is example.org?");
    /// resolver.send_to(b"198.51.100.7", asked[0].from)?;
    /// let recv = RecvFrom { fd, buf: [0; 512], from: Sender::room(), flags: RecvFlags::empty(), poll_first: false };
    /// let ((count, from), buf) = submit(recv).await?;
    /// assert_eq!((&buf[..count], from.ip()?), (&b"198.51.100.7"[..], resolver.address()?));
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn datagrams(&self, at: SocketAddr) -> io::Result<PeerDatagrams> {
        let mut kernel = self.shared().lock();
        let socket = kernel.network.datagram_socket(address::family(at.ip()), true);
        if let Err(error) = kernel.network.bind(socket, at) {
            kernel.network.break_off(socket, 0);
            return Err(error.into());
        }
        Ok(PeerDatagrams { shared: self.shared().clone(), socket })
    }

    /// The same as a unix socket: a journal, a supervisor that waits for a sign of life.
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
    /// use runtime::op::{datagram::SendTo, socket::{AddressFamily, SendFlags, SocketType}};
    /// use runtime::{call, fd::SharedFd, simulated::world, submit};
    /// use std::os::unix::net::SocketAddr;
    ///
    /// let path = SocketAddr::from_pathname("/tmp/notify")?;
    /// let supervisor = world().unix_datagrams(&path)?;
    /// let fd = SharedFd::new(call::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?);
    /// submit(SendTo { fd, buf: *b"READY=1", to: path.into(), flags: SendFlags::empty() }).await?;
    /// assert_eq!(supervisor.received()[0].bytes, b"READY=1");
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unix_datagrams(&self, at: impl Into<SocketAddress>) -> io::Result<PeerDatagrams> {
        let mut kernel = self.shared().lock();
        let socket = kernel.network.datagram_socket(AddressFamily::UNIX, true);
        if let Err(error) = kernel.bind(socket, &at.into()) {
            kernel.network.break_off(socket, 0);
            return Err(error.into());
        }
        Ok(PeerDatagrams { shared: self.shared().clone(), socket })
    }
}

impl PeerDatagrams {
    /// Sends one, to whoever is there: UDP does not say whether somebody is.
    ///
    /// # Errors
    ///
    /// EMSGSIZE for what is too long, EAFNOSUPPORT for an address of another family. A unix socket is told at once that
    /// nobody has the name, and that there is no room ([`WouldBlock`](io::ErrorKind::WouldBlock)).
    pub fn send_to(&self, bytes: &[u8], to: impl Into<SocketAddress>) -> io::Result<()> {
        let mut kernel = self.shared.lock();
        let to = to.into();
        if kernel.network.is_unix(self.socket) {
            return Ok(kernel.send_to_unix(self.socket, bytes, &to).map(drop)?);
        }
        let now_ns = kernel.now_ns();
        let to = kernel.network.suitable(self.socket, &to)?;
        Ok(kernel.network.send_datagram(self.socket, Some(to), bytes, now_ns).map(drop)?)
    }

    /// Takes what came since the last time, in the order in which it came. As much waits here as in any socket: 208
    /// KiB, of which UDP drops the rest; or 11 datagrams of a unix socket, and then those who send are told that there
    /// is no room.
    ///
    /// # Examples
    ///
    /// ```
    /// # let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
    /// # runtime.block_on(async {
    /// # let world = runtime::simulated::world();
    /// let (one, other) = (world.datagrams("10.0.0.1:1".parse().unwrap())?, world.datagrams("10.0.0.2:2".parse().unwrap())?);
    /// one.send_to(b"hello", other.address()?)?;
    /// one.send_to(b"", other.address()?)?;
    /// let came = other.received();
    /// assert_eq!((came.len(), came[0].from.ip()?), (2, one.address()?));
    /// assert!(other.received().is_empty());                                       // they are taken
    /// # Ok::<(), std::io::Error>(()) })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn received(&self) -> Vec<Datagram> {
        let mut kernel = self.shared.lock();
        let (mut all, mut room) = (Vec::new(), vec![0; kernel.network.longest_waiting(self.socket)]);
        while let Ok((count, from)) = kernel.network.receive_datagram(self.socket, &mut room, RecvFlags::empty()) {
            all.push(Datagram { from, bytes: room[..count].to_vec() });
        }
        all
    }

    /// Where it is, if it speaks IP.
    ///
    /// # Errors
    ///
    /// [`NotConnected`](io::ErrorKind::NotConnected) after it was closed, and of a unix socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.shared.lock().network.local(self.socket).ok_or(Errno::NOTCONN)?)
    }

    /// Goes away, and what nobody has taken with it.
    pub fn close(&self) {
        let mut kernel = self.shared.lock();
        let now_ns = kernel.now_ns();
        kernel.network.close(self.socket, now_ns);
    }
}

impl fmt::Debug for PeerDatagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerDatagrams at {:?}", self.address().ok())
    }
}

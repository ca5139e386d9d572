//! Who has which address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::stream::Stream;
use super::{Network, Socket, SocketId, State};
use crate::op::address::SocketAddress;
use crate::op::socket::End;

/// The ports that the kernel gives out (`net.ipv4.ip_local_port_range`).
const PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

impl Socket {
    /// A name that only a connection gave goes when that breaks, though it is still told.
    fn has_lost_its_name(&self) -> bool {
        !self.is_bound && matches!(self.state, State::Stream(Stream { other: None, .. }))
    }
}

impl Network {
    /// What `getsockname(2)` and `getpeername(2)` say.
    pub fn name(&self, id: SocketId, end: End) -> Result<SocketAddress, Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::IO)?;
        let is_unix = self.is_unix(id);
        match end {
            End::Local if is_unix => Ok(socket.told_name()),
            End::Peer if is_unix => socket.peer_name.ok_or(Errno::NOTCONN),
            End::Local => Ok(self.local(id).unwrap_or_else(|| self.unnamed(id)).into()),
            End::Peer => self.peer(id).map(SocketAddress::from).ok_or(Errno::NOTCONN),
        }
    }

    /// The address of a socket that speaks IP and has none.
    pub(super) fn unnamed(&self, id: SocketId) -> SocketAddr {
        match self.sockets.get(&id).map(|socket| socket.family) {
            Some(AddressFamily::INET6) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            _ => (Ipv4Addr::UNSPECIFIED, 0).into(),
        }
    }

    /// An address that suits a socket which speaks IP. Of another family it is strange, or too short before that is
    /// seen.
    pub fn suitable(&self, id: SocketId, address: &SocketAddress) -> Result<SocketAddr, Errno> {
        let socket = self.sockets.get(&id).ok_or(Errno::IO)?;
        let len_min = if socket.family == AddressFamily::INET { 16 } else { 24 };
        match address.ip() {
            _ if address.len() < len_min => Err(Errno::INVAL),
            Ok(ip) if address.family() == socket.family => Ok(ip),
            _ => Err(Errno::AFNOSUPPORT),
        }
    }

    pub fn bind(&mut self, id: SocketId, address: SocketAddr) -> Result<(), Errno> {
        let socket = self.get(id)?;
        if socket.local.is_some() && !socket.has_lost_its_name() {
            return Err(Errno::INVAL);
        }
        self.take_name(id, address)?;
        self.get(id)?.is_bound = true;
        Ok(())
    }

    pub(super) fn take_name(&mut self, id: SocketId, address: SocketAddr) -> Result<(), Errno> {
        let address = self.with_port(id, address)?;
        if self.is_taken(id, address) {
            return Err(Errno::ADDRINUSE);
        }
        self.get(id)?.local = Some(address);
        Ok(())
    }

    /// Gives a socket that connects the name that the other side sees.
    pub(super) fn name_for(&mut self, id: SocketId, to: SocketAddr) -> Result<(), Errno> {
        let from = source_for(to);
        match self.local(id) {
            Some(local) if local.ip().is_unspecified() => {
                self.get(id)?.local = Some(SocketAddr::new(from, local.port()));
                Ok(())
            }
            Some(_) => Ok(()),
            None => self.take_name(id, SocketAddr::new(from, 0)),
        }
    }

    /// Who listens at `address`: by its very name, or at all addresses.
    pub(super) fn listener(&self, address: SocketAddr) -> Option<SocketId> {
        let listens = |wanted: SocketAddr| {
            let is_it =
                |socket: &Socket| socket.local == Some(wanted) && matches!(socket.state, State::Listening { .. });
            self.sockets.iter().find(|(_, socket)| is_it(socket)).map(|(&id, _)| id)
        };
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        listens(address).or_else(|| listens(SocketAddr::new(any, address.port())))
    }

    /// Fills in a free port where none is named.
    fn with_port(&mut self, id: SocketId, mut address: SocketAddr) -> Result<SocketAddr, Errno> {
        if address.port() != 0 {
            return Ok(address);
        }
        for _ in PORTS {
            self.port = if self.port >= *PORTS.end() { *PORTS.start() } else { self.port + 1 };
            address.set_port(self.port);
            if !self.is_taken(id, address) {
                return Ok(address);
            }
        }
        Err(Errno::ADDRINUSE)
    }

    /// Whether another socket has the address, and does not share it. Accepted connections have their listener's.
    fn is_taken(&self, id: SocketId, address: SocketAddr) -> bool {
        let shares = self.sockets.get(&id).is_some_and(|socket| socket.reuses_address);
        let is_of_datagrams = self.is_of_datagrams(id);
        let collides = |other: &Socket| {
            // Each protocol has ports of its own.
            other.is_of_datagrams() == is_of_datagrams
                && other.local.is_some_and(|local| {
                    local.port() == address.port()
                        && local.is_ipv4() == address.is_ipv4()
                        && (local.ip() == address.ip() || local.ip().is_unspecified() || address.ip().is_unspecified())
                })
                && (!shares || !other.reuses_address || matches!(other.state, State::Listening { .. }))
        };
        self.sockets.iter().any(|(&other, socket)| other != id && collides(socket))
    }
}

/// The address of ours that who is at `to` sees.
pub(super) fn source_for(to: SocketAddr) -> IpAddr {
    match (to.ip(), to.ip().is_loopback()) {
        (IpAddr::V4(_), true) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(_), false) => IpAddr::from([10, 0, 0, 1]),
        (IpAddr::V6(_), true) => Ipv6Addr::LOCALHOST.into(),
        (IpAddr::V6(_), false) => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]),
    }
}

//! Who has which address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

use super::stream::Stream;
use super::{Network, Socket, SocketId, State, check_family};

/// The ports that the kernel gives out (`net.ipv4.ip_local_port_range`).
const PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

impl Socket {
    /// A name that only a connection gave goes when that breaks, though it is still told.
    fn has_lost_its_name(&self) -> bool {
        !self.is_bound && matches!(self.state, State::Stream(Stream { other: None, .. }))
    }
}

impl Network {
    pub fn bind(&mut self, id: SocketId, address: SocketAddr) -> Result<(), Errno> {
        let socket = self.get(id)?;
        check_family(socket, address)?;
        if socket.local.is_some() && !socket.has_lost_its_name() {
            return Err(Errno::INVAL);
        }
        self.take_name(id, address)?;
        self.get(id)?.is_bound = true;
        Ok(())
    }

    fn take_name(&mut self, id: SocketId, address: SocketAddr) -> Result<(), Errno> {
        let address = self.with_port(id, address)?;
        if self.is_taken(id, address) {
            return Err(Errno::ADDRINUSE);
        }
        self.get(id)?.local = Some(address);
        Ok(())
    }

    /// Gives a socket that connects the name that the other side sees.
    pub(super) fn name_for(&mut self, id: SocketId, to: SocketAddr) -> Result<(), Errno> {
        let from = match (to.ip(), to.ip().is_loopback()) {
            (IpAddr::V4(_), true) => Ipv4Addr::LOCALHOST.into(),
            (IpAddr::V4(_), false) => IpAddr::from([10, 0, 0, 1]),
            (IpAddr::V6(_), true) => Ipv6Addr::LOCALHOST.into(),
            (IpAddr::V6(_), false) => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]),
        };
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

//! Datagrams: each arrives whole, in the order in which it was sent, or not at all.
//!
//! On a loopback nothing is lost but what finds no room. What finds no socket is answered to a sender that is connected, by
//! ECONNREFUSED for its next call, as an ICMP message does it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown};

use super::{Happening, Network, Socket, SocketId, State};

/// The longest that UDP over IPv4 carries.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// How many bytes wait in a socket (`net.core.rmem_default`); what comes then is dropped.
const WAITING_BYTES_MAX: usize = 212_992;

/// A socket of datagrams.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    received: VecDeque<Vec<u8>>,
    no_more_reads: bool,
    no_more_writes: bool,
}

/// A datagram on its way.
#[derive(Debug)]
pub(super) struct Travelling {
    from: SocketId,
    sender: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl Network {
    /// A socket of datagrams that has no name yet.
    pub fn datagram_socket(&mut self, family: AddressFamily) -> SocketId {
        let id = self.socket(family, false);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.state = State::Datagrams(Datagrams::default());
        }
        id
    }

    pub fn is_of_datagrams(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(Socket::is_of_datagrams)
    }

    /// From now on it sends there, and hears of nobody else. As often as one likes.
    pub(super) fn connect_datagrams(&mut self, id: SocketId, to: SocketAddr) -> Result<(), Errno> {
        let to = super::reachable(to);
        self.name_for(id, to)?;
        self.get(id)?.peer = Some(to);
        Ok(())
    }

    pub(super) fn receive_datagram(&mut self, id: SocketId, buf: &mut [u8], peek: bool) -> Result<usize, Errno> {
        let socket = self.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let State::Datagrams(datagrams) = &mut socket.state else { return Err(Errno::INVAL) };
        let Some(bytes) = datagrams.received.front() else {
            return if datagrams.no_more_reads { Ok(0) } else { Err(Errno::AGAIN) };
        };
        // What does not fit is gone.
        let count = buf.len().min(bytes.len());
        buf[..count].copy_from_slice(&bytes[..count]);
        if !peek {
            datagrams.received.pop_front();
        }
        Ok(count)
    }

    pub(super) fn send_datagram(&mut self, id: SocketId, bytes: &[u8], now_ns: u64) -> Result<usize, Errno> {
        let socket = self.get(id)?;
        let to = socket.peer.ok_or(Errno::DESTADDRREQ)?;
        let State::Datagrams(datagrams) = &socket.state else { return Err(Errno::INVAL) };
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Errno::MSGSIZE);
        }
        if datagrams.no_more_writes {
            return Err(Errno::PIPE);
        }
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let sender = socket.local.ok_or(Errno::DESTADDRREQ)?;
        let due_ns = self.datagrams_due_ns.max(now_ns + self.random.delay_ns());
        self.datagrams_due_ns = due_ns;
        self.datagrams.push_back(Travelling { from: id, sender, to, bytes: bytes.to_vec() });
        self.happen(due_ns, Happening::Datagram);
        Ok(bytes.len())
    }

    /// The one that was sent first is there.
    pub(super) fn arrive_datagram(&mut self) {
        let Some(Travelling { from, sender, to, bytes }) = self.datagrams.pop_front() else { return };
        let is_bound = |socket: &Socket| {
            let is_it =
                |local: SocketAddr| local.port() == to.port() && (local.ip() == to.ip() || local.ip().is_unspecified());
            socket.is_of_datagrams() && socket.local.is_some_and(is_it) && socket.peer.is_none_or(|peer| peer == sender)
        };
        let Some((&id, socket)) = self.sockets.iter_mut().find(|(_, socket)| is_bound(socket)) else {
            if let Some(socket) = self.sockets.get_mut(&from) {
                socket.error = Some(Errno::CONNREFUSED);
                self.touched.insert(from);
            }
            return;
        };
        let State::Datagrams(datagrams) = &mut socket.state else { return };
        let waiting: usize = datagrams.received.iter().map(Vec::len).sum();
        if waiting + bytes.len() <= WAITING_BYTES_MAX {
            datagrams.received.push_back(bytes);
            self.touched.insert(id);
        }
    }
}

impl Socket {
    pub(super) fn is_of_datagrams(&self) -> bool {
        matches!(self.state, State::Datagrams(_))
    }
}

impl Datagrams {
    pub(super) fn shut_down(&mut self, how: Shutdown) {
        self.no_more_reads |= matches!(how, Shutdown::Read | Shutdown::Both);
        self.no_more_writes |= matches!(how, Shutdown::Write | Shutdown::Both);
    }

    pub(super) fn readiness(&self) -> PollFlags {
        let mut events = PollFlags::OUT;
        events.set(PollFlags::IN, !self.received.is_empty() || self.no_more_reads);
        events.set(PollFlags::RDHUP, self.no_more_reads);
        events.set(PollFlags::HUP, self.no_more_reads && self.no_more_writes);
        events
    }
}

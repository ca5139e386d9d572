//! Datagrams: each arrives whole, in the order in which it was sent, or not at all.
//!
//! UDP loses what finds no room, and what is on a wire that is cut. What finds no socket is answered to a sender that
//! is connected with it, by ECONNREFUSED for its next call, as an ICMP message does it. Between unix sockets nothing is
//! lost: see [`unix_datagrams`](super::unix_datagrams).

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, Shutdown};

use super::{Happening, Network, Socket, SocketId, State};
use crate::op::address::SocketAddress;

/// The longest that UDP carries over IPv4, and over IPv6.
const DATAGRAM_BYTES_MAX: usize = 65_507;
const DATAGRAM_BYTES_MAX_6: usize = 65_527;

/// How many bytes wait in a socket (`net.core.rmem_default`); what comes then is dropped.
pub(super) const WAITING_BYTES_MAX: usize = 212_992;

/// A socket of datagrams.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    pub received: VecDeque<Received>,
    /// To whom a unix socket sends.
    pub peer: Option<SocketId>,
    pub no_more_reads: bool,
    pub no_more_writes: bool,
}

/// A datagram that came.
#[derive(Debug)]
pub(super) struct Received {
    pub from: SocketId,
    pub sender: SocketAddress,
    pub bytes: Vec<u8>,
}

/// A datagram on its way.
#[derive(Debug)]
pub(super) struct Travelling {
    from: SocketId,
    sender: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
    /// Its machine lost its power before it was out.
    is_lost: bool,
}

impl Network {
    /// A socket of datagrams that has no name yet.
    pub fn datagram_socket(&mut self, family: AddressFamily, is_outside: bool) -> SocketId {
        let id = self.socket(family, is_outside);
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
        check_leave(to)?;
        self.name_for(id, to)?;
        self.get(id)?.peer = Some(to);
        Ok(())
    }

    /// How much of the next one fits, and whose it is. What does not fit is gone; with `TRUNC` its length is told all
    /// the same.
    pub fn receive_datagram(
        &mut self,
        id: SocketId,
        buf: &mut [u8],
        flags: RecvFlags,
    ) -> Result<(usize, SocketAddress), Errno> {
        let socket = self.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let State::Datagrams(datagrams) = &mut socket.state else { return Err(Errno::INVAL) };
        let Some(Received { from, sender, bytes }) = datagrams.received.front() else {
            let nothing = (0, SocketAddress::nothing());
            return if datagrams.no_more_reads { Ok(nothing) } else { Err(Errno::AGAIN) };
        };
        let (from, sender) = (*from, *sender);
        let count = buf.len().min(bytes.len());
        buf[..count].copy_from_slice(&bytes[..count]);
        let told = if flags.contains(RecvFlags::TRUNC) { bytes.len() } else { count };
        if !flags.contains(RecvFlags::PEEK) {
            datagrams.received.pop_front();
            self.make_room_for_datagrams(id, from);
        }
        Ok((told, sender))
    }

    /// How long the longest is that waits to be received.
    pub fn longest_waiting(&self, id: SocketId) -> usize {
        match self.sockets.get(&id) {
            Some(Socket { state: State::Datagrams(datagrams), .. }) => {
                datagrams.received.iter().map(|received| received.bytes.len()).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Sends one to whom the socket is connected with.
    pub(super) fn send_to_peer(&mut self, id: SocketId, bytes: &[u8], now_ns: u64) -> Result<usize, Errno> {
        if self.is_unix(id) {
            return self.send_to_unix_peer(id, bytes);
        }
        self.send_datagram(id, None, bytes, now_ns)
    }

    /// Sends one to an address, or to whom the socket is connected with.
    pub fn send_datagram(
        &mut self,
        id: SocketId,
        to: Option<SocketAddr>,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<usize, Errno> {
        let socket = self.get(id)?;
        let State::Datagrams(datagrams) = &socket.state else { return Err(Errno::INVAL) };
        let to = to.or(socket.peer).ok_or(Errno::DESTADDRREQ)?;
        if to.port() == 0 {
            return Err(Errno::INVAL);
        }
        if bytes.len() > if to.is_ipv4() { DATAGRAM_BYTES_MAX } else { DATAGRAM_BYTES_MAX_6 } {
            return Err(Errno::MSGSIZE);
        }
        if datagrams.no_more_writes {
            return Err(Errno::PIPE);
        }
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let to = super::reachable(to);
        check_leave(to)?;
        let sender = self.sender_for(id, to)?;
        let travelling = Travelling { from: id, sender, to, bytes: bytes.to_vec(), is_lost: false };
        if self.receiver(&travelling).is_some_and(|id| self.is_outside(id)) {
            self.hand_over_datagram(travelling);
            return Ok(bytes.len());
        }
        let due_ns = self.datagrams_due_ns.max(now_ns + self.random.delay_ns());
        self.datagrams_due_ns = due_ns;
        self.datagrams.push_back(travelling);
        self.happen(due_ns, Happening::Datagram);
        Ok(bytes.len())
    }

    /// The address by which the receiver will know the sender, who has a port from now on.
    fn sender_for(&mut self, id: SocketId, to: SocketAddr) -> Result<SocketAddr, Errno> {
        if self.local(id).is_none() {
            let unnamed = self.unnamed(id);
            self.take_name(id, unnamed)?;
        }
        let local = self.local(id).ok_or(Errno::ADDRNOTAVAIL)?;
        let ip = if local.ip().is_unspecified() { super::names::source_for(to) } else { local.ip() };
        Ok(SocketAddr::new(ip, local.port()))
    }

    fn is_outside(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| socket.is_outside)
    }

    /// The one that was sent first is there.
    pub(super) fn arrive_datagram(&mut self) {
        if let Some(travelling) = self.datagrams.pop_front() {
            self.hand_over_datagram(travelling);
        }
    }

    /// Who gets it, of the sockets that are bound there and not connected to somebody else: rather one that is bound to
    /// this very address, then one that is connected to the sender, then the newest.
    fn receiver(&self, Travelling { sender, to, .. }: &Travelling) -> Option<SocketId> {
        let is_it =
            |local: SocketAddr| local.port() == to.port() && (local.ip() == to.ip() || local.ip().is_unspecified());
        let gets_it = |socket: &Socket| {
            socket.is_of_datagrams()
                && socket.local.is_some_and(|local| local.is_ipv4() == to.is_ipv4() && is_it(local))
                && socket.peer.is_none_or(|peer| peer == *sender)
        };
        let closeness = |(id, socket): &(&SocketId, &Socket)| {
            let is_bound_here = socket.local.is_some_and(|local| local.ip() == to.ip());
            (is_bound_here, socket.peer.is_some(), **id)
        };
        self.sockets.iter().filter(|(_, socket)| gets_it(socket)).max_by_key(closeness).map(|(&id, _)| id)
    }

    fn hand_over_datagram(&mut self, travelling: Travelling) {
        if travelling.is_lost {
            return;
        }
        let Some(id) = self.receiver(&travelling) else {
            // Only who is connected is told.
            if let Some(socket) = self.sockets.get_mut(&travelling.from)
                && socket.peer == Some(travelling.to)
            {
                socket.error = Some(Errno::CONNREFUSED);
                self.touched.insert(travelling.from);
            }
            return;
        };
        if self.is_cut && self.crosses(travelling.from, id) {
            // Nobody is told.
            return;
        }
        let Some(Socket { state: State::Datagrams(datagrams), is_outside, .. }) = self.sockets.get_mut(&id) else {
            return;
        };
        // Outside, where a test looks when it likes, there is room for many small ones.
        let (is_outside, is_ipv4) = (*is_outside, travelling.to.is_ipv4());
        let room = |bytes: &[u8]| if is_outside { bytes.len() + 1 } else { room_for(bytes.len(), is_ipv4) };
        let waiting: usize = datagrams.received.iter().map(|received| room(&received.bytes)).sum();
        if waiting + room(&travelling.bytes) <= WAITING_BYTES_MAX {
            let Travelling { from, sender, bytes, .. } = travelling;
            datagrams.received.push_back(Received { from, sender: sender.into(), bytes });
            self.touched.insert(id);
        }
    }

    /// The power went at these: what they had sent, and is not there yet, never will be.
    pub(super) fn lose_datagrams(&mut self, of: &[SocketId]) {
        self.datagrams.iter_mut().for_each(|travelling| travelling.is_lost |= of.contains(&travelling.from));
    }
}

/// How much a datagram of so many bytes takes of a socket's room, as Linux has it from 6.3 on with pages of 4 KiB: what
/// the kernel knows of it, and a block with bytes, headers and room for more headers. Blocks have 576 bytes, or a power
/// of two up to 16 KiB; beside the smallest lie the bytes of still longer ones, in pages.
fn room_for(len: usize, is_ipv4: bool) -> usize {
    const KNOWN: usize = 256;
    const SMALLEST: usize = 576;
    const LARGEST: usize = 16_384;
    let wanted = len + if is_ipv4 { 379 } else { 392 };
    let block = match () {
        () if wanted <= SMALLEST => SMALLEST,
        () if wanted <= LARGEST => wanted.next_power_of_two(),
        () => SMALLEST + len,
    };
    KNOWN + block
}

/// To send to all takes leave, `SO_BROADCAST`, which nobody can get here.
fn check_leave(to: SocketAddr) -> Result<(), Errno> {
    if to.ip() == Ipv4Addr::BROADCAST { Err(Errno::ACCESS) } else { Ok(()) }
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

    /// What `poll(2)` would say, of a receiver.
    pub(super) fn readiness(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, !self.received.is_empty() || self.no_more_reads);
        events.set(PollFlags::RDHUP, self.no_more_reads);
        events.set(PollFlags::HUP, self.no_more_reads && self.no_more_writes);
        events
    }
}

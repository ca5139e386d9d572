//! Datagrams between unix sockets: they are there at once, and none is lost, since who has no room for them says so.
//!
//! As on Linux a socket that hears from many lets [so many](WAITING_MAX) wait, two that are connected with each other
//! as many as the sender's buffer holds; and who is connected is heard by his peer, and hears from nobody else.

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::datagrams::{Datagrams, Received, WAITING_BYTES_MAX};
use super::{Network, Socket, SocketId, State};

/// The kernel's default (`net.unix.max_dgram_qlen`), of which it takes one more.
const WAITING_MAX: usize = 10;

/// The longest: what a sender's buffer holds (`net.core.wmem_default`), but for the kernel's own bytes.
const DATAGRAM_BYTES_MAX: usize = WAITING_BYTES_MAX - 32;

/// What the kernel keeps beside the bytes of each.
const OVERHEAD_BYTES: usize = 768;

impl Network {
    /// Two that are connected with each other.
    pub fn unix_datagram_pair(&mut self) -> (SocketId, SocketId) {
        let one = self.datagram_socket(AddressFamily::UNIX, false);
        let other = self.datagram_socket(AddressFamily::UNIX, false);
        for (id, peer) in [(one, other), (other, one)] {
            self.set_unix_peer(id, Some(peer));
        }
        (one, other)
    }

    /// From now on it sends there, and hears from nobody else. As often as one likes.
    pub fn connect_unix_datagrams(&mut self, id: SocketId, to: SocketId) -> Result<(), Errno> {
        if !self.is_of_datagrams(to) {
            return Err(Errno::PROTOTYPE);
        }
        self.check_hears(to, id)?;
        let before = self.unix_peer(id);
        self.set_unix_peer(id, Some(to));
        if let Some(before) = before.filter(|before| *before != to) {
            self.disconnected(id, before);
        }
        Ok(())
    }

    pub(super) fn send_to_unix_peer(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize, Errno> {
        let to = self.unix_peer(id).ok_or(Errno::NOTCONN)?;
        self.check_unix_sender(id, bytes)?;
        self.send_unix_datagram(id, to, bytes)
    }

    /// What stops a sender, whoever it is for.
    pub fn check_unix_sender(&mut self, id: SocketId, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(Errno::MSGSIZE);
        }
        let unread = self.unread_bytes(id);
        let socket = self.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        match &socket.state {
            State::Datagrams(datagrams) if datagrams.no_more_writes => Err(Errno::PIPE),
            _ if unread >= WAITING_BYTES_MAX => Err(Errno::AGAIN),
            _ => Ok(()),
        }
    }

    /// Sends one: EAGAIN while there is no room for it.
    pub fn send_unix_datagram(&mut self, id: SocketId, to: SocketId, bytes: &[u8]) -> Result<usize, Errno> {
        let sender = self.get(id)?.told_name();
        let is_full = self.is_full_for(to, id);
        let Some(socket) = self.sockets.get(&to) else {
            if self.unix_peer(id) == Some(to) {
                self.set_unix_peer(id, None);
                self.disconnected(id, to);
            }
            return Err(Errno::CONNREFUSED);
        };
        let State::Datagrams(Datagrams { no_more_reads, .. }) = socket.state else { return Err(Errno::PROTOTYPE) };
        self.check_hears(to, id)?;
        if no_more_reads {
            return Err(Errno::PIPE);
        }
        if is_full {
            return Err(Errno::AGAIN);
        }
        if let Some(Socket { state: State::Datagrams(receiver), .. }) = self.sockets.get_mut(&to) {
            receiver.received.push_back(Received { from: id, sender, bytes: bytes.to_vec() });
        }
        self.touched.insert(to);
        Ok(bytes.len())
    }

    /// One was taken, so that there is room again for its sender, and for those who are connected with the receiver.
    pub(super) fn make_room_for_datagrams(&mut self, receiver: SocketId, sender: SocketId) {
        if self.is_unix(receiver) {
            self.touched.insert(sender);
            self.touch_those_connected_with(receiver);
        }
    }

    /// It is gone, and with it what nobody has taken.
    pub(super) fn end_unix_datagrams(&mut self, id: SocketId, datagrams: &Datagrams) {
        self.touched.extend(datagrams.received.iter().map(|received| received.from));
        self.touch_those_connected_with(id);
    }

    /// What `poll(2)` would say, of a sender.
    pub(super) fn unix_datagram_room(&self, id: SocketId) -> PollFlags {
        // A quarter of it is free, as the kernel wants it.
        let is_writable = self.unread_bytes(id) * 4 <= WAITING_BYTES_MAX;
        let is_full = self.unix_peer(id).is_some_and(|peer| self.is_full_for(peer, id));
        if is_writable && !is_full { PollFlags::OUT } else { PollFlags::empty() }
    }

    /// Those who are connected with it learn its name.
    pub(super) fn tell_unix_name(&mut self, id: SocketId) {
        let Some(told) = self.sockets.get(&id).map(Socket::told_name) else { return };
        for socket in self.sockets.values_mut() {
            if matches!(socket.state, State::Datagrams(Datagrams { peer: Some(peer), .. }) if peer == id) {
                socket.peer_name = Some(told);
            }
        }
    }

    fn unix_peer(&self, id: SocketId) -> Option<SocketId> {
        match self.sockets.get(&id) {
            Some(Socket { state: State::Datagrams(datagrams), .. }) => datagrams.peer,
            _ => None,
        }
    }

    fn set_unix_peer(&mut self, id: SocketId, peer: Option<SocketId>) {
        let peer_name = peer.and_then(|peer| self.sockets.get(&peer)).map(Socket::told_name);
        if let Some(Socket { state: State::Datagrams(datagrams), peer_name: name, .. }) = self.sockets.get_mut(&id) {
            datagrams.peer = peer;
            *name = peer_name;
        }
        self.touched.insert(id);
    }

    /// Who is connected hears from his peer alone.
    fn check_hears(&self, receiver: SocketId, sender: SocketId) -> Result<(), Errno> {
        if self.unix_peer(receiver).is_none_or(|peer| peer == sender) { Ok(()) } else { Err(Errno::PERM) }
    }

    fn is_full_for(&self, receiver: SocketId, sender: SocketId) -> bool {
        match self.sockets.get(&receiver) {
            Some(Socket { state: State::Datagrams(datagrams), .. }) => {
                receiver != sender && datagrams.peer != Some(sender) && datagrams.received.len() > WAITING_MAX
            }
            _ => false,
        }
    }

    /// How much of what it sent nobody has taken.
    fn unread_bytes(&self, sender: SocketId) -> usize {
        let received = self.sockets.values().filter_map(|socket| match &socket.state {
            State::Datagrams(datagrams) if socket.family == AddressFamily::UNIX => Some(&datagrams.received),
            _ => None,
        });
        let own = received.flatten().filter(|received| received.from == sender);
        own.map(|received| received.bytes.len() + OVERHEAD_BYTES).sum()
    }

    /// What came while it was connected with another one is lost, which that one is told if it was connected, too.
    fn disconnected(&mut self, id: SocketId, before: SocketId) {
        let Some(Socket { state: State::Datagrams(datagrams), .. }) = self.sockets.get_mut(&id) else { return };
        let lost = std::mem::take(&mut datagrams.received);
        self.touched.extend(lost.iter().map(|received| received.from));
        if !lost.is_empty()
            && self.unix_peer(before) == Some(id)
            && let Some(socket) = self.sockets.get_mut(&before)
        {
            socket.error = Some(Errno::CONNRESET);
            self.touched.insert(before);
        }
    }

    fn touch_those_connected_with(&mut self, id: SocketId) {
        let connected = self.sockets.keys().copied().filter(|&other| self.unix_peer(other) == Some(id));
        let connected: Vec<SocketId> = connected.collect();
        self.touched.extend(connected);
    }
}

//! Unix sockets: what is said on one is heard at once, since there is no wire. Here are streams, and all that has a
//! name.
//!
//! A name is a file's, which binding makes and nothing takes away, or stands beside the files. As on Linux a connect is
//! done at once or waits for room in the backlog, an end is known to both sides at once, and one who closes with bytes
//! unread resets the other side.

use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::super::files::InodeNumber;
use super::stream::Stream;
use super::{Network, Socket, SocketId, State};
use crate::op::address::{self, SocketAddress};

/// What a unix socket is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::driver::simulated) enum UnixName {
    File { path: Vec<u8>, inode: InodeNumber },
    Abstract(Vec<u8>),
}

impl UnixName {
    /// Whether it leads to the same socket. A file is found by its inode, whatever the path to it.
    fn is_same_as(&self, other: &UnixName) -> bool {
        match (self, other) {
            (UnixName::File { inode, .. }, UnixName::File { inode: other, .. }) => inode == other,
            (one, other) => one == other,
        }
    }
}

impl Socket {
    /// Its name, or that it has none.
    pub(super) fn told_name(&self) -> SocketAddress {
        SocketAddress::of_unix(match &self.name {
            None => address::UnixName::Unnamed,
            Some(UnixName::File { path, .. }) => address::UnixName::Path(path),
            Some(UnixName::Abstract(name)) => address::UnixName::Abstract(name),
        })
    }
}

impl Network {
    pub fn is_unix(&self, id: SocketId) -> bool {
        self.sockets.get(&id).is_some_and(|socket| socket.family == AddressFamily::UNIX)
    }

    pub fn is_connected_unix(&self, id: SocketId) -> bool {
        matches!(self.sockets.get(&id), Some(Socket { state: State::Stream(_), .. }))
    }

    /// Two that are connected with each other.
    pub fn unix_pair(&mut self) -> (SocketId, SocketId) {
        let (one, other) = (self.socket(AddressFamily::UNIX, false), self.socket(AddressFamily::UNIX, false));
        self.join(one, other);
        (one, other)
    }

    fn join(&mut self, one: SocketId, other: SocketId) {
        for (id, other) in [(one, other), (other, one)] {
            let peer_name = self.sockets.get(&other).map(Socket::told_name);
            if let Some(socket) = self.sockets.get_mut(&id) {
                socket.state = State::Stream(Stream { other: Some(other), ..Stream::default() });
                socket.peer_name = peer_name;
            }
        }
    }

    /// Gives it a name, which nobody else may have. The file is there by now, if it is a file's.
    pub fn bind_unix(&mut self, id: SocketId, name: UnixName) -> Result<(), Errno> {
        if self.get(id)?.name.is_some() {
            return Err(Errno::INVAL);
        }
        if self.unix_at(&name, self.is_of_datagrams(id)).is_some() {
            return Err(Errno::ADDRINUSE);
        }
        let socket = self.get(id)?;
        socket.name = Some(name);
        socket.is_bound = true;
        let told = socket.told_name();
        // Whoever is connected with it learns its name.
        if let State::Stream(Stream { other: Some(other), .. }) = socket.state
            && let Some(other) = self.sockets.get_mut(&other)
        {
            other.peer_name = Some(told);
        }
        self.tell_unix_name(id);
        Ok(())
    }

    /// A name of the kernel's choice: five digits beside the files.
    pub fn bind_unix_anywhere(&mut self, id: SocketId) -> Result<(), Errno> {
        if self.get(id)?.name.is_some() {
            // There is nothing to do.
            return Ok(());
        }
        loop {
            let name = UnixName::Abstract(format!("{:05x}", self.random.below(1 << 20)).into_bytes());
            if self.unix_at(&name, self.is_of_datagrams(id)).is_none() {
                return self.bind_unix(id, name);
            }
        }
    }

    /// Who is bound to this name. Beside the files those of datagrams have names of their own.
    pub fn unix_at(&self, name: &UnixName, is_of_datagrams: bool) -> Option<SocketId> {
        let is_meant = |socket: &Socket| match name {
            UnixName::File { .. } => true,
            UnixName::Abstract(_) => socket.is_of_datagrams() == is_of_datagrams,
        };
        let has_it = |socket: &Socket| {
            socket.is_bound && is_meant(socket) && socket.name.as_ref().is_some_and(|own| own.is_same_as(name))
        };
        self.sockets.iter().find(|(_, socket)| has_it(socket)).map(|(&id, _)| id)
    }

    /// What listen(2) wants of a unix socket.
    pub(super) fn check_named(&mut self, id: SocketId) -> Result<(), Errno> {
        if self.get(id)?.name.is_some() { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Connects with a listener: EAGAIN while that has no room.
    pub fn connect_unix(&mut self, id: SocketId, listener: SocketId) -> Result<(), Errno> {
        let (room, accepted) = match self.sockets.get(&listener) {
            Some(Socket { state: State::Datagrams(_), .. }) => return Err(Errno::PROTOTYPE),
            Some(Socket { state: State::Listening { queue, backlog, refuses: false }, name, is_outside, .. }) => {
                // The kernel takes one more than it was told.
                (queue.len() <= *backlog, (name.clone(), *is_outside))
            }
            _ => return Err(Errno::CONNREFUSED),
        };
        if !room {
            return Err(Errno::AGAIN);
        }
        match self.get(id)?.state {
            State::Fresh => {}
            State::Stream(_) => return Err(Errno::ISCONN),
            _ => return Err(Errno::INVAL),
        }
        let (name, is_outside) = accepted;
        let accepted = self.socket(AddressFamily::UNIX, is_outside);
        self.get(accepted)?.name = name;
        self.join(id, accepted);
        if let Some(Socket { state: State::Listening { queue, .. }, .. }) = self.sockets.get_mut(&listener) {
            queue.push_back(accepted);
        }
        self.touched.extend([listener, id]);
        Ok(())
    }

    pub(super) fn send_unix(&mut self, id: SocketId, buf: &[u8]) -> Result<usize, Errno> {
        let room = self.room(id);
        let socket = self.get(id)?;
        let is_outside = socket.is_outside;
        let State::Stream(stream) = &socket.state else { return Err(Errno::NOTCONN) };
        let (Some(other), false) = (stream.other, stream.no_more_writes) else { return Err(Errno::PIPE) };
        // A test says what it says: the outside has all the room it wants.
        let count = if is_outside { buf.len() } else { buf.len().min(room) };
        if count == 0 && !buf.is_empty() {
            return Err(Errno::AGAIN);
        }
        if let Some(Socket { state: State::Stream(receiver), .. }) = self.sockets.get_mut(&other) {
            receiver.received.extend(&buf[..count]);
        }
        self.touched.insert(other);
        Ok(count)
    }

    pub(super) fn shut_down_unix(&mut self, id: SocketId, read: bool, write: bool) -> Result<(), Errno> {
        let other = match &mut self.get(id)?.state {
            State::Stream(stream) => {
                stream.no_more_reads |= read;
                stream.no_more_writes |= write;
                stream.other
            }
            State::Listening { refuses, .. } => {
                *refuses |= read;
                None
            }
            _ => None,
        };
        // What one side no longer reads the other no longer writes.
        if let Some(Socket { state: State::Stream(stream), .. }) = other.and_then(|other| self.sockets.get_mut(&other))
        {
            stream.no_more_writes |= read;
            stream.has_ended |= write;
        }
        self.touched.extend([id].into_iter().chain(other));
        Ok(())
    }

    /// Bytes that nobody will read reset the connection: the sender must not think that they were.
    pub(super) fn close_unix(&mut self, id: SocketId) {
        let has_unread = self.has_bytes(id);
        self.end_unix(id, has_unread);
    }

    pub(super) fn break_off_unix(&mut self, id: SocketId) {
        self.end_unix(id, true);
    }

    fn end_unix(&mut self, id: SocketId, is_reset: bool) {
        let Some(socket) = self.sockets.remove(&id) else { return };
        self.touched.insert(id);
        match socket.state {
            State::Listening { queue, .. } => queue.into_iter().for_each(|waiting| self.break_off_unix(waiting)),
            State::Stream(Stream { other: Some(other), .. }) => {
                self.touched.insert(other);
                let Some(socket) = self.sockets.get_mut(&other) else { return };
                if is_reset {
                    socket.error = Some(Errno::CONNRESET);
                }
                if let State::Stream(stream) = &mut socket.state {
                    stream.other = None;
                    stream.has_ended = true;
                    stream.no_more_writes = true;
                }
            }
            State::Datagrams(datagrams) => self.end_unix_datagrams(id, &datagrams),
            _ => {}
        }
    }
}

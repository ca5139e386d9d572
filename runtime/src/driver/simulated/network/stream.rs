//! One end of a connection: bytes that came, bytes that are on their way, and how each direction ends.

use std::collections::VecDeque;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};

use super::{Happening, Network, Socket, SocketId, State};

/// How many bytes one direction of a connection holds: sent, and not yet received by the other program.
pub(super) const STREAM_BYTES_MAX: usize = 64 << 10;

/// An end of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The other end, until the connection broke.
    pub other: Option<SocketId>,
    /// Came, and was not read.
    pub received: VecDeque<u8>,
    /// The other end sends no more, and all that it sent is in `received`.
    pub has_ended: bool,
    /// Sent, and not there yet.
    pub outgoing: VecDeque<u8>,
    /// An end follows what is outgoing.
    pub end_outgoing: bool,
    /// When the peer last took something, or what it has not taken was sent.
    pub progressed_ns: u64,
    /// A look at whether that was too long ago is on the agenda.
    pub is_watched: bool,
    /// A delivery of what is outgoing is on the agenda.
    pub is_delivering: bool,
    pub no_more_reads: bool,
    pub no_more_writes: bool,
    /// The program closed it; it lives until what is outgoing is there.
    pub is_closed: bool,
}

impl Network {
    /// Takes what came: EAGAIN if nothing did, 0 at the end. With `PEEK` it stays there.
    pub fn receive(&mut self, id: SocketId, buf: &mut [u8], flags: RecvFlags, now_ns: u64) -> Result<usize, Errno> {
        if self.is_of_datagrams(id) {
            return self.receive_datagram(id, buf, flags).map(|(count, _sender)| count);
        }
        let is_unix = self.is_unix(id);
        let socket = self.get(id)?;
        let stream = match &mut socket.state {
            State::Stream(stream) => stream,
            State::Connecting | State::Datagrams(_) => return Err(Errno::AGAIN),
            State::Fresh | State::Listening { .. } if is_unix => return Err(Errno::INVAL),
            State::Fresh | State::Listening { .. } => return Err(socket.error.take().unwrap_or(Errno::NOTCONN)),
        };
        if stream.received.is_empty() {
            // What came before the connection broke can still be read; then it is told once that it broke. Who has
            // heard of the end hears of nothing else: the error is for whoever writes.
            let is_for_writers = stream.has_ended && socket.error == Some(Errno::PIPE);
            return match socket.error.take_if(|_| !is_for_writers) {
                Some(error) => Err(error),
                None if stream.has_ended || stream.no_more_reads => Ok(0),
                None => Err(Errno::AGAIN),
            };
        }
        let count = buf.len().min(stream.received.len());
        for (place, &byte) in buf.iter_mut().zip(&stream.received) {
            *place = byte;
        }
        if !flags.contains(RecvFlags::PEEK) {
            stream.received.drain(..count);
            if let Some(other) = stream.other {
                self.make_room(other, now_ns);
            }
        }
        Ok(count)
    }

    /// Whether a reader has something to hear: bytes, an end or an error.
    pub fn has_input(&self, id: SocketId) -> bool {
        self.readiness(id).intersects(PollFlags::IN | PollFlags::RDHUP | PollFlags::ERR | PollFlags::HUP)
    }

    /// What asking for urgent bytes answers, where nobody ever sends any. UDP does not know what they are.
    pub fn refuses_urgent(&self, id: SocketId) -> Option<Errno> {
        match self.sockets.get(&id)?.state {
            State::Datagrams(_) if !self.is_unix(id) => None,
            State::Datagrams(_) => Some(Errno::OPNOTSUPP),
            State::Listening { .. } if !self.is_unix(id) => Some(Errno::NOTCONN),
            _ => Some(Errno::INVAL),
        }
    }

    /// Sends what there is room for: EAGAIN if there is none.
    pub fn send(&mut self, id: SocketId, buf: &[u8], now_ns: u64) -> Result<usize, Errno> {
        if self.is_of_datagrams(id) {
            return self.send_to_peer(id, buf, now_ns);
        }
        if self.is_unix(id) {
            return self.send_unix(id, buf);
        }
        let room = self.room(id);
        let socket = self.get(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let is_outside = socket.is_outside;
        let stream = match &mut socket.state {
            State::Stream(stream) => stream,
            State::Connecting | State::Datagrams(_) => return Err(Errno::AGAIN),
            State::Fresh | State::Listening { .. } => return Err(Errno::PIPE),
        };
        if stream.no_more_writes {
            return Err(Errno::PIPE);
        }
        // A test says what it says: the outside has all the room it wants.
        let count = if is_outside { buf.len() } else { buf.len().min(room) };
        if count == 0 && !buf.is_empty() {
            return Err(Errno::AGAIN);
        }
        if stream.outgoing.is_empty() {
            stream.progressed_ns = now_ns;
        }
        stream.outgoing.extend(&buf[..count]);
        self.dispatch(id, now_ns);
        self.watch(id, now_ns);
        Ok(count)
    }

    /// The connection is to end when the peer takes nothing for so long. Zero: it may.
    pub fn set_user_timeout(&mut self, id: SocketId, timeout_ns: u64, now_ns: u64) -> Result<(), Errno> {
        self.get(id)?.user_timeout_ns = timeout_ns;
        self.watch(id, now_ns);
        Ok(())
    }

    /// Looks again when the peer has had its time, if there is something that it does not take.
    fn watch(&mut self, id: SocketId, now_ns: u64) {
        if !self.is_stalled(id) {
            return;
        }
        let Some(Socket { state: State::Stream(stream), user_timeout_ns, .. }) = self.sockets.get_mut(&id) else {
            return;
        };
        if *user_timeout_ns > 0 && !std::mem::replace(&mut stream.is_watched, true) {
            let due_ns = stream.progressed_ns + *user_timeout_ns;
            self.happen(due_ns.max(now_ns), Happening::UserTimeout { of: id });
        }
    }

    /// Whether bytes are on their way, or no more can go: the peer has room for no more.
    fn is_stalled(&self, id: SocketId) -> bool {
        match self.sockets.get(&id) {
            Some(Socket { state: State::Stream(stream), .. }) => {
                stream.other.is_some() && (!stream.outgoing.is_empty() || self.room(id) == 0)
            }
            _ => false,
        }
    }

    /// The time of a peer that takes nothing may be over.
    pub(super) fn end_stalled(&mut self, id: SocketId, now_ns: u64) {
        let Some(Socket { state: State::Stream(stream), user_timeout_ns, .. }) = self.sockets.get_mut(&id) else {
            return;
        };
        stream.is_watched = false;
        let is_over = *user_timeout_ns > 0 && stream.progressed_ns + *user_timeout_ns <= now_ns;
        let other = stream.other;
        if !is_over || !self.is_stalled(id) {
            return self.watch(id, now_ns);
        }
        self.arrive_reset(id, Errno::TIMEDOUT);
        if let Some(other) = other {
            self.send_reset(other, now_ns);
        }
    }

    pub fn shutdown(&mut self, id: SocketId, how: Shutdown, now_ns: u64) -> Result<(), Errno> {
        let (read, write) = match how {
            Shutdown::Read => (true, false),
            Shutdown::Write => (false, true),
            Shutdown::Both => (true, true),
        };
        let is_unix = self.is_unix(id);
        if is_unix && !self.is_of_datagrams(id) {
            return self.shut_down_unix(id, read, write);
        }
        let socket = self.get(id)?;
        match &mut socket.state {
            // It broke, and is no connection any more.
            State::Stream(Stream { other: None, .. }) => return Err(Errno::NOTCONN),
            State::Stream(stream) => {
                stream.no_more_reads |= read;
                if write && !stream.no_more_writes {
                    stream.no_more_writes = true;
                    stream.end_outgoing = true;
                }
            }
            // A listener that is shut down for reading is none any more; who waits in it is turned away.
            State::Listening { queue, .. } if read => {
                let queue = std::mem::take(queue);
                socket.state = State::Fresh;
                for waiting in queue {
                    self.break_off(waiting, now_ns);
                }
            }
            // It listens on: nobody writes to it.
            State::Listening { .. } => return Ok(()),
            State::Connecting => socket.state = State::Fresh,
            State::Datagrams(datagrams) if is_unix || socket.peer.is_some() => datagrams.shut_down(how),
            State::Fresh | State::Datagrams(_) => return Err(Errno::NOTCONN),
        }
        self.touched.insert(id);
        self.dispatch(id, now_ns);
        Ok(())
    }

    /// The program has no descriptor of it any more.
    pub fn close(&mut self, id: SocketId, now_ns: u64) {
        if self.is_unix(id) {
            return self.close_unix(id);
        }
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        match &mut socket.state {
            State::Stream(stream) if stream.other.is_some() => {
                if !stream.received.is_empty() {
                    // Bytes that nobody will read: the sender must not think that they were.
                    self.break_off(id, now_ns);
                    return;
                }
                stream.is_closed = true;
                stream.no_more_reads = true;
                if !stream.no_more_writes {
                    stream.no_more_writes = true;
                    stream.end_outgoing = true;
                }
                self.dispatch(id, now_ns);
                self.forget_if_done(id);
            }
            State::Listening { queue, .. } => {
                let queue = std::mem::take(queue);
                self.sockets.remove(&id);
                for waiting in queue {
                    self.break_off(waiting, now_ns);
                }
            }
            State::Stream(_) | State::Fresh | State::Connecting | State::Datagrams(_) => {
                self.sockets.remove(&id);
            }
        }
    }

    /// Ends a socket and resets its other end.
    pub fn break_off(&mut self, id: SocketId, now_ns: u64) {
        if self.is_unix(id) {
            return self.break_off_unix(id);
        }
        if let Some(Socket { state: State::Stream(stream), .. }) = self.sockets.remove(&id)
            && let Some(other) = stream.other
        {
            self.send_reset(other, now_ns);
        }
    }

    /// The connection breaks for both ends; this one is told by what it does next.
    pub fn reset_both(&mut self, id: SocketId, now_ns: u64) {
        if let Some(Socket { state: State::Stream(Stream { other: Some(other), .. }), .. }) = self.sockets.get(&id) {
            let other = *other;
            self.send_reset(other, now_ns);
        }
        self.arrive_reset(id, Errno::CONNRESET);
    }

    pub(super) fn send_reset(&mut self, to: SocketId, now_ns: u64) {
        let delay = self.random.delay_ns();
        let is_outside = self.sockets.get(&to).is_some_and(|socket| socket.is_outside);
        if is_outside && !self.is_cut {
            self.arrive_reset(to, Errno::CONNRESET);
        } else {
            self.happen(now_ns + delay, Happening::Reset { to, why: Errno::CONNRESET });
        }
    }

    /// A reset is there: nothing more comes or goes.
    pub(super) fn arrive_reset(&mut self, id: SocketId, why: Errno) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let State::Stream(stream) = &mut socket.state else { return };
        if stream.other.is_none() {
            // It broke before.
            return;
        }
        if stream.is_closed {
            self.sockets.remove(&id);
            return;
        }
        // Who was told of the end before learns that writing is over, as Linux has it.
        socket.error = Some(if stream.has_ended { Errno::PIPE } else { why });
        stream.other = None;
        stream.has_ended = true;
        stream.no_more_writes = true;
        stream.end_outgoing = false;
        stream.outgoing.clear();
        self.touched.insert(id);
    }

    /// Whether something came that was not read, ends and errors apart.
    pub fn has_bytes(&self, id: SocketId) -> bool {
        match self.sockets.get(&id) {
            Some(Socket { state: State::Stream(stream), .. }) => !stream.received.is_empty(),
            _ => false,
        }
    }

    /// What `poll(2)` would say.
    pub fn readiness(&self, id: SocketId) -> PollFlags {
        let Some(socket) = self.sockets.get(&id) else { return PollFlags::ERR | PollFlags::HUP };
        let mut events = PollFlags::empty();
        events.set(PollFlags::ERR | PollFlags::IN | PollFlags::OUT, socket.error.is_some());
        match &socket.state {
            State::Fresh => events |= PollFlags::OUT | PollFlags::HUP,
            State::Connecting => {}
            State::Datagrams(datagrams) if self.is_unix(id) => {
                events |= datagrams.readiness() | self.unix_datagram_room(id);
            }
            State::Datagrams(datagrams) => events |= datagrams.readiness() | PollFlags::OUT,
            State::Listening { queue, refuses, .. } => {
                events.set(PollFlags::IN, !queue.is_empty() || *refuses);
                events.set(PollFlags::RDHUP, *refuses);
            }
            State::Stream(stream) => {
                let is_over = stream.has_ended || stream.no_more_reads;
                events |= if is_over { PollFlags::IN | PollFlags::RDHUP } else { PollFlags::empty() };
                events |= if stream.received.is_empty() { PollFlags::empty() } else { PollFlags::IN };
                let is_writable = stream.no_more_writes || self.room(id) > 0;
                events |= if is_writable { PollFlags::OUT } else { PollFlags::empty() };
                events |= if is_over && stream.no_more_writes { PollFlags::HUP } else { PollFlags::empty() };
            }
        }
        events
    }

    /// How much more this end may send now.
    pub(super) fn room(&self, id: SocketId) -> usize {
        let Some(Socket { state: State::Stream(stream), .. }) = self.sockets.get(&id) else { return 0 };
        let unread = match stream.other.and_then(|other| self.sockets.get(&other)) {
            Some(Socket { state: State::Stream(other), .. }) => other.received.len(),
            _ => 0,
        };
        STREAM_BYTES_MAX.saturating_sub(stream.outgoing.len() + unread)
    }

    /// The other end has read: there is room again, and what had to wait at the sender's goes on.
    fn make_room(&mut self, sender: SocketId, now_ns: u64) {
        if let Some(Socket { state: State::Stream(stream), .. }) = self.sockets.get_mut(&sender) {
            stream.progressed_ns = now_ns;
        }
        self.touched.insert(sender);
        self.dispatch(sender, now_ns);
    }
}

//! What travels: SYNs, pieces of streams, resets. Delays and the size of the pieces are the seed's.
//!
//! A wire that is cut loses what travels, and TCP tries again: after 200 ms, then after twice as long each time, two
//! minutes at most. A SYN is sent again after a second, four times more after a second each, and then after twice as
//! long each time. The last has its time too: a connection gives up after 924.6 s, or when its user's time for it is
//! over, a connect after 131 s (before Linux 6.5, whose pauses double from the first on, after 127 s).

use std::net::SocketAddr;

use rustix::io::Errno;

use super::stream::{STREAM_BYTES_MAX, Stream};
use super::{Happening, Network, Socket, SocketId, State};

/// As `net.ipv4.tcp_retries2` is by default, and `net.ipv4.tcp_syn_retries` with `net.ipv4.tcp_syn_linear_timeouts`.
const DELIVERY_RETRIES_MAX: u32 = 15;
const SYN_RETRIES_LINEAR: u32 = 4;
const SYN_RETRIES_MAX: u32 = 6 + SYN_RETRIES_LINEAR;

const FIRST_RETRY_NS: u64 = 200_000_000;
const FIRST_SYN_RETRY_NS: u64 = 1_000_000_000;
const RETRY_NS_MAX: u64 = 120_000_000_000;

impl Network {
    /// When something happens next.
    pub fn next_due(&self) -> Option<u64> {
        self.agenda.first_key_value().map(|(&(due, _), _)| due)
    }

    /// Lets happen what is due.
    pub fn settle(&mut self, now_ns: u64) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now_ns) {
            match entry.remove() {
                Happening::Syn { from, tries } => self.arrive_syn(from, tries, now_ns),
                Happening::Delivery { from, tries } => self.deliver(from, tries, now_ns),
                Happening::Datagram => self.arrive_datagram(),
                Happening::Reset { to, why } => self.arrive_reset(to, why),
                Happening::UserTimeout { of } => self.end_stalled(of, now_ns),
            }
        }
    }

    pub(super) fn happen(&mut self, due_ns: u64, happening: Happening) {
        self.happenings += 1;
        self.agenda.insert((due_ns, self.happenings), happening);
    }

    fn arrive_syn(&mut self, from: SocketId, tries: u32, now_ns: u64) {
        let Some(client) = self.sockets.get(&from) else { return };
        let (Some(local), Some(to)) = (client.local, client.peer) else { return };
        let is_outside = client.is_outside;
        if tries > SYN_RETRIES_MAX {
            return self.refuse(from, Errno::TIMEDOUT);
        }
        let Some(listener) = self.listener(to) else { return self.refuse(from, Errno::CONNREFUSED) };
        let (is_lost, is_full) = match self.sockets.get(&listener) {
            Some(Socket { state: State::Listening { queue, backlog, .. }, is_outside: other, .. }) => {
                // The kernel takes one more than it was told.
                (self.is_cut && is_outside != *other, queue.len() > *backlog)
            }
            _ => (true, true),
        };
        if is_lost || is_full {
            // A full backlog drops SYNs too, and the client tries again.
            let pause = FIRST_SYN_RETRY_NS << tries.saturating_sub(SYN_RETRIES_LINEAR);
            return self.happen(now_ns + pause, Happening::Syn { from, tries: tries + 1 });
        }
        self.establish(from, listener, local, to);
    }

    /// Connects `from` at once, or says why not.
    pub fn connect_now(&mut self, from: SocketId, to: SocketAddr) -> Result<(), Errno> {
        let listener = self.listener(to).ok_or(Errno::CONNREFUSED)?;
        self.name_for(from, to)?;
        let local = self.local(from).ok_or(Errno::ADDRNOTAVAIL)?;
        match self.sockets.get(&listener) {
            Some(Socket { state: State::Listening { queue, backlog, .. }, .. })
                if queue.len() <= *backlog && !self.is_cut => {}
            _ => return Err(Errno::TIMEDOUT),
        }
        self.get(from)?.peer = Some(to);
        self.establish(from, listener, local, to);
        Ok(())
    }

    fn refuse(&mut self, client: SocketId, why: Errno) {
        if let Some(socket) = self.sockets.get_mut(&client) {
            socket.state = State::Fresh;
            socket.error = Some(why);
            self.touched.insert(client);
        }
    }

    fn establish(&mut self, client: SocketId, listener: SocketId, local: SocketAddr, to: SocketAddr) {
        let Some(listening) = self.sockets.get(&listener) else { return };
        let accepted = Socket {
            family: listening.family,
            local: Some(to),
            peer: Some(local),
            name: None,
            peer_name: None,
            is_bound: false,
            reuses_address: listening.reuses_address,
            user_timeout_ns: listening.user_timeout_ns,
            is_outside: listening.is_outside,
            error: None,
            has_news: false,
            state: State::Stream(Stream { other: Some(client), ..Stream::default() }),
        };
        let accepted = self.insert(accepted);
        if let Some(Socket { state: State::Listening { queue, .. }, .. }) = self.sockets.get_mut(&listener) {
            queue.push_back(accepted);
        }
        if let Some(socket) = self.sockets.get_mut(&client) {
            socket.state = State::Stream(Stream { other: Some(accepted), ..Stream::default() });
            socket.has_news = true;
        }
        self.touched.extend([listener, client]);
    }

    /// Sends on its way what is outgoing, unless that is done already.
    pub(super) fn dispatch(&mut self, from: SocketId, now_ns: u64) {
        let Some(Socket { state: State::Stream(stream), .. }) = self.sockets.get_mut(&from) else { return };
        if stream.is_delivering || (stream.outgoing.is_empty() && !stream.end_outgoing) {
            return;
        }
        stream.is_delivering = true;
        let other = stream.other;
        let to_outside = other.and_then(|other| self.sockets.get(&other)).is_some_and(|other| other.is_outside);
        if to_outside && !self.is_cut {
            return self.deliver(from, 0, now_ns);
        }
        let delay = self.random.delay_ns();
        self.happen(now_ns + delay, Happening::Delivery { from, tries: 0 });
    }

    fn deliver(&mut self, from: SocketId, tries: u32, now_ns: u64) {
        let Some(Socket { state: State::Stream(sender), .. }) = self.sockets.get_mut(&from) else { return };
        sender.is_delivering = false;
        let Some(to) = sender.other else { return };
        if tries > DELIVERY_RETRIES_MAX {
            return self.arrive_reset(from, Errno::TIMEDOUT);
        }
        let has_bytes = !sender.outgoing.is_empty();
        if self.is_cut && self.crosses(from, to) {
            return self.retry_delivery(from, tries, now_ns);
        }
        match self.sockets.get(&to) {
            Some(Socket { state: State::Stream(receiver), .. }) if !(receiver.is_closed && has_bytes) => {}
            _ => {
                // Sent to who has closed, or is long gone: that is answered with a reset.
                self.sockets.remove(&to);
                return self.arrive_reset(from, Errno::CONNRESET);
            }
        }
        if self.hand_over(from, to) {
            self.dispatch(from, now_ns);
        }
        self.forget_if_done(from);
    }

    /// Moves a piece of what is outgoing to where it goes; whether something arrived.
    fn hand_over(&mut self, from: SocketId, to: SocketId) -> bool {
        let Some(Socket { state: State::Stream(receiver), is_outside, .. }) = self.sockets.get(&to) else {
            return false;
        };
        let room = STREAM_BYTES_MAX.saturating_sub(receiver.received.len());
        let to_outside = *is_outside;
        let Some(Socket { state: State::Stream(sender), .. }) = self.sockets.get_mut(&from) else { return false };
        let whole = sender.outgoing.len().min(room);
        let piece = if !to_outside && self.random.below(4) == 0 { self.random.up_to(whole) } else { whole };
        let bytes: Vec<u8> = sender.outgoing.drain(..piece).collect();
        let has_ended = sender.outgoing.is_empty() && std::mem::take(&mut sender.end_outgoing);
        if let Some(Socket { state: State::Stream(receiver), .. }) = self.sockets.get_mut(&to) {
            receiver.received.extend(bytes);
            receiver.has_ended |= has_ended;
        }
        let arrived = piece > 0 || has_ended;
        if arrived {
            self.touched.insert(to);
        }
        arrived
    }

    fn retry_delivery(&mut self, from: SocketId, tries: u32, now_ns: u64) {
        if let Some(Socket { state: State::Stream(sender), .. }) = self.sockets.get_mut(&from) {
            sender.is_delivering = true;
        }
        let pause = (FIRST_RETRY_NS << tries).min(RETRY_NS_MAX);
        self.happen(now_ns + pause, Happening::Delivery { from, tries: tries + 1 });
    }

    /// Whether a wire leads from the program to the outside.
    pub(super) fn crosses(&self, from: SocketId, to: SocketId) -> bool {
        let is_outside = |id| self.sockets.get(&id).is_some_and(|socket| socket.is_outside);
        is_outside(from) != is_outside(to)
    }

    /// A closed socket is forgotten when all it had to say is said.
    pub(super) fn forget_if_done(&mut self, id: SocketId) {
        if let Some(Socket { state: State::Stream(stream), .. }) = self.sockets.get(&id)
            && stream.is_closed
            && stream.outgoing.is_empty()
            && !stream.end_outgoing
        {
            self.sockets.remove(&id);
        }
    }
}

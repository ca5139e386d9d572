//! Sockets, and the wires between them.
//!
//! One host has every address. A socket is the program's, or it stands outside and a test moves it by its handle; both
//! speak the same protocol. What travels takes time: a SYN, a piece of a stream, a reset is a [`Happening`] on the
//! network's agenda. What outside sockets are sent arrives at once, so that a test sees all that the program sent.
//!
//! [Unix sockets](unix) know no wires: what is said on them is heard at once.
//!
//! Not modelled: descriptors sent over unix sockets, their packets (SEQPACKET), IPv4 through IPv6 sockets, TIME_WAIT,
//! urgent data.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::AddressFamily;

use super::random::Random;
use crate::op::address::SocketAddress;

mod datagrams;
mod names;
mod stream;
mod unix;
mod unix_datagrams;
mod wire;

use datagrams::{Datagrams, Travelling};
use stream::Stream;
pub(super) use unix::UnixName;

pub(super) type SocketId = u64;

/// The kernel's own limit of connections that wait to be accepted (`net.core.somaxconn`).
const BACKLOG_MAX: usize = 4096;

/// All sockets.
#[derive(Debug)]
pub(super) struct Network {
    sockets: BTreeMap<SocketId, Socket>,
    next: SocketId,
    agenda: BTreeMap<(u64, u64), Happening>,
    /// How many happenings there were: those of the same moment come in their order.
    happenings: u64,
    /// Where the search for a free port goes on.
    port: u16,
    /// Those on their way, in the order in which they arrive.
    datagrams: VecDeque<Travelling>,
    /// When the last of them does.
    datagrams_due_ns: u64,
    /// Nothing passes between the program and the outside.
    is_cut: bool,
    /// Sockets that became readable, writable or broken since somebody asked.
    touched: BTreeSet<SocketId>,
    random: Random,
}

#[derive(Debug)]
struct Socket {
    family: AddressFamily,
    /// The addresses of its two ends, if it speaks IP.
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
    /// The name of a unix socket, and what it knows of its peer's.
    name: Option<UnixName>,
    peer_name: Option<SocketAddress>,
    /// Its address was asked for, and stays its own when a connection breaks.
    is_bound: bool,
    reuses_address: bool,
    /// `TCP_USER_TIMEOUT`, or zero.
    user_timeout_ns: u64,
    is_outside: bool,
    /// What the next call answers, once.
    error: Option<Errno>,
    /// It connected, and nobody was told.
    has_news: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Neither listens nor connects.
    Fresh,
    Listening {
        queue: VecDeque<SocketId>,
        backlog: usize,
        /// A unix socket that was shut down for reading: those who wait in it are accepted, and nobody else comes.
        refuses: bool,
    },
    /// A SYN is out.
    Connecting,
    Stream(Stream),
    Datagrams(Datagrams),
}

/// Something that travels, or a clock that runs.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// A SYN arrives, after so many that were lost; or nobody has answered the last.
    Syn {
        from: SocketId,
        tries: u32,
    },
    /// Bytes or an end arrive, after so many tries that a cut wire swallowed; or nobody has answered the last.
    Delivery {
        from: SocketId,
        tries: u32,
    },
    /// The next datagram arrives.
    Datagram,
    Reset {
        to: SocketId,
        why: Errno,
    },
    /// It may be that a peer has taken nothing for as long as the socket's user says.
    UserTimeout {
        of: SocketId,
    },
}

impl Network {
    pub fn new(mut random: Random) -> Network {
        Network {
            sockets: BTreeMap::new(),
            next: 1,
            agenda: BTreeMap::new(),
            happenings: 0,
            port: 32_768 + u16::try_from(random.below(20_000)).expect("below 20,000"),
            datagrams: VecDeque::new(),
            datagrams_due_ns: 0,
            is_cut: false,
            touched: BTreeSet::new(),
            random,
        }
    }

    /// A socket that is nothing yet.
    pub fn socket(&mut self, family: AddressFamily, is_outside: bool) -> SocketId {
        self.insert(Socket {
            family,
            local: None,
            peer: None,
            name: None,
            peer_name: None,
            is_bound: false,
            reuses_address: false,
            user_timeout_ns: 0,
            is_outside,
            error: None,
            has_news: false,
            state: State::Fresh,
        })
    }

    fn insert(&mut self, socket: Socket) -> SocketId {
        let id = self.next;
        self.next += 1;
        self.sockets.insert(id, socket);
        id
    }

    fn get(&mut self, id: SocketId) -> Result<&mut Socket, Errno> {
        self.sockets.get_mut(&id).ok_or(Errno::IO)
    }

    /// Whether it knows TCP's options, and what it answers otherwise.
    pub fn check_is_tcp(&self, id: SocketId) -> Result<(), Errno> {
        match () {
            () if self.is_unix(id) => Err(Errno::OPNOTSUPP),
            () if self.is_of_datagrams(id) => Err(Errno::NOPROTOOPT),
            () => Ok(()),
        }
    }

    pub fn allow_reuse(&mut self, id: SocketId, reuses: bool) -> Result<(), Errno> {
        self.get(id)?.reuses_address = reuses;
        Ok(())
    }

    pub fn local(&self, id: SocketId) -> Option<SocketAddr> {
        self.sockets.get(&id)?.local
    }

    pub fn peer(&self, id: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.get(&id)?;
        match socket.state {
            State::Stream(Stream { other: Some(_), .. }) | State::Datagrams(_) => socket.peer,
            _ => None,
        }
    }

    /// Who connected, also when that connection is broken already: accept(2) tells all the same.
    pub fn accepted_from(&self, id: SocketId) -> Option<SocketAddress> {
        let socket = self.sockets.get(&id)?;
        socket.peer.map(SocketAddress::from).or(socket.peer_name)
    }

    pub fn listen(&mut self, id: SocketId, backlog: i32) -> Result<(), Errno> {
        if self.is_of_datagrams(id) {
            return Err(Errno::OPNOTSUPP);
        }
        if self.is_unix(id) {
            self.check_named(id)?;
        } else {
            self.claim_for_listening(id)?;
        }
        // A negative backlog is a very large one, as the kernel takes it.
        let wanted = usize::try_from(backlog).unwrap_or(BACKLOG_MAX).min(BACKLOG_MAX);
        match &mut self.get(id)?.state {
            state @ State::Fresh => {
                *state = State::Listening { queue: VecDeque::new(), backlog: wanted, refuses: false };
            }
            State::Listening { backlog, .. } => *backlog = wanted,
            State::Connecting | State::Stream(_) | State::Datagrams(_) => return Err(Errno::INVAL),
        }
        // Who waits for room has perhaps got it.
        self.touched.insert(id);
        Ok(())
    }

    /// An address of its own, for a listener that speaks IP.
    fn claim_for_listening(&mut self, id: SocketId) -> Result<(), Errno> {
        let unnamed = self.unnamed(id);
        let local = match self.local(id) {
            Some(local) => local,
            None => self.bind(id, unnamed).map(|()| self.local(id).unwrap_or(unnamed))?,
        };
        if self.listener(local).is_some_and(|other| other != id) {
            return Err(Errno::ADDRINUSE);
        }
        Ok(())
    }

    /// Starts to connect, or finds that an earlier attempt came about; [`connected`](Network::connected) tells.
    pub fn connect(&mut self, id: SocketId, to: SocketAddr, now_ns: u64) -> Result<(), Errno> {
        if self.is_of_datagrams(id) {
            return self.connect_datagrams(id, to);
        }
        let socket = self.get(id)?;
        match socket.state {
            State::Stream(_) if std::mem::take(&mut socket.has_news) => return Ok(()),
            State::Listening { .. } | State::Stream(_) => return Err(Errno::ISCONN),
            State::Fresh | State::Connecting | State::Datagrams(_) => {}
        }
        // How an earlier attempt ended, if nobody was told.
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if matches!(socket.state, State::Connecting) {
            return Err(Errno::ALREADY);
        }
        let to = reachable(to);
        self.name_for(id, to)?;
        let socket = self.get(id)?;
        socket.peer = Some(to);
        socket.state = State::Connecting;
        let delay = self.random.delay_ns();
        self.happen(now_ns + delay, Happening::Syn { from: id, tries: 0 });
        Ok(())
    }

    /// Whether a connect has come about: EAGAIN while it has not.
    pub fn connected(&mut self, id: SocketId) -> Result<(), Errno> {
        let socket = self.get(id)?;
        if socket.is_of_datagrams() {
            // What it knows of is about what was sent.
            return Ok(());
        }
        match (&socket.state, socket.error.take()) {
            (_, Some(error)) => Err(error),
            (State::Stream(_), None) => {
                socket.has_news = false;
                Ok(())
            }
            (State::Connecting, None) => Err(Errno::AGAIN),
            (State::Fresh | State::Listening { .. } | State::Datagrams(_), None) => Err(Errno::CONNABORTED),
        }
    }

    /// Takes a connection that waits: EAGAIN if none does.
    pub fn accept(&mut self, id: SocketId) -> Result<SocketId, Errno> {
        let accepted = match &mut self.get(id)?.state {
            State::Listening { queue, refuses, .. } => {
                queue.pop_front().ok_or(if *refuses { Errno::INVAL } else { Errno::AGAIN })?
            }
            State::Datagrams(_) => return Err(Errno::OPNOTSUPP),
            _ => return Err(Errno::INVAL),
        };
        // There is room for somebody else.
        self.touched.insert(id);
        Ok(accepted)
    }

    /// Whether a connection waits to be accepted.
    pub fn has_waiting(&self, id: SocketId) -> bool {
        match self.sockets.get(&id) {
            Some(Socket { state: State::Listening { queue, .. }, .. }) => !queue.is_empty(),
            _ => false,
        }
    }

    /// Whether there is a connection that could break by itself.
    pub fn is_connected(&self, id: SocketId) -> bool {
        match self.sockets.get(&id) {
            Some(Socket { state: State::Stream(stream), .. }) => stream.other.is_some(),
            _ => false,
        }
    }

    /// Keeps an error for the next call.
    pub fn tell_later(&mut self, id: SocketId, error: Errno) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.error = Some(error);
        }
    }

    /// Takes a connection that waits, and breaks it.
    pub fn abort_accepted(&mut self, id: SocketId, now_ns: u64) {
        if let Ok(accepted) = self.accept(id) {
            self.break_off(accepted, now_ns);
        }
    }

    /// Cuts the wires between the program and the outside, or mends them; see [`wire`].
    pub fn set_cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    /// The sockets that became readable, writable or broken since the last time.
    pub fn take_touched(&mut self) -> BTreeSet<SocketId> {
        std::mem::take(&mut self.touched)
    }

    /// Has those who watch this socket look again.
    pub fn touch(&mut self, socket: SocketId) {
        self.touched.insert(socket);
    }

    /// All sockets of the program are gone, as after a power cut. The outside learns of it at once, as of all that the
    /// program does.
    pub fn power_cut(&mut self, now_ns: u64) {
        let ours: Vec<SocketId> =
            self.sockets.iter().filter(|(_, socket)| !socket.is_outside).map(|(&id, _)| id).collect();
        self.lose_datagrams(&ours);
        for id in ours {
            if let Some(Socket { state: State::Stream(stream), .. }) = self.sockets.remove(&id)
                && let Some(other) = stream.other
            {
                self.send_reset(other, now_ns);
            }
        }
    }
}

/// To connect to no address in particular is to connect to oneself.
fn reachable(to: SocketAddr) -> SocketAddr {
    match to.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => (Ipv4Addr::LOCALHOST, to.port()).into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => (Ipv6Addr::LOCALHOST, to.port()).into(),
        _ => to,
    }
}

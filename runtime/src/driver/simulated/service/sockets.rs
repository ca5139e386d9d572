//! Requests about sockets.

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketType, ipproto};

use super::super::descriptors::{Object, Waitable};
use super::super::faults::places::Kind;
use super::super::network::{Network, SocketId, UnixName};
use super::super::world::Kernel;
use super::{Attempt, Given, Served};
use crate::fd::FdRef;
use crate::op::address::{self, SocketAddress};
use crate::op::socket::{SocketOption, SocketRequest, millis};

impl Kernel {
    pub(super) fn serve_socket(&mut self, request: &mut SocketRequest<'_>, attempt: &mut Attempt) -> Served {
        match request {
            SocketRequest::Socket { family, kind, protocol } => {
                if let Err(error) = check_kind(*family, *kind, *protocol) {
                    return error.into();
                }
                if *kind == SocketType::SEQPACKET {
                    self.unsupported.insert(format!("{request:?}"));
                    return Errno::OPNOTSUPP.into();
                }
                let socket = if *kind == SocketType::DGRAM {
                    self.network.datagram_socket(*family, false)
                } else {
                    self.network.socket(*family, false)
                };
                Served::Done(self.descriptors.add(Object::Socket(socket)).map(Given::Fd))
            }
            SocketRequest::Pair { kind } => match *kind {
                SocketType::STREAM => self.pair_of_sockets(Network::unix_pair),
                SocketType::DGRAM => self.pair_of_sockets(Network::unix_datagram_pair),
                SocketType::SEQPACKET => {
                    self.unsupported.insert(format!("{request:?}"));
                    Errno::OPNOTSUPP.into()
                }
                _ => Errno::SOCKTNOSUPPORT.into(),
            },
            SocketRequest::Accept { fd, peer } => self.accept(*fd, peer.as_deref_mut(), attempt),
            SocketRequest::Bind { fd, .. }
            | SocketRequest::Listen { fd, .. }
            | SocketRequest::Connect { fd, .. }
            | SocketRequest::Recv { fd, .. }
            | SocketRequest::Send { fd, .. }
            | SocketRequest::Shutdown { fd, .. }
            | SocketRequest::Name { fd, .. }
            | SocketRequest::SetOption { fd, .. } => match self.descriptors.socket(*fd) {
                Ok(socket) => self.serve_open_socket(socket, request, attempt),
                Err(error) => error.into(),
            },
        }
    }

    fn serve_open_socket(
        &mut self,
        socket: SocketId,
        request: &mut SocketRequest<'_>,
        attempt: &mut Attempt,
    ) -> Served {
        let now_ns = self.now_ns();
        match request {
            SocketRequest::Bind { address, .. } => Served::nothing(self.bind(socket, address)),
            SocketRequest::Listen { backlog, .. } => Served::nothing(self.network.listen(socket, *backlog)),
            SocketRequest::Connect { address, .. } => self.connect(socket, address, attempt),
            SocketRequest::Recv { buf, flags, poll_first, .. } => {
                match self.before_receiving(socket, *flags, *poll_first, attempt) {
                    Some(served) => served,
                    None => self.recv(socket, buf, *flags, attempt),
                }
            }
            SocketRequest::Send { buf, flags, whole, .. } => self.send(socket, buf, *flags, *whole, attempt),
            SocketRequest::Shutdown { how, .. } => Served::nothing(self.network.shutdown(socket, *how, now_ns)),
            SocketRequest::Name { end, address, .. } => {
                Served::nothing(self.network.name(socket, *end).map(|name| **address = name))
            }
            SocketRequest::SetOption { option: SocketOption::NoDelay(_), .. } => {
                Served::nothing(self.network.check_is_tcp(socket))
            }
            SocketRequest::SetOption { option: SocketOption::UserTimeout(timeout), .. } => {
                let timeout_ns = u64::from(millis(*timeout)) * 1_000_000;
                let checked = self.network.check_is_tcp(socket);
                Served::nothing(checked.and_then(|()| self.network.set_user_timeout(socket, timeout_ns, now_ns)))
            }
            SocketRequest::SetOption { option: SocketOption::ReuseAddress(reuses), .. } => {
                Served::nothing(self.network.allow_reuse(socket, *reuses))
            }
            SocketRequest::Socket { .. } | SocketRequest::Pair { .. } | SocketRequest::Accept { .. } => {
                unreachable!("served before")
            }
        }
    }

    /// Two descriptors, or none.
    fn pair_of_sockets(&mut self, make: fn(&mut Network) -> (SocketId, SocketId)) -> Served {
        let (one, other) = make(&mut self.network);
        let added = self.descriptors.add_two(Object::Socket(one), Object::Socket(other));
        if added.is_err() {
            [one, other].into_iter().for_each(|id| self.network.close(id, 0));
        }
        Served::Done(added.map(|(one, other)| Given::Pair(one, other)))
    }

    pub fn bind(&mut self, socket: SocketId, address: &SocketAddress) -> Result<(), Errno> {
        if !self.network.is_unix(socket) {
            let address = self.network.suitable(socket, address)?;
            return self.network.bind(socket, address);
        }
        let name = match address.unix_name().ok_or(Errno::INVAL)? {
            address::UnixName::Unnamed => return self.network.bind_unix_anywhere(socket),
            address::UnixName::Abstract(name) => UnixName::Abstract(name.to_vec()),
            address::UnixName::Path(path) => {
                let inode = self.files.make_socket(path, self.now_ns())?;
                UnixName::File { path: path.to_vec(), inode }
            }
        };
        let bound = self.network.bind_unix(socket, name);
        if let (Err(_), address::UnixName::Path(path)) = (bound, address.unix_name().ok_or(Errno::INVAL)?) {
            self.files.unmake_socket(path);
        }
        bound
    }

    /// Who is bound to the name of a unix socket.
    pub fn unix_at(&self, address: &SocketAddress, is_of_datagrams: bool) -> Result<SocketId, Errno> {
        let name = match address.unix_name() {
            None | Some(address::UnixName::Unnamed) => return Err(Errno::INVAL),
            Some(address::UnixName::Abstract(name)) => UnixName::Abstract(name.to_vec()),
            Some(address::UnixName::Path(path)) => {
                UnixName::File { path: Vec::new(), inode: self.files.find_socket(path)? }
            }
        };
        self.network.unix_at(&name, is_of_datagrams).ok_or(Errno::CONNREFUSED)
    }

    fn connect_unix(&mut self, socket: SocketId, address: &SocketAddress, attempt: &Attempt) -> Served {
        let is_of_datagrams = self.network.is_of_datagrams(socket);
        let listener = match self.unix_at(address, is_of_datagrams) {
            Ok(listener) => listener,
            Err(error) => return error.into(),
        };
        if is_of_datagrams {
            return Served::nothing(self.network.connect_unix_datagrams(socket, listener));
        }
        match self.network.connect_unix(socket, listener) {
            Err(Errno::AGAIN) if attempt.may_wait => Served::Waits(Waitable::Socket(listener)),
            connected => Served::nothing(connected),
        }
    }

    fn connect(&mut self, socket: SocketId, address: &SocketAddress, attempt: &mut Attempt) -> Served {
        if self.network.is_unix(socket) {
            return self.connect_unix(socket, address, attempt);
        }
        let address = match self.network.suitable(socket, address) {
            Ok(address) => address,
            Err(error) => return error.into(),
        };
        if attempt.progress == 0
            && let Err(error) = self.network.connect(socket, address, self.now_ns())
        {
            return error.into();
        }
        match self.network.connected(socket) {
            Err(Errno::AGAIN) if attempt.may_wait => {
                attempt.progress = 1;
                Served::Waits(Waitable::Socket(socket))
            }
            Err(Errno::AGAIN) => Errno::INPROGRESS.into(),
            outcome => Served::nothing(outcome),
        }
    }

    fn accept(&mut self, fd: FdRef<'_>, peer: Option<&mut SocketAddress>, attempt: &Attempt) -> Served {
        let listener = match self.descriptors.socket(fd) {
            Ok(listener) => listener,
            Err(error) => return error.into(),
        };
        // The number is taken first, as the kernel does, so that a connection is not taken in vain.
        let number = match self.descriptors.add(Object::Dead) {
            Ok(number) => number,
            Err(error) => return error.into(),
        };
        match self.network.accept(listener) {
            Ok(accepted) => {
                self.descriptors.replace(number, Object::Socket(accepted));
                if let (Some(room), Some(name)) = (peer, self.network.accepted_from(accepted)) {
                    *room = name;
                }
                Served::Done(Ok(Given::Fd(number)))
            }
            Err(error) => {
                self.descriptors.remove(number);
                if error == Errno::AGAIN && attempt.may_wait {
                    Served::Waits(Waitable::Socket(listener))
                } else {
                    error.into()
                }
            }
        }
    }

    /// What answers a receive, or has it wait, whatever is there.
    pub(super) fn before_receiving(
        &self,
        socket: SocketId,
        flags: RecvFlags,
        poll_first: bool,
        attempt: &Attempt,
    ) -> Option<Served> {
        let must_wait = poll_first && attempt.may_wait && !flags.contains(RecvFlags::DONTWAIT);
        if must_wait && !self.network.has_input(socket) {
            return Some(Served::Waits(Waitable::Socket(socket)));
        }
        let refused = if flags.contains(RecvFlags::OOB) { self.network.refuses_urgent(socket) } else { None };
        refused.map(Served::from)
    }

    pub(super) fn recv(&mut self, socket: SocketId, buf: &mut [u8], flags: RecvFlags, attempt: &mut Attempt) -> Served {
        let may_wait = attempt.may_wait && !flags.contains(RecvFlags::DONTWAIT);
        let is_whole = self.network.is_of_datagrams(socket);
        let wants_all = flags.contains(RecvFlags::WAITALL) && may_wait && !flags.contains(RecvFlags::PEEK) && !is_whole;
        let len = if wants_all || is_whole { buf.len() } else { self.shortened(Kind::Recv, buf.len()) };
        if len < buf.len() {
            // As if the rest came a moment later, of which an edge tells.
            self.network.touch(socket);
        }
        loop {
            let received = self.network.receive(socket, &mut buf[attempt.progress..len], flags, self.now_ns());
            match received {
                Ok(count) if wants_all && count > 0 && attempt.progress + count < len => attempt.progress += count,
                Err(Errno::AGAIN) if may_wait => return Served::Waits(Waitable::Socket(socket)),
                other => return self.transferred(socket, other, attempt),
            }
        }
    }

    pub(super) fn send(
        &mut self,
        socket: SocketId,
        buf: &[u8],
        flags: SendFlags,
        whole: bool,
        attempt: &mut Attempt,
    ) -> Served {
        let may_wait = attempt.may_wait && !flags.contains(SendFlags::DONTWAIT);
        let is_whole = self.network.is_of_datagrams(socket);
        let wants_all = whole && may_wait && !is_whole;
        let len = if wants_all || is_whole { buf.len() } else { self.shortened(Kind::Send, buf.len()) };
        loop {
            let sent = self.network.send(socket, &buf[attempt.progress..len], self.now_ns());
            match sent {
                Ok(count) if wants_all && attempt.progress + count < len => attempt.progress += count,
                Err(Errno::AGAIN) if may_wait => return Served::Waits(Waitable::Socket(socket)),
                other => return self.transferred(socket, other, attempt),
            }
        }
    }

    /// Counts what went before; an error after that is for the next call to tell.
    fn transferred(&mut self, socket: SocketId, last: Result<usize, Errno>, attempt: &Attempt) -> Served {
        match last {
            Ok(count) => Served::count(Ok(attempt.progress + count)),
            Err(error) if attempt.progress == 0 => error.into(),
            Err(error) => {
                self.network.tell_later(socket, error);
                Served::count(Ok(attempt.progress))
            }
        }
    }
}

/// What socket(2) refuses: a family, a type or a protocol that there is not, or that do not go together.
fn check_kind(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> Result<(), Errno> {
    let is_ip = [AddressFamily::INET, AddressFamily::INET6].contains(&family);
    let is_usual = match (kind, protocol) {
        (_, None) => true,
        (SocketType::STREAM, Some(protocol)) => is_ip && protocol == ipproto::TCP,
        (SocketType::DGRAM, Some(protocol)) => is_ip && protocol == ipproto::UDP,
        // Of two faults this one is found later.
        _ => is_ip,
    };
    match () {
        () if !is_ip && family != AddressFamily::UNIX => Err(Errno::AFNOSUPPORT),
        () if !is_usual => Err(Errno::PROTONOSUPPORT),
        () if family == AddressFamily::UNIX && kind == SocketType::SEQPACKET => Ok(()),
        () if ![SocketType::STREAM, SocketType::DGRAM].contains(&kind) => Err(Errno::SOCKTNOSUPPORT),
        () => Ok(()),
    }
}

//! Where each fault can strike: the matrix of ops by faults, with a reason for every empty cell.

use super::Fault;
use crate::op::Request;
use crate::op::datagram::DatagramRequest;
use crate::op::file::FileRequest;
use crate::op::path::PathRequest;
use crate::op::ready::ReadyRequest;
use crate::op::socket::SocketRequest;

/// What a request asks for, without its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::driver::simulated) enum Kind {
    Nop,
    Read,
    ReadDirect,
    Write,
    WriteDirect,
    Truncate,
    Fsync,
    Seek,
    Pipe,
    Close,
    Open,
    Statx,
    Socket,
    SocketPair,
    Bind,
    Listen,
    Connect,
    Accept,
    AcceptMany,
    Recv,
    Send,
    SendTo,
    RecvFrom,
    Shutdown,
    Name,
    SetOption,
    Poll,
    PollMany,
}

impl Kind {
    pub const ALL: [Kind; 28] = [
        Kind::Nop,
        Kind::Read,
        Kind::ReadDirect,
        Kind::Write,
        Kind::WriteDirect,
        Kind::Truncate,
        Kind::Fsync,
        Kind::Seek,
        Kind::Pipe,
        Kind::Close,
        Kind::Open,
        Kind::Statx,
        Kind::Socket,
        Kind::SocketPair,
        Kind::Bind,
        Kind::Listen,
        Kind::Connect,
        Kind::Accept,
        Kind::AcceptMany,
        Kind::Recv,
        Kind::Send,
        Kind::SendTo,
        Kind::RecvFrom,
        Kind::Shutdown,
        Kind::Name,
        Kind::SetOption,
        Kind::Poll,
        Kind::PollMany,
    ];

    /// As programs and tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nop => "nop",
            Kind::Read => "read",
            Kind::ReadDirect => "read, direct",
            Kind::Write => "write",
            Kind::WriteDirect => "write, direct",
            Kind::Truncate => "truncate",
            Kind::Fsync => "fsync",
            Kind::Seek => "seek",
            Kind::Pipe => "pipe",
            Kind::Close => "close",
            Kind::Open => "open",
            Kind::Statx => "statx",
            Kind::Socket => "socket",
            Kind::SocketPair => "socketpair",
            Kind::Bind => "bind",
            Kind::Listen => "listen",
            Kind::Connect => "connect",
            Kind::Accept => "accept",
            Kind::AcceptMany => "accept, many",
            Kind::Recv => "recv",
            Kind::Send => "send",
            Kind::SendTo => "send to",
            Kind::RecvFrom => "recv from",
            Kind::Shutdown => "shutdown",
            Kind::Name => "name",
            Kind::SetOption => "set option",
            Kind::Poll => "poll",
            Kind::PollMany => "poll, many",
        }
    }

    pub fn of(request: &Request<'_>) -> Kind {
        match request {
            Request::Nop => Kind::Nop,
            Request::File(FileRequest::Read { .. }) => Kind::Read,
            Request::File(FileRequest::Write { .. }) => Kind::Write,
            Request::File(FileRequest::Truncate { .. }) => Kind::Truncate,
            Request::File(FileRequest::Fsync { .. }) => Kind::Fsync,
            Request::File(FileRequest::Seek { .. }) => Kind::Seek,
            Request::File(FileRequest::Pipe) => Kind::Pipe,
            Request::File(FileRequest::Close { .. }) => Kind::Close,
            Request::Path(PathRequest::Open { .. }) => Kind::Open,
            Request::Path(PathRequest::Statx { .. }) => Kind::Statx,
            Request::Socket(SocketRequest::Socket { .. }) => Kind::Socket,
            Request::Socket(SocketRequest::Pair { .. }) => Kind::SocketPair,
            Request::Socket(SocketRequest::Bind { .. }) => Kind::Bind,
            Request::Socket(SocketRequest::Listen { .. }) => Kind::Listen,
            Request::Socket(SocketRequest::Connect { .. }) => Kind::Connect,
            Request::Socket(SocketRequest::Accept { peer: Some(_), .. }) => Kind::Accept,
            Request::Socket(SocketRequest::Accept { peer: None, .. }) => Kind::AcceptMany,
            Request::Socket(SocketRequest::Recv { .. }) => Kind::Recv,
            Request::Socket(SocketRequest::Send { .. }) => Kind::Send,
            Request::Socket(SocketRequest::Shutdown { .. }) => Kind::Shutdown,
            Request::Socket(SocketRequest::Name { .. }) => Kind::Name,
            Request::Socket(SocketRequest::SetOption { .. }) => Kind::SetOption,
            Request::Datagram(DatagramRequest::SendTo { .. }) => Kind::SendTo,
            Request::Datagram(DatagramRequest::RecvFrom { .. }) => Kind::RecvFrom,
            Request::Ready(ReadyRequest::Poll { many: false, .. }) => Kind::Poll,
            Request::Ready(ReadyRequest::Poll { many: true, .. }) => Kind::PollMany,
        }
    }

    /// What it is if its file is open for direct I/O: no cache stands between it and the disk.
    pub fn direct(self) -> Kind {
        match self {
            Kind::Read => Kind::ReadDirect,
            Kind::Write => Kind::WriteDirect,
            other => other,
        }
    }

    pub fn is_direct(self) -> bool {
        matches!(self, Kind::ReadDirect | Kind::WriteDirect)
    }

    /// The same through a cache, if there is one.
    fn cached(self) -> Kind {
        match self {
            Kind::ReadDirect => Kind::Read,
            Kind::WriteDirect => Kind::Write,
            other => other,
        }
    }

    /// Whether one request of this kind has many replies.
    pub fn is_many(self) -> bool {
        matches!(self, Kind::AcceptMany | Kind::PollMany)
    }

    /// Whether no ring op does it: it is always a plain call.
    fn is_call(self) -> bool {
        matches!(
            self,
            Kind::Seek
                | Kind::Pipe
                | Kind::Socket
                | Kind::SocketPair
                | Kind::Bind
                | Kind::Listen
                | Kind::Shutdown
                | Kind::Name
                | Kind::SetOption
        )
    }
}

/// Whether `fault` can strike an op of this kind, or why it cannot.
pub(in crate::driver::simulated) fn place(kind: Kind, fault: Fault) -> Result<(), &'static str> {
    // What strikes direct I/O strikes other I/O.
    let kind = kind.cached();
    let only = |kinds: &[Kind], reason| if kinds.contains(&kind) { Ok(()) } else { Err(reason) };
    match fault {
        Fault::Delay | Fault::Reorder | Fault::LateCancel | Fault::Overflow | Fault::QueueFull => {
            if kind.is_call() {
                Err("a plain call, answered at once")
            } else {
                Ok(())
            }
        }
        Fault::Short => {
            only(&[Kind::Read, Kind::Write, Kind::Recv, Kind::Send], "transfers no bytes, or all of a datagram")
        }
        Fault::Interrupted => only(
            &[
                Kind::Read,
                Kind::Write,
                Kind::Truncate,
                Kind::Fsync,
                Kind::Open,
                Kind::Accept,
                Kind::Recv,
                Kind::Send,
                Kind::RecvFrom,
            ],
            "the kernel finishes or restarts it by itself",
        ),
        Fault::WouldBlock => only(
            &[Kind::Read, Kind::Write, Kind::Recv, Kind::Send, Kind::SendTo, Kind::RecvFrom],
            "nothing asks it not to wait",
        ),
        Fault::Canceled => only(
            &[Kind::Read, Kind::Write, Kind::Truncate, Kind::Fsync, Kind::Open, Kind::Statx],
            "runs on no kernel worker, whose end would cancel it",
        ),
        Fault::NoBuffers => only(&[Kind::Send, Kind::SendTo], "takes no memory of the network's"),
        Fault::DescriptorsFull => {
            let kinds = [Kind::Open, Kind::Pipe, Kind::Socket, Kind::SocketPair, Kind::Accept, Kind::AcceptMany];
            only(&kinds, "makes no descriptor")
        }
        Fault::NoMemory => match kind {
            Kind::Nop | Kind::Seek | Kind::Close | Kind::Shutdown | Kind::Name | Kind::SetOption => {
                Err("takes no memory")
            }
            _ => Ok(()),
        },
        Fault::NoSpace => only(&[Kind::Write, Kind::Truncate, Kind::Fsync, Kind::Open], "puts nothing on a disk"),
        Fault::IoError => only(
            &[Kind::Read, Kind::Write, Kind::Truncate, Kind::Fsync, Kind::Open, Kind::Statx, Kind::Close],
            "asks no disk",
        ),
        Fault::Reset => {
            only(&[Kind::Recv, Kind::Send, Kind::Accept, Kind::AcceptMany], "transfers nothing on a connection")
        }
        Fault::EndsEarly => only(&[Kind::AcceptMany, Kind::PollMany], "has one reply"),
        Fault::Missing => only(&[Kind::Read, Kind::Truncate], "is in every kernel that the ring runs on"),
        Fault::PowerCut => Ok(()),
    }
}

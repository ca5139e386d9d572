//! What the simulated kernel does for each request. The matches are exhaustive: a new op is named here by the compiler.
//!
//! Memory of an op is touched here and nowhere else, and that is when its answer is given, never before: as late as a
//! kernel may.

use std::io::SeekFrom;

use rustix::event::PollFlags;
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{RecvFlags, SendFlags};

use super::descriptors::{Object, Waitable};
use super::faults::Fault;
use super::faults::places::Kind;
use super::files::{InodeNumber, describe};
use super::world::Kernel;
use crate::fd::FdRef;
use crate::op::datagram::DatagramRequest;
use crate::op::file::{FileRequest, Position};
use crate::op::path::{OpenHow, PathRequest};
use crate::op::ready::{Interest, ReadyRequest};
use crate::op::socket::SocketRequest;
use crate::op::{OFFSET_MAX, Request};

mod datagrams;
mod pipes;
mod sockets;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Served {
    /// It is answered.
    Done(Result<Given, Errno>),
    /// It waits for this.
    Waits(Waitable),
}

/// A good answer.
#[derive(Debug)]
pub(super) enum Given {
    Count(usize),
    /// A new descriptor, which belongs to whoever gets this.
    Fd(u32),
    /// Two of them.
    Pair(u32, u32),
}

/// How a request is served, and how far it got.
#[derive(Debug)]
pub(super) struct Attempt {
    /// It may wait until it can be done; otherwise EAGAIN.
    pub may_wait: bool,
    /// Bytes that were transferred already, for one that wants all of them; 1 for a connect that has begun.
    pub progress: usize,
    /// A thread does it, whose call no signal interrupts and no end of a kernel worker cancels.
    pub by_thread: bool,
}

impl From<Errno> for Served {
    fn from(error: Errno) -> Served {
        Served::Done(Err(error))
    }
}

impl Served {
    fn count(counted: Result<usize, Errno>) -> Served {
        Served::Done(counted.map(Given::Count))
    }

    fn nothing(done: Result<(), Errno>) -> Served {
        Served::count(done.map(|()| 0))
    }
}

impl Kernel {
    /// Does what is asked, if it can be done now.
    pub fn serve(&mut self, request: &mut Request<'_>, attempt: &mut Attempt) -> Served {
        self.ledger.step();
        let kind = self.kind(request);
        if self.ledger.strikes(Fault::PowerCut, kind) {
            self.power_cut();
        }
        if let Some(error) = self.failure(request, kind, attempt) {
            return error.into();
        }
        match request {
            Request::Nop => Served::count(Ok(0)),
            Request::File(request) => self.serve_file(request, kind, attempt),
            Request::Path(request) => self.serve_path(request),
            Request::Socket(request) => self.serve_socket(request, attempt),
            Request::Datagram(request) => self.serve_datagram(request, attempt),
            Request::Ready(ReadyRequest::Poll { fd, interest, .. }) => self.poll(*fd, *interest),
        }
    }

    /// What kind of request it is, which its descriptor may have a say in.
    pub fn kind(&mut self, request: &Request<'_>) -> Kind {
        let kind = Kind::of(request);
        let Request::File(FileRequest::Read { fd, .. } | FileRequest::Write { fd, .. }) = request else { return kind };
        match self.descriptors.get(*fd) {
            Ok(Object::File(file)) if file.is_direct() => kind.direct(),
            _ => kind,
        }
    }

    fn serve_file(&mut self, request: &mut FileRequest<'_>, kind: Kind, attempt: &mut Attempt) -> Served {
        match request {
            FileRequest::Read { fd, buf, position, flags } => match self.descriptors.get(*fd) {
                Ok(Object::File(_)) => {
                    let position = self.position(*fd, *position, kind, attempt);
                    Served::count(self.read_file(*fd, buf, position, kind))
                }
                Ok(Object::Pipe(pipe, end)) if *position == Position::Cursor => {
                    let pipe = (*pipe, *end);
                    self.read_pipe(pipe, buf, *flags, attempt)
                }
                Ok(Object::Socket(_) | Object::Pipe(..)) if *position != Position::Cursor => Errno::SPIPE.into(),
                Ok(Object::Socket(socket)) => {
                    let socket = *socket;
                    let flags =
                        if flags.contains(ReadWriteFlags::NOWAIT) { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
                    self.recv(socket, buf, flags, attempt)
                }
                Ok(Object::Pipe(..) | Object::Dead) => Errno::IO.into(),
                Err(error) => error.into(),
            },
            FileRequest::Write { fd, buf, position, flags } => match self.descriptors.get(*fd) {
                Ok(Object::File(_)) => {
                    let position = self.position(*fd, *position, kind, attempt);
                    Served::count(self.write_file(*fd, buf, position, *flags, kind))
                }
                Ok(Object::Pipe(pipe, end)) if *position == Position::Cursor => {
                    let pipe = (*pipe, *end);
                    self.write_pipe(pipe, buf, *flags, attempt)
                }
                Ok(Object::Socket(_) | Object::Pipe(..)) if *position != Position::Cursor => Errno::SPIPE.into(),
                Ok(Object::Socket(socket)) => {
                    let socket = *socket;
                    let flags =
                        if flags.contains(ReadWriteFlags::NOWAIT) { SendFlags::DONTWAIT } else { SendFlags::empty() };
                    self.send(socket, buf, flags, false, attempt)
                }
                Ok(Object::Pipe(..) | Object::Dead) => Errno::IO.into(),
                Err(error) => error.into(),
            },
            FileRequest::Truncate { fd, len } => Served::nothing(self.truncate_file(*fd, *len)),
            FileRequest::Fsync { fd, .. } => Served::nothing(match self.descriptors.opened(*fd) {
                Ok(Object::File(file)) => self.files.sync(file.inode()),
                Ok(Object::Socket(_) | Object::Pipe(..) | Object::Dead) => Err(Errno::INVAL),
                Err(error) => Err(error),
            }),
            FileRequest::Seek { fd, to, out } => Served::nothing(self.seek(*fd, *to).map(|place| **out = place)),
            FileRequest::Pipe => self.make_pipe(),
            FileRequest::Close { fd } => match fd.take() {
                Some(fd) => {
                    self.discarded.push(fd);
                    Served::count(Ok(0))
                }
                None => Errno::BADF.into(),
            },
        }
    }

    /// Where it goes. Direct I/O at the cursor that a disk answers late leaves the cursor where it was.
    fn position(&mut self, fd: FdRef<'_>, asked: Position, kind: Kind, attempt: &Attempt) -> Position {
        match self.descriptors.get(fd) {
            Ok(Object::File(file))
                if asked == Position::Cursor && kind.is_direct() && attempt.may_wait && self.schedule.coin() =>
            {
                Position::At(file.cursor())
            }
            _ => asked,
        }
    }

    fn read_file(&mut self, fd: FdRef<'_>, buf: &mut [u8], position: Position, kind: Kind) -> Result<usize, Errno> {
        let len = self.shortened(kind, buf.len());
        let Object::File(file) = self.descriptors.get(fd)? else { return Err(Errno::BADF) };
        let offset = match position {
            Position::At(offset) => offset,
            Position::Cursor => file.cursor(),
        };
        // Behind the end is the end, wherever that is.
        let is_over = self.files.len(file.inode()).is_ok_and(|end| end <= offset);
        let len = if is_over { len } else { file.whole_sectors(offset, buf.len(), len)? };
        let count = self.files.read(file, offset, &mut buf[..len])?;
        if position == Position::Cursor {
            file.move_cursor(offset + u64::try_from(count).expect("usize has 64 bits at most"));
        }
        Ok(count)
    }

    fn write_file(
        &mut self,
        fd: FdRef<'_>,
        buf: &[u8],
        position: Position,
        flags: ReadWriteFlags,
        kind: Kind,
    ) -> Result<usize, Errno> {
        let len = self.shortened(kind, buf.len());
        let now_ns = self.now_ns();
        let Object::File(file) = self.descriptors.get(fd)? else { return Err(Errno::BADF) };
        let offset = match position {
            Position::At(offset) => offset,
            Position::Cursor => file.cursor(),
        };
        let len = file.whole_sectors(self.files.place(file, offset)?, buf.len(), len)?;
        let (count, end) = self.files.write(file, offset, &buf[..len], now_ns)?;
        let is_synced = file.is_synced() || flags.intersects(ReadWriteFlags::SYNC | ReadWriteFlags::DSYNC);
        if is_synced && count > 0 {
            self.files.sync_written(file.inode());
        }
        if position == Position::Cursor {
            file.move_cursor(end);
        }
        Ok(count)
    }

    fn truncate_file(&mut self, fd: FdRef<'_>, len: u64) -> Result<(), Errno> {
        let now_ns = self.now_ns();
        // As ftruncate(2) says of what is no file, or not open to write.
        let Object::File(file) = self.descriptors.opened(fd)? else { return Err(Errno::INVAL) };
        self.files.truncate(file, len, now_ns)
    }

    fn seek(&mut self, fd: FdRef<'_>, to: SeekFrom) -> Result<u64, Errno> {
        let Object::File(file) = self.descriptors.opened(fd)? else { return Err(Errno::SPIPE) };
        let place = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => file.cursor().checked_add_signed(offset),
            SeekFrom::End(offset) => self.files.len(file.inode())?.checked_add_signed(offset),
        };
        let place = place.filter(|&place| place <= OFFSET_MAX).ok_or(Errno::INVAL)?;
        file.move_cursor(place);
        Ok(place)
    }

    fn serve_path(&mut self, request: &mut PathRequest<'_>) -> Served {
        match request {
            PathRequest::Open { dir, path, how } => Served::Done(self.open(*dir, path.to_bytes(), how).map(Given::Fd)),
            PathRequest::Statx { dir, path, flags, out, .. } => {
                let told = match self.descriptors.get(*dir) {
                    Ok(Object::Socket(socket)) if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) => {
                        Ok(describe(FileType::Socket, 0o777, *socket))
                    }
                    Ok(Object::Pipe(pipe, _)) if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) => {
                        Ok(describe(FileType::Fifo, 0o600, *pipe))
                    }
                    _ if path.is_empty() && flags.contains(AtFlags::EMPTY_PATH) => {
                        self.inode_of(*dir).and_then(|base| self.files.stat(base, b"", *flags))
                    }
                    _ => {
                        self.base(*dir, path.to_bytes()).and_then(|base| self.files.stat(base, path.to_bytes(), *flags))
                    }
                };
                Served::nothing(told.map(|told| **out = told))
            }
        }
    }

    fn open(&mut self, dir: FdRef<'_>, path: &[u8], how: &OpenHow) -> Result<u32, Errno> {
        let now_ns = self.now_ns();
        // The number is taken first, as the kernel does, so that no file is made or cut in vain.
        let number = self.descriptors.add(Object::Dead)?;
        match self.base(dir, path).and_then(|base| self.files.open(base, path, how, now_ns)) {
            Ok(file) => {
                self.descriptors.replace(number, Object::File(file));
                Ok(number)
            }
            Err(error) => {
                self.descriptors.remove(number);
                Err(error)
            }
        }
    }

    /// The directory that a path starts from. An absolute one needs none, and none at all is no path.
    fn base(&mut self, dir: FdRef<'_>, path: &[u8]) -> Result<InodeNumber, Errno> {
        match dir {
            _ if path.is_empty() => Err(Errno::NOENT),
            _ if path.starts_with(b"/") => Ok(self.inode_of(dir).unwrap_or(self.files.current_directory())),
            dir => self.inode_of(dir),
        }
    }

    fn inode_of(&mut self, fd: FdRef<'_>) -> Result<InodeNumber, Errno> {
        match (fd, self.descriptors.get(fd)) {
            (FdRef::Os(fd), _) if is_current(fd) => Ok(self.files.current_directory()),
            (_, Ok(Object::File(file))) => Ok(file.inode()),
            (_, Ok(Object::Socket(_) | Object::Pipe(..) | Object::Dead)) => Err(Errno::NOTDIR),
            (_, Err(error)) => Err(error),
        }
    }

    fn poll(&mut self, fd: FdRef<'_>, interest: Interest) -> Served {
        let wanted = PollFlags::from_bits_retain(interest.bits()) | PollFlags::ERR | PollFlags::HUP;
        let (ready, waitable) = match self.descriptors.get(fd) {
            Ok(Object::Socket(socket)) => {
                let socket = *socket;
                (self.network.readiness(socket), Some(Waitable::Socket(socket)))
            }
            Ok(Object::Pipe(pipe, end)) => (self.pipes.readiness(*pipe, *end), Some(Waitable::Pipe(*pipe))),
            Ok(Object::File(file)) if file.is_path() => return Errno::BADF.into(),
            // A file is always ready, though slow.
            Ok(Object::File(_) | Object::Dead) => (PollFlags::IN | PollFlags::OUT, None),
            Err(error) => return error.into(),
        };
        let ready = ready & wanted;
        match waitable {
            Some(waitable) if ready.is_empty() => Served::Waits(waitable),
            // Asked for no event, it never will be ready.
            None if ready.is_empty() => Errno::INVAL.into(),
            _ => Served::count(Ok(usize::from(ready.bits()))),
        }
    }

    /// The socket or pipe whose readiness a poll asks about.
    pub fn polled(&mut self, request: &Request<'_>) -> Option<Waitable> {
        let Request::Ready(ReadyRequest::Poll { fd, .. }) = request else { return None };
        match self.descriptors.get(*fd) {
            Ok(Object::Socket(socket)) => Some(Waitable::Socket(*socket)),
            Ok(Object::Pipe(pipe, _)) => Some(Waitable::Pipe(*pipe)),
            _ => None,
        }
    }

    /// How much of `len` bytes is transferred: all, or less.
    fn shortened(&mut self, kind: Kind, len: usize) -> usize {
        if len > 1 && self.ledger.strikes(Fault::Short, kind) { self.schedule.up_to(len - 1) } else { len }
    }

    /// The error that strikes a request instead of its being served.
    fn failure(&mut self, request: &mut Request<'_>, kind: Kind, attempt: &Attempt) -> Option<Errno> {
        // What has transferred something tells that first; faults strike the next request.
        if attempt.progress > 0 {
            return None;
        }
        if is_impatient(request, attempt.may_wait) && self.ledger.strikes(Fault::WouldBlock, kind) {
            self.touch(request);
            return Some(Errno::AGAIN);
        }
        let on_disk = self.is_on_disk(request);
        if on_disk && asks_for_no_wait(request) && self.ledger.strikes(Fault::Missing, kind) {
            return Some(Errno::OPNOTSUPP);
        }
        let by_kernel = attempt.may_wait && !attempt.by_thread;
        let errors = [
            (Fault::Interrupted, Errno::INTR, by_kernel),
            (Fault::Canceled, Errno::CANCELED, by_kernel && on_disk),
            (Fault::NoBuffers, Errno::NOBUFS, true),
            (Fault::DescriptorsFull, Errno::MFILE, true),
            (Fault::NoMemory, Errno::NOMEM, true),
            (Fault::NoSpace, Errno::NOSPC, on_disk && !is_open_of_old(request)),
            (Fault::IoError, Errno::IO, on_disk),
        ];
        for (fault, error, is_possible) in errors {
            if is_possible && self.ledger.strikes(fault, kind) {
                self.suffer(request, error);
                return Some(error);
            }
        }
        self.reset(request, kind)
    }

    /// Who is told «not now» is told when: what comes a moment later is an edge.
    fn touch(&mut self, request: &Request<'_>) {
        if let Request::Socket(SocketRequest::Recv { fd, .. } | SocketRequest::Send { fd, .. })
        | Request::Datagram(DatagramRequest::RecvFrom { fd, .. } | DatagramRequest::SendTo { fd, .. }) = request
            && let Ok(socket) = self.descriptors.socket(*fd)
        {
            self.network.touch(socket);
        }
    }

    /// What an error leaves behind.
    fn suffer(&mut self, request: &mut Request<'_>, error: Errno) {
        match request {
            Request::File(FileRequest::Fsync { fd, .. }) if matches!(error, Errno::IO | Errno::NOSPC) => {
                if let Ok(inode) = self.inode_of(*fd) {
                    self.files.fail_sync(inode, &mut self.schedule);
                }
            }
            // The descriptor is gone whatever close(2) answers.
            Request::File(FileRequest::Close { fd }) => self.discarded.extend(fd.take()),
            _ => {}
        }
    }

    /// Breaks the connection that a request is about. What then answers is what the request finds.
    fn reset(&mut self, request: &Request<'_>, kind: Kind) -> Option<Errno> {
        let Request::Socket(
            SocketRequest::Recv { fd, .. } | SocketRequest::Send { fd, .. } | SocketRequest::Accept { fd, .. },
        ) = request
        else {
            return None;
        };
        let socket = self.descriptors.socket(*fd).ok()?;
        if self.network.is_unix(socket) {
            // Only who closes it breaks it.
            return None;
        }
        let now_ns = self.now_ns();
        if self.network.has_waiting(socket) {
            return self.ledger.strikes(Fault::Reset, kind).then(|| {
                self.network.abort_accepted(socket, now_ns);
                Errno::CONNABORTED
            });
        }
        if self.network.is_connected(socket) && self.ledger.strikes(Fault::Reset, kind) {
            self.network.reset_both(socket, now_ns);
        }
        None
    }

    fn is_on_disk(&mut self, request: &Request<'_>) -> bool {
        match request {
            Request::Path(_) => true,
            Request::File(
                FileRequest::Read { fd, .. }
                | FileRequest::Write { fd, .. }
                | FileRequest::Truncate { fd, .. }
                | FileRequest::Fsync { fd, .. },
            ) => matches!(self.descriptors.get(*fd), Ok(Object::File(_))),
            Request::File(FileRequest::Close { fd }) => {
                fd.get().is_some_and(|fd| matches!(self.descriptors.get(fd.borrow()), Ok(Object::File(_))))
            }
            Request::File(FileRequest::Pipe | FileRequest::Seek { .. })
            | Request::Nop
            | Request::Socket(_)
            | Request::Datagram(_)
            | Request::Ready(_) => false,
        }
    }
}

fn is_current(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    std::os::fd::AsRawFd::as_raw_fd(&fd) == std::os::fd::AsRawFd::as_raw_fd(&rustix::fs::CWD)
}

/// Whether a request answers EAGAIN rather than wait.
fn is_impatient(request: &Request<'_>, may_wait: bool) -> bool {
    match request {
        Request::File(FileRequest::Read { flags, .. } | FileRequest::Write { flags, .. }) => {
            flags.contains(ReadWriteFlags::NOWAIT)
        }
        Request::Socket(SocketRequest::Recv { flags, .. }) => !may_wait || flags.contains(RecvFlags::DONTWAIT),
        Request::Socket(SocketRequest::Send { flags, .. }) => !may_wait || flags.contains(SendFlags::DONTWAIT),
        Request::Datagram(DatagramRequest::RecvFrom { flags, .. }) => !may_wait || flags.contains(RecvFlags::DONTWAIT),
        Request::Datagram(DatagramRequest::SendTo { .. }) => true,
        _ => false,
    }
}

/// Whether it is a read that no old kernel, and not every file system, knows.
fn asks_for_no_wait(request: &Request<'_>) -> bool {
    matches!(request, Request::File(FileRequest::Read { flags, .. }) if flags.contains(ReadWriteFlags::NOWAIT))
}

/// Whether it opens a file without making one, which takes no space.
fn is_open_of_old(request: &Request<'_>) -> bool {
    matches!(request, Request::Path(PathRequest::Open { how, .. }) if !how.flags().contains(OFlags::CREATE))
}

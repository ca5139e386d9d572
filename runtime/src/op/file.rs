//! Ops on open files: read, write, truncate, sync, seek, close.

use std::io::{self, IoSlice, IoSliceMut, SeekFrom};

use io_uring::{opcode, squeue, types};
use rustix::fs::FileType;
pub use rustix::io::ReadWriteFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::PipeFlags;

use super::{
    Answered, Attempt, OnDrop, Op, Reply, Request, Way, check_offset, check_room, len_asked, ready, ready::Interest,
};
use crate::buf::{BufResult, IoBuf, IoBufMut, with_buf};
use crate::fd::{FdRef, SharedFd};

mod close;

pub use self::close::{Close, Closing};

/// Where in a file a transfer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// So many bytes from the start; the cursor stays.
    At(u64),
    /// At the cursor, which moves. Also what pipes, terminals and sockets want.
    ///
    /// For a file that is open for direct I/O (`O_DIRECT`), a ring does not move the cursor: use an offset there.
    Cursor,
}

impl Position {
    /// As the kernel's `off_t`: -1 is the cursor.
    #[inline]
    fn offset(self) -> u64 {
        match self {
            Position::At(offset) => offset,
            Position::Cursor => u64::MAX,
        }
    }

    #[inline]
    pub(crate) fn check(self) -> io::Result<()> {
        match self {
            Position::At(offset) => check_offset(offset),
            Position::Cursor => Ok(()),
        }
    }
}

/// What is asked of an open file.
#[non_exhaustive]
pub enum FileRequest<'a> {
    /// Read into `buf`.
    Read {
        /// The file.
        fd: FdRef<'a>,
        /// Filled from its start.
        buf: &'a mut [u8],
        /// Where in the file.
        position: Position,
        /// `NOWAIT` answers EAGAIN instead of waiting for a disk.
        flags: ReadWriteFlags,
    },
    /// Write from `buf`.
    Write {
        /// The file.
        fd: FdRef<'a>,
        /// Written from its start.
        buf: &'a [u8],
        /// Where in the file.
        position: Position,
        /// As for reads.
        flags: ReadWriteFlags,
    },
    /// Truncate the file, or append zeros.
    Truncate {
        /// The file.
        fd: FdRef<'a>,
        /// How long it is then.
        len: u64,
    },
    /// Make what was written durable.
    Fsync {
        /// The file.
        fd: FdRef<'a>,
        /// Only the data, and of the metadata what reading it back needs.
        data_only: bool,
    },
    /// Move the cursor.
    Seek {
        /// The file.
        fd: FdRef<'a>,
        /// Where to.
        to: SeekFrom,
        /// Where it is then, from the start.
        out: &'a mut u64,
    },
    /// Make a pipe: the end to read from, and the one to write to.
    Pipe,
    /// Close.
    Close {
        /// The file.
        fd: &'a mut Closing,
    },
}

impl<'a> FileRequest<'a> {
    #[inline(always)]
    pub(super) fn newer_op(&self) -> Option<u8> {
        match self {
            FileRequest::Truncate { .. } => Some(opcode::Ftruncate::CODE),
            FileRequest::Read { .. }
            | FileRequest::Write { .. }
            | FileRequest::Fsync { .. }
            | FileRequest::Close { .. }
            | FileRequest::Seek { .. }
            | FileRequest::Pipe => None,
        }
    }

    /// `None` where the plain syscall, which never blocks, does it.
    #[inline(always)]
    pub(super) fn sqe(&mut self) -> Option<squeue::Entry> {
        Some(match self {
            FileRequest::Read { fd, buf, position, flags } => {
                opcode::Read::new(types::Fd(fd.number()), buf.as_mut_ptr(), len_asked(buf.len()))
                    .offset(position.offset())
                    .rw_flags(rw_flags(*flags))
                    .build()
            }
            FileRequest::Write { fd, buf, position, flags } => {
                opcode::Write::new(types::Fd(fd.number()), buf.as_ptr(), len_asked(buf.len()))
                    .offset(position.offset())
                    .rw_flags(rw_flags(*flags))
                    .build()
            }
            FileRequest::Truncate { fd, len } => opcode::Ftruncate::new(types::Fd(fd.number()), *len).build(),
            FileRequest::Fsync { fd, data_only } => {
                let flags = if *data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
                opcode::Fsync::new(types::Fd(fd.number())).flags(flags).build()
            }
            FileRequest::Close { fd } => opcode::Close::new(types::Fd(fd.give_number())).build(),
            FileRequest::Seek { .. } | FileRequest::Pipe => return None,
        })
    }

    pub(super) fn call(&mut self) -> Answered {
        let count = match self {
            FileRequest::Read { fd, buf, position, flags } => {
                let len = buf.len().min(super::LEN_MAX);
                let buf = &mut buf[..len];
                match position {
                    Position::Cursor if flags.is_empty() => rustix::io::read(fd.os()?, buf)?,
                    Position::At(offset) if flags.is_empty() => rustix::io::pread(fd.os()?, buf, *offset)?,
                    _ => rustix::io::preadv2(fd.os()?, &mut [IoSliceMut::new(buf)], position.offset(), *flags)?,
                }
            }
            FileRequest::Write { fd, buf, position, flags } => {
                let buf = &buf[..buf.len().min(super::LEN_MAX)];
                match position {
                    Position::Cursor if flags.is_empty() => rustix::io::write(fd.os()?, buf)?,
                    Position::At(offset) if flags.is_empty() => rustix::io::pwrite(fd.os()?, buf, *offset)?,
                    _ => rustix::io::pwritev2(fd.os()?, &[IoSlice::new(buf)], position.offset(), *flags)?,
                }
            }
            FileRequest::Truncate { fd, len } => rustix::fs::ftruncate(fd.os()?, *len).map(|()| 0)?,
            FileRequest::Fsync { fd, data_only: true } => rustix::fs::fdatasync(fd.os()?).map(|()| 0)?,
            FileRequest::Fsync { fd, data_only: false } => rustix::fs::fsync(fd.os()?).map(|()| 0)?,
            FileRequest::Close { fd } => fd.take().map(|_closed| 0).ok_or(Errno::BADF)?,
            FileRequest::Seek { fd, to, out } => {
                let to = match *to {
                    SeekFrom::Start(offset) => rustix::fs::SeekFrom::Start(offset),
                    SeekFrom::End(offset) => rustix::fs::SeekFrom::End(offset),
                    SeekFrom::Current(offset) => rustix::fs::SeekFrom::Current(offset),
                };
                **out = rustix::fs::seek(fd.os()?, to)?;
                0
            }
            FileRequest::Pipe => {
                let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                return Ok(Reply::Pair(Box::new((reader.into(), writer.into()))));
            }
        };
        Ok(Reply::Count(count))
    }

    /// Never blocks, except where somebody else takes what [`ready::poll_now`] saw: a terminal or an old kernel's pipe,
    /// whose driver knows no `RWF_NOWAIT`, read by two at once.
    pub(super) fn attempt(&mut self) -> Attempt {
        let asked = match self {
            FileRequest::Read { flags, .. } | FileRequest::Write { flags, .. } => flags,
            FileRequest::Truncate { .. }
            | FileRequest::Fsync { .. }
            | FileRequest::Close { .. }
            | FileRequest::Seek { .. }
            | FileRequest::Pipe => return Attempt::MayBlock,
        };
        let before = std::mem::replace(asked, *asked | ReadWriteFlags::NOWAIT);
        let answered = retry_on_intr(|| self.call());
        if let FileRequest::Read { flags, .. } | FileRequest::Write { flags, .. } = self {
            *flags = before;
        }
        match answered {
            Err(Errno::OPNOTSUPP) if !before.contains(ReadWriteFlags::NOWAIT) => self.attempt_without_nowait(),
            answered => Attempt::from(answered),
        }
    }

    /// What only waits for others, and has something, can be read without blocking. A write may want more room than
    /// there is, and a file a disk.
    #[cold]
    fn attempt_without_nowait(&mut self) -> Attempt {
        let FileRequest::Read { fd, .. } = self else { return Attempt::MayBlock };
        let fd = *fd;
        let waits_for_others = |fd| {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
            Ok(matches!(kind, FileType::CharacterDevice | FileType::Fifo | FileType::Socket | FileType::Unknown))
        };
        match fd.os().and_then(waits_for_others) {
            Ok(true) => {}
            Ok(false) => return Attempt::MayBlock,
            Err(error) => return Attempt::Done(Err(error)),
        }
        match ready::poll_now(fd, Interest::READABLE) {
            Ok(_events) => Attempt::from(retry_on_intr(|| self.call())),
            Err(error) => Attempt::from(Err(error)),
        }
    }

    pub(super) fn way(&self) -> Way<'a> {
        match *self {
            FileRequest::Read { fd, position: Position::Cursor, .. } => Way::Ready(fd, Interest::READABLE),
            FileRequest::Write { fd, position: Position::Cursor, .. } => Way::Ready(fd, Interest::WRITABLE),
            FileRequest::Seek { .. } | FileRequest::Pipe => Way::Inline,
            FileRequest::Read { .. }
            | FileRequest::Write { .. }
            | FileRequest::Truncate { .. }
            | FileRequest::Fsync { .. }
            | FileRequest::Close { .. } => Way::Pool,
        }
    }
}

impl std::fmt::Debug for FileRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileRequest::Read { fd, buf, position, .. } => {
                write!(f, "read {} bytes from {fd:?}, {position:?}", buf.len())
            }
            FileRequest::Write { fd, buf, position, .. } => {
                write!(f, "write {} bytes to {fd:?}, {position:?}", buf.len())
            }
            FileRequest::Truncate { fd, len } => write!(f, "ftruncate {fd:?} to {len} bytes"),
            FileRequest::Fsync { fd, data_only: true } => write!(f, "fdatasync {fd:?}"),
            FileRequest::Fsync { fd, data_only: false } => write!(f, "fsync {fd:?}"),
            FileRequest::Close { fd } => write!(f, "close {fd:?}"),
            FileRequest::Seek { fd, to, .. } => write!(f, "lseek {fd:?} to {to:?}"),
            FileRequest::Pipe => write!(f, "pipe"),
        }
    }
}

fn rw_flags(flags: ReadWriteFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Reads into `buf`. `pread(2)`, or `read(2)` at the cursor.
///
/// Returns how many bytes were read, and the buffer. Fewer than it holds is normal; 0 is the end of the file, or of a
/// pipe that nobody writes to any more. An empty pipe is waited for in the ring or with epoll, never on a thread.
///
/// # Errors
///
/// The buffer comes back in the error; `?` drops it. [`InvalidInput`](io::ErrorKind::InvalidInput) for an empty buffer,
/// whose 0 would look like the end, and for an offset above [`OFFSET_MAX`](super::OFFSET_MAX). Everything else is
/// pread(2)'s or read(2)'s.
///
/// # Cancel safety
///
/// Dropping the future asks the kernel to stop; it may read all the same, into a buffer that is dropped with the op. At
/// an offset nothing is lost by that. At the cursor something is: the cursor has moved, and what was read from a pipe
/// or a terminal is lost, unless [`abandon`](Op::abandon), which gets the last reply, keeps it. So let a handle own
/// that op, as `fs` does, and give those bytes to the next caller.
///
/// # io_uring
///
/// `IORING_OP_READ` (5.6). Without a ring the blocking pool reads; at the cursor of anything but a regular file, epoll
/// waits until it is ready.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{fd::SharedFd, op::file::{Position, Read}, submit};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// let (count, buf) = submit(Read { fd, buf: vec![0; 9], position: Position::At(0) }).await?;
/// assert_eq!(&buf[..count], b"[package]");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Read<B> {
    /// The file.
    pub fd: SharedFd,
    /// Filled up to its length. Must not be empty.
    pub buf: B,
    /// Where in the file.
    pub position: Position,
}

impl<B: IoBufMut> Op for Read<B> {
    type Output = BufResult<usize, B>;

    #[inline]
    fn check(&self) -> io::Result<()> {
        check_room(self.buf.bytes().len())?;
        self.position.check()
    }

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::File(FileRequest::Read {
            fd: self.fd.borrow(),
            buf: self.buf.bytes_mut(),
            position: self.position,
            flags: ReadWriteFlags::empty(),
        })
    }

    #[inline(always)]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        with_buf(reply.and_then(Reply::count), self.buf)
    }
}

/// Writes from `buf`. `pwrite(2)`, or `write(2)` at the cursor.
///
/// Returns how many bytes were written, and the buffer. Fewer than it holds are written when a disk or a quota is full,
/// and to a pipe that has no room for all; up to 4096 bytes (`PIPE_BUF`) are written to a pipe as a whole or not at
/// all. An empty buffer writes nothing and returns 0.
///
/// # Errors
///
/// The buffer comes back in the error; `?` drops it. [`InvalidInput`](io::ErrorKind::InvalidInput) for an offset above
/// [`OFFSET_MAX`](super::OFFSET_MAX). Everything else is pwrite(2)'s or write(2)'s. A pipe without a reader fails with
/// EPIPE; Rust programs ignore the SIGPIPE that comes with it.
///
/// # Cancel safety
///
/// A dropped write [runs to its end](OnDrop::Finish), since an unknown part of it would be worse: file and buffer are
/// kept until then, and its error is lost. A write that has not been polled has written nothing.
/// [`deadline`](crate::Submit::deadline) stops a write, and returns how much of it is done.
///
/// # io_uring
///
/// `IORING_OP_WRITE` (5.6). Without a ring the blocking pool writes; at the cursor of anything but a regular file,
/// epoll waits until it is ready.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::{fd::SharedFd, op::file::{Position, Write}, submit};
/// use rustix::fs::{MemfdFlags, memfd_create};
///
/// let fd = SharedFd::new(memfd_create("doc", MemfdFlags::CLOEXEC)?);
/// let (count, kept) = submit(Write { fd, buf: "hello", position: Position::At(0) }).await?;
/// assert_eq!((count, kept), (5, "hello"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Write<B> {
    /// The file.
    pub fd: SharedFd,
    /// What to write.
    pub buf: B,
    /// Where in the file.
    pub position: Position,
}

impl<B: IoBuf> Op for Write<B> {
    type Output = BufResult<usize, B>;

    // Half of a write, and nobody told which half, is worse than all of it.
    const ON_DROP: OnDrop = OnDrop::Finish;

    #[inline]
    fn check(&self) -> io::Result<()> {
        self.position.check()
    }

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::File(FileRequest::Write {
            fd: self.fd.borrow(),
            buf: self.buf.bytes(),
            position: self.position,
            flags: ReadWriteFlags::empty(),
        })
    }

    #[inline(always)]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        with_buf(reply.and_then(Reply::count), self.buf)
    }
}

/// Makes a file `len` bytes long: truncates it, or appends zeros. `ftruncate(2)`.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a length above [`OFFSET_MAX`](super::OFFSET_MAX), and for a file
/// that is not open for writing. Everything else is ftruncate(2)'s.
///
/// # Cancel safety
///
/// When dropped it [runs to its end](OnDrop::Finish): otherwise it would be unknown whether it still happens. Its error
/// is lost. If it has not been polled, it does nothing.
///
/// # io_uring
///
/// `IORING_OP_FTRUNCATE` (6.9), always on a kernel worker. Rings from 6.1 to 6.8 lack it: there, and on the fallback,
/// the blocking pool truncates.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::{call, fd::SharedFd, op::file::Truncate, submit};
/// use rustix::fs::{MemfdFlags, memfd_create};
///
/// let fd = SharedFd::new(memfd_create("doc", MemfdFlags::CLOEXEC)?);
/// submit(Truncate { fd: fd.clone(), len: 4096 }).await?;
/// assert_eq!(call::stat_now(&fd)?.size, 4096);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Truncate {
    /// The file.
    pub fd: SharedFd,
    /// How long it is then.
    pub len: u64,
}

impl Op for Truncate {
    type Output = io::Result<()>;

    // Nobody could tell whether it will still happen, so it does.
    const ON_DROP: OnDrop = OnDrop::Finish;

    fn check(&self) -> io::Result<()> {
        check_offset(self.len)
    }

    fn request(&mut self) -> Request<'_> {
        Request::File(FileRequest::Truncate { fd: self.fd.borrow(), len: self.len })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        reply.and_then(Reply::count).map(|_zero| ())
    }
}

/// Makes written data durable. `fsync(2)`, `fdatasync(2)`.
///
/// It covers only writes that have returned before it starts.
///
/// # Errors
///
/// EINVAL for what cannot be synced, such as a pipe. EIO, ENOSPC and EDQUOT mean that written data may be lost, **even
/// if the next sync succeeds**: the kernel reports a lost write once.
///
/// # Cancel safety
///
/// Dropping the future asks the kernel to stop; the data may or may not be durable. If the sync ran and failed, its
/// error is lost; `fs` keeps it for the next caller.
///
/// # io_uring
///
/// `IORING_OP_FSYNC` (5.1), always on a kernel worker; the fallback syncs on the blocking pool.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::{fd::SharedFd, op::file::{Fsync, Position, Write}, submit};
/// use rustix::fs::{MemfdFlags, memfd_create};
///
/// let fd = SharedFd::new(memfd_create("doc", MemfdFlags::CLOEXEC)?);
/// submit(Write { fd: fd.clone(), buf: b"kept".as_slice(), position: Position::At(0) }).await?;
/// submit(Fsync { fd, data_only: true }).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Fsync {
    /// The file.
    pub fd: SharedFd,
    /// Only the data, and of the metadata what reading it back needs.
    pub data_only: bool,
}

impl Op for Fsync {
    type Output = io::Result<()>;

    fn request(&mut self) -> Request<'_> {
        Request::File(FileRequest::Fsync { fd: self.fd.borrow(), data_only: self.data_only })
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        reply.and_then(Reply::count).map(|_zero| ())
    }
}

//! Ops and requests: who owns what the kernel touches, what is asked, what comes back.
//!
//! An [`Op`] owns everything that the kernel will read or write: buffers, paths, addresses. Its [`Request`] borrows
//! from it, so the compiler checks that each pointer the kernel gets lives in the op. A driver services the request,
//! and the op's [`finish`](Op::finish) turns the [`Reply`] into what the caller wanted.
//!
//! The flags of ops are rustix's types, re-exported next to the ops under the same names ([`socket::RecvFlags`],
//! [`path::OFlags`], …), so that a program need not depend on the same version of rustix.
//!
//! **To add an op**, open the file of its family. It has, from top to bottom: what is asked, how a ring is asked
//! (`sqe`), which plain system call does the same (`call`), and the struct that owns the memory. The matches are
//! exhaustive: the compiler names what is missing.

use std::io;

use io_uring::squeue;
use rustix::io::Errno;

use crate::fd::Fd;

pub mod address;
pub mod datagram;
pub mod file;
pub mod path;
pub mod ready;
pub mod socket;

/// The longest transfer: the kernel limits reads and writes to this, and refuses longer receives (`MAX_RW_COUNT`).
pub const LEN_MAX: usize = 0x7fff_f000;

/// The largest offset. Larger values have special meanings to the kernel: `u64::MAX` would read at the cursor, and move
/// it.
pub const OFFSET_MAX: u64 = 0x7fff_ffff_ffff_ffff;

/// Something that the kernel is asked to do, and everything that it needs for that.
///
/// Safe to implement: a request can only borrow from the op, and nobody touches the op until the last reply.
///
/// # Examples
///
/// An op of your own can use a [`Request`] in a new way. This one reads into a buffer from a shelf, and puts it back on
/// the shelf if its future is dropped. `abandon` runs after the last reply, when the kernel is done with the buffer:
///
/// ```
/// use std::{cell::RefCell, io, os::fd::OwnedFd, rc::Rc};
/// use runtime::fd::SharedFd;
/// use runtime::op::file::{FileRequest, Position, ReadWriteFlags};
/// use runtime::op::{Op, Reply, Request};
/// use runtime::time::{Duration, sleep, timeout};
///
/// type Shelf = Rc<RefCell<Vec<Vec<u8>>>>;
///
/// struct ReadHead {
///     fd: SharedFd,
///     buf: Vec<u8>,
///     shelf: Shelf,
/// }
///
/// impl Op for ReadHead {
///     type Output = io::Result<Vec<u8>>;
///
///     fn request(&mut self) -> Request<'_> {
///         let (position, flags) = (Position::At(0), ReadWriteFlags::empty());
///         Request::File(FileRequest::Read { fd: self.fd.borrow(), buf: &mut self.buf, position, flags })
///     }
///
///     fn finish(mut self, reply: io::Result<Reply>) -> Self::Output {
///         self.buf.truncate(reply?.count()?);
///         Ok(self.buf)
///     }
///
///     fn abandon(self, _reply: io::Result<Reply>) {
///         self.shelf.borrow_mut().push(self.buf);
///     }
/// }
///
/// # #[runtime::main] async fn main() -> io::Result<()> {
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// let shelf = Shelf::default();
/// let head = || ReadHead { fd: fd.clone(), buf: vec![0; 9], shelf: shelf.clone() };
/// assert_eq!(runtime::submit(head()).await?, b"[package]");
///
/// let given_up = timeout(Duration::ZERO, runtime::submit(head())).await;     // polled once, and dropped
/// assert!(given_up.is_err());
/// while shelf.borrow().is_empty() {
///     sleep(Duration::from_millis(1)).await;
/// }
/// assert_eq!(shelf.borrow()[0].len(), 9);
/// # Ok(()) }
/// ```
pub trait Op: Sized + 'static {
    /// What the caller gets.
    type Output;

    /// What happens to the op when its future is dropped.
    const ON_DROP: OnDrop = OnDrop::Cancel;

    /// Refuses arguments that the kernel would misread, before the op is started.
    ///
    /// # Errors
    ///
    /// The error that [`finish`](Op::finish) gets instead of a reply.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Returns what is asked. Called once, when the op is at the address where it stays until the last reply.
    fn request(&mut self) -> Request<'_>;

    /// Called with the last reply, if the future is still there.
    fn finish(self, reply: io::Result<Reply>) -> Self::Output;

    /// Called with the last reply, if the future was dropped. A descriptor that was opened must not leak, and data that
    /// was received must not be lost.
    ///
    /// By default both are dropped, which closes a descriptor.
    fn abandon(self, reply: io::Result<Reply>) {
        drop((self, reply));
    }
}

/// An op with many replies, for [`replies`](crate::replies).
///
/// # Examples
///
/// One of your own. This one turns the connections of a listener into std's streams:
///
/// ```
/// use std::{future::poll_fn, io, net::{TcpListener, TcpStream}, os::fd::OwnedFd};
/// use runtime::Step;
/// use runtime::fd::{Fd, SharedFd};
/// use runtime::op::socket::SocketRequest;
/// use runtime::op::{Op, Reply, Request, StreamOp};
///
/// struct Connections {
///     listener: SharedFd,
/// }
///
/// impl Op for Connections {
///     type Output = io::Result<TcpStream>;
///
///     fn request(&mut self) -> Request<'_> {
///         Request::Socket(SocketRequest::Accept { fd: self.listener.borrow(), peer: None })
///     }
///
///     fn finish(self, last: io::Result<Reply>) -> Self::Output {
///         Self::item(last)
///     }
/// }
///
/// impl StreamOp for Connections {
///     type Item = io::Result<TcpStream>;
///
///     fn item(reply: io::Result<Reply>) -> Self::Item {
///         match reply?.fd()? {
///             Fd::Os(fd) => Ok(fd.into()),
///             other => Err(io::Error::other(format!("{other:?} is of no use to std"))),
///         }
///     }
/// }
///
/// # #[runtime::main] async fn main() -> io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let client = TcpStream::connect(listener.local_addr()?)?;
/// let mut connections = runtime::replies(Connections { listener: SharedFd::new(OwnedFd::from(listener)) });
/// let (Step::Item(connection) | Step::End(connection)) = poll_fn(|context| connections.poll_next(context)).await;
/// assert_eq!(connection?.peer_addr()?, client.local_addr()?);
/// # Ok(()) }
/// ```
pub trait StreamOp: Op {
    /// The type of the items.
    type Item;

    /// Turns a reply that is not the last into an item.
    ///
    /// There is no `self` here: before the last reply the kernel uses the op, and even a shared borrow would alias
    /// that.
    fn item(reply: io::Result<Reply>) -> Self::Item;
}

/// What happens to an op when its future is dropped: see [`Op::ON_DROP`].
///
/// Either way the op is kept until its last reply, which goes to [`Op::abandon`].
///
/// # Examples
///
/// ```
/// use runtime::op::{OnDrop, Op, file};
///
/// assert_eq!(<file::Read<Vec<u8>> as Op>::ON_DROP, OnDrop::Cancel);
/// assert_eq!(<file::Write<Vec<u8>> as Op>::ON_DROP, OnDrop::Finish);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDrop {
    /// The kernel is asked to stop; the op may complete all the same.
    Cancel,
    /// The op runs to its end, because half of it would be worse than all. At the end of the runtime it gets half a
    /// second for that.
    Finish,
}

/// What a driver is asked to do: **the interface between ops and drivers**. It borrows from an op and describes the
/// work in plain data.
///
/// Its `Debug` prints kind, descriptor, length and offset, never bytes. Ops of your own are built from these: [`Op`]
/// and [`StreamOp`] have an example each.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// To do nothing, and reply. `IORING_OP_NOP`.
    Nop,
    /// Open files: [`mod@file`].
    File(file::FileRequest<'a>),
    /// Names in the file system: [`path`].
    Path(path::PathRequest<'a>),
    /// Sockets: [`socket`].
    Socket(socket::SocketRequest<'a>),
    /// Datagrams with addresses: [`datagram`].
    Datagram(datagram::DatagramRequest<'a>),
    /// Readiness: [`ready`].
    Ready(ready::ReadyRequest<'a>),
}

impl<'a> Request<'a> {
    /// Its opcode, if that is newer than the oldest kernel whose rings we take, 6.1: then a ring may lack it, and the
    /// blocking pool [calls](Request::call) instead. Asked before [`sqe`](Request::sqe), which may give something away.
    #[inline(always)]
    pub(crate) fn newer_op(&self) -> Option<u8> {
        match self {
            Request::File(request) => request.newer_op(),
            Request::Nop | Request::Path(_) | Request::Socket(_) | Request::Datagram(_) | Request::Ready(_) => None,
        }
    }

    /// How a ring is asked; `None` where only a plain syscall does it. The pointers in the entry are good until the
    /// op's last reply.
    #[inline(always)]
    pub(crate) fn sqe(&mut self) -> Option<squeue::Entry> {
        match self {
            Request::Nop => Some(io_uring::opcode::Nop::new().build()),
            Request::File(request) => request.sqe(),
            Request::Path(request) => Some(request.sqe()),
            Request::Socket(request) => request.sqe(),
            Request::Datagram(request) => Some(request.sqe()),
            Request::Ready(request) => Some(request.sqe()),
        }
    }

    /// Does the same by a plain syscall, on this thread. It blocks only where [`way`](Request::way) says pool.
    #[inline(always)]
    pub(crate) fn call(&mut self) -> Answered {
        match self {
            Request::Nop => Ok(Reply::Count(0)),
            Request::File(request) => request.call(),
            Request::Path(request) => request.call(),
            Request::Socket(request) => request.call(),
            Request::Datagram(request) => request.call(),
            Request::Ready(request) => request.call(),
        }
    }

    /// Does the same by a plain syscall that never blocks, where the [way](Request::way) is [`Way::Ready`].
    pub(crate) fn attempt(&mut self) -> Attempt {
        match self {
            Request::File(request) => request.attempt(),
            Request::Socket(request) => request.attempt(),
            // A signal must not look like an empty socket: the next edge may never come.
            _ => Attempt::from(rustix::io::retry_on_intr(|| self.call())),
        }
    }

    /// What an event that it waited for answers by itself. `None`: the event only says that an attempt is worth it.
    pub(crate) fn told(&self, came: ready::Interest) -> Option<Reply> {
        match self {
            Request::Ready(request) => Some(request.told(came)),
            _ => None,
        }
    }

    /// Whether an attempt before any wait would most likely be in vain.
    pub(crate) fn expects_to_wait(&self) -> bool {
        match self {
            Request::Nop | Request::File(_) | Request::Path(_) => false,
            Request::Socket(request) => request.expects_to_wait(),
            Request::Datagram(request) => request.expects_to_wait(),
            Request::Ready(_) => true,
        }
    }

    /// How many replies are wanted.
    pub(crate) fn replies(&self) -> Replies {
        match self {
            Request::Nop | Request::File(_) | Request::Path(_) | Request::Datagram(_) => Replies::One,
            Request::Socket(request) => request.replies(),
            Request::Ready(request) => request.replies(),
        }
    }

    /// Whether the plain syscall can block, and if so, what tells that it will not.
    pub(crate) fn way(&self) -> Way<'a> {
        match self {
            Request::Nop => Way::Inline,
            Request::File(request) => request.way(),
            Request::Path(_) => Way::Pool,
            Request::Socket(request) => request.way(),
            Request::Datagram(request) => request.way(),
            Request::Ready(request) => request.way(),
        }
    }

    /// What kind of value answers. A descriptor must not be mistaken for a number.
    #[inline]
    pub(crate) fn yields(&self) -> Yields {
        match self {
            Request::Nop | Request::Ready(_) | Request::File(_) | Request::Datagram(_) => Yields::Count,
            Request::Path(request) => request.yields(),
            Request::Socket(request) => request.yields(),
        }
    }
}

/// How a request is serviced without a ring.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way<'a> {
    /// The plain syscall never blocks.
    Inline,
    /// [`Request::attempt`] says so where it would block; then these events on the descriptor tell when to try again. A
    /// descriptor that epoll refuses (a regular file) is always ready in that sense, but slow: it goes to the pool.
    Ready(crate::fd::FdRef<'a>, ready::Interest),
    /// It may block for as long as a disk takes: the blocking pool's.
    Pool,
}

/// What an attempt that never blocks came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// This is the answer.
    Done(Answered),
    /// Not ready: nothing was done.
    NotYet,
    /// So many bytes were moved of a transfer that wants all of them, and the request is about the rest from now on.
    Moved(usize),
    /// This descriptor knows no call that cannot block: nothing was done, and the blocking pool must do it.
    MayBlock,
}

impl From<Answered> for Attempt {
    #[inline]
    fn from(answered: Answered) -> Attempt {
        match answered {
            Err(Errno::AGAIN) => Attempt::NotYet,
            answered => Attempt::Done(answered),
        }
    }
}

/// How many replies a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    /// One.
    One,
    /// One each time the descriptor gets ready anew, until it is cancelled or fails.
    OneAnEdge,
    /// As many as there are each time, until it is cancelled or fails.
    All,
}

/// What kind of value answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Yields {
    /// A count, or 0.
    Count,
    /// A new descriptor.
    Fd,
}

/// What a plain syscall answered.
pub(crate) type Answered = Result<Reply, Errno>;

/// What an op was answered.
///
/// # Examples
///
/// ```
/// use runtime::op::Reply;
///
/// assert_eq!(Reply::Count(5).count()?, 5);
/// assert!(Reply::Count(5).fd().is_err() && Reply::Count(5).pair().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// A count, a mask of events, or 0.
    Count(usize),
    /// A new descriptor, which is closed when it is dropped.
    Fd(Fd),
    /// Two new descriptors. Boxed, so that other replies are not larger because of it.
    Pair(Box<(Fd, Fd)>),
}

impl Reply {
    /// The count.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if a descriptor came back: the request asked for one.
    #[inline(always)]
    pub fn count(self) -> io::Result<usize> {
        match self {
            Reply::Count(count) => Ok(count),
            Reply::Fd(fd) => Err(no_count(fd)),
            Reply::Pair(pair) => Err(mistyped(&format!("descriptors {pair:?}"), "a count")),
        }
    }

    /// The descriptor.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if a count came back: the request asked for one.
    #[inline]
    pub fn fd(self) -> io::Result<Fd> {
        match self {
            Reply::Fd(fd) => Ok(fd),
            Reply::Count(count) => Err(mistyped(&format!("count {count}"), "a descriptor")),
            Reply::Pair(pair) => Err(mistyped(&format!("descriptors {pair:?}"), "a descriptor")),
        }
    }

    /// The two descriptors.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if anything else came back: the request asked for that.
    pub fn pair(self) -> io::Result<(Fd, Fd)> {
        match self {
            Reply::Pair(pair) => Ok(*pair),
            Reply::Fd(fd) => Err(mistyped(&format!("descriptor {fd:?}"), "two descriptors")),
            Reply::Count(count) => Err(mistyped(&format!("count {count}"), "two descriptors")),
        }
    }
}

#[cold]
fn no_count(fd: Fd) -> io::Error {
    mistyped(&format!("descriptor {fd:?}"), "a count")
}

#[cold]
fn mistyped(got: &str, wanted: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the reply is {got} where the op wants {wanted}"))
}

/// Does nothing, and returns: for measuring what an op costs.
///
/// # Errors
///
/// None of its own; ECANCELED if a deadline or the end of the runtime cancelled it.
///
/// # Cancel safety
///
/// Nothing is lost by dropping the future.
///
/// # io_uring
///
/// `IORING_OP_NOP` (5.1).
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let before = runtime::metrics().completed;
/// runtime::submit(runtime::op::Nop).await?;
/// assert!(runtime::metrics().completed > before);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Nop;

impl Op for Nop {
    type Output = io::Result<()>;

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Nop
    }

    #[inline(always)]
    fn finish(self, reply: io::Result<Reply>) -> io::Result<()> {
        reply.and_then(Reply::count).map(|_zero| ())
    }
}

/// How many of `len` bytes one transfer may ask for.
#[inline]
pub(crate) fn len_asked(len: usize) -> u32 {
    // The cap fits u32 by far.
    len.min(LEN_MAX) as u32
}

/// Refuses an offset that the kernel would take for something else.
#[inline]
pub(crate) fn check_offset(offset: u64) -> io::Result<()> {
    if offset > OFFSET_MAX { Err(beyond_offsets(offset)) } else { Ok(()) }
}

#[cold]
fn beyond_offsets(offset: u64) -> io::Error {
    let why = format!("offset {offset} is beyond the largest file offset, {OFFSET_MAX}");
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Refuses a read into nothing: its 0 would look like the end of the file.
#[inline]
pub(crate) fn check_room(len: usize) -> io::Result<()> {
    if len == 0 { Err(no_room()) } else { Ok(()) }
}

#[cold]
fn no_room() -> io::Error {
    let why = "the buffer is empty: reading fills up to a buffer's length, not its capacity";
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

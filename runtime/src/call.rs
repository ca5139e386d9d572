//! What never waits, done at once by a plain system call: no SQE, no slot, no future.
//!
//! For some of these a ring is dearer (a shutdown through it costs twice as much), for others it has no op. And what
//! can be tried without waiting (`try_recv`, `try_send`, `try_read`, `try_write`) goes straight to lent memory, which
//! no op in flight ever points into. A simulated kernel answers the same requests.

use std::io;
use std::os::fd::BorrowedFd;

use crate::core;
pub use crate::driver::Cheaper;
use crate::driver::setup::Feature;
use crate::fd::{Fd, SharedFd};
use crate::op::address::SocketAddress;
use crate::op::file::{FileRequest, Position, ReadWriteFlags};
use crate::op::path::{AtFlags, PathRequest, Statx, StatxFlags};
use crate::op::socket::{
    AddressFamily, End, Protocol, RecvFlags, SendFlags, Shutdown, SocketOption, SocketRequest, SocketType,
};
use crate::op::{Reply, Request};

/// Whether this core's driver serves what only newer kernels' rings have. Nothing needs to be done where it does not:
/// an [op](Feature::is_op) that a ring lacks is done by the blocking pool.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// use runtime::{Builder, Feature};
///
/// let runtime = Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
/// assert!(runtime.block_on(async { runtime::call::offers(Feature::Ftruncate) }));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn offers(feature: Feature) -> bool {
    core::offers(feature)
}

/// Asks leave to do `what` by plain system calls, on this thread or another, past the driver.
///
/// # Errors
///
/// [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel: the call would reach the real one. It lists
/// `what` among [`World::unsupported`](crate::simulated::World::unsupported).
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// let runtime = runtime::Builder::new().simulated(7, runtime::simulated::Faults::none()).build()?;
/// runtime.block_on(async {
///     assert_eq!(runtime::call::pass("chroot").unwrap_err().kind(), std::io::ErrorKind::Unsupported);
///     assert_eq!(runtime::simulated::world().unsupported(), ["chroot"]);
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pass(what: &str) -> io::Result<()> {
    if core::may_pass(what) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("a simulated kernel serves no {what}")))
}

/// The operating system's descriptor of `fd`, to do `what` with it by plain system calls.
///
/// # Errors
///
/// [`Unsupported`](io::ErrorKind::Unsupported) for a simulated one, as [`SharedFd::os`]. Its kernel lists `what` among
/// [`World::unsupported`](crate::simulated::World::unsupported).
///
/// # Examples
///
/// ```
/// use std::os::fd::OwnedFd;
/// use runtime::{call, fd::SharedFd};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// let clone: OwnedFd = call::os(&fd, "try_clone")?.try_clone_to_owned()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn os<'a>(fd: &'a SharedFd, what: &str) -> io::Result<BorrowedFd<'a>> {
    fd.os().inspect_err(|_unsupported| core::note_unsupported(what))
}

/// What costs less on this core now, for something that need not wait.
///
/// On a ring that is the [`Call`](Cheaper::Call) when the op would be alone: nothing else is queued for the kernel, and
/// no other task is ready that would queue something. On the fallback it is [`AlwaysCall`](Cheaper::AlwaysCall); a
/// simulated kernel leaves it to the seed.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// use runtime::call::{Cheaper, cheaper};
/// use runtime::{Builder, Choice};
///
/// let runtime = Builder::new().driver(Choice::Fallback).ignore_environment().build()?;
/// assert_eq!(runtime.block_on(async { cheaper() }), Cheaper::AlwaysCall);
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
#[must_use]
pub fn cheaper() -> Cheaper {
    core::cheaper()
}

fn now(mut request: Request<'_>) -> io::Result<Reply> {
    core::call(&mut request)
}

/// Spends one of the operations that a task may do inline in its turn. When they are spent a try answers WouldBlock
/// without a number: the caller then yields, or waits through the driver, and others have their turn meanwhile.
#[inline]
fn try_now(mut request: Request<'_>) -> io::Result<Reply> {
    core::spend_on_call(&mut request).unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
}

fn socket_now(request: SocketRequest<'_>) -> io::Result<Reply> {
    now(Request::Socket(request))
}

/// Makes a socket. `socket(2)`, close-on-exec; a plain system call, which never blocks.
///
/// # Errors
///
/// EMFILE and ENFILE when descriptors run out, EAFNOSUPPORT for a family that the kernel lacks.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// A listener and a connection, by plain calls but for the two that may wait:
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::net::SocketAddr;
/// use runtime::op::socket::{Accept, AddressFamily, Connect, End, SocketType};
/// use runtime::{call, fd::SharedFd, submit};
///
/// let listener = SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None)?);
/// call::bind(&listener, SocketAddr::from(([127, 0, 0, 1], 0)))?;
/// call::listen(&listener, 16)?;
///
/// let client = SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None)?);
/// submit(Connect { fd: client.clone(), address: call::name(&listener, End::Local)?, ours: true }).await?;
/// let (_server, peer) = submit(Accept::new(listener)).await?;
/// assert_eq!(peer.ip()?, call::name(&client, End::Local)?.ip()?);
/// # Ok(()) }
/// ```
pub fn socket(family: AddressFamily, kind: SocketType, protocol: Option<Protocol>) -> io::Result<Fd> {
    socket_now(SocketRequest::Socket { family, kind, protocol })?.fd()
}

/// Makes two unix sockets that are connected with each other. `socketpair(2)`, close-on-exec; a plain system call,
/// which never blocks.
///
/// # Errors
///
/// EMFILE and ENFILE when descriptors run out.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::fd::SharedFd;
/// use runtime::{call, op};
/// use rustix::net::{RecvFlags, SendFlags, SocketType};
///
/// let (one, other) = call::socketpair(SocketType::STREAM)?;
/// let (one, other) = (SharedFd::new(one), SharedFd::new(other));
/// call::try_send(&one, b"hello", SendFlags::empty())?;
/// let recv = op::socket::Recv { fd: other, buf: [0; 5], flags: RecvFlags::empty(), poll_first: false };
/// let (_count, greeting) = runtime::submit(recv).await?;
/// assert_eq!(&greeting, b"hello");
/// # Ok(()) }
/// ```
pub fn socketpair(kind: SocketType) -> io::Result<(Fd, Fd)> {
    socket_now(SocketRequest::Pair { kind })?.pair()
}

/// Makes a pipe: the end to read from, and the end to write to. `pipe2(2)`, close-on-exec; a plain system call, which
/// never blocks.
///
/// [`Read`](crate::op::file::Read) and [`Write`](crate::op::file::Write) at the [cursor](Position::Cursor) are what it
/// is used with. It holds 64 KiB unless the system says otherwise.
///
/// # Errors
///
/// EMFILE and ENFILE when descriptors run out.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::fd::SharedFd;
/// use runtime::op::file::{Position, Read, Write};
/// use runtime::{call, submit};
///
/// let (reader, writer) = call::pipe()?;
/// let write = Write { fd: SharedFd::new(writer), buf: "hello", position: Position::Cursor };
/// submit(write).await?;                                   // the op was its last owner, so the pipe ends here
/// let fd = SharedFd::new(reader);
/// let (count, buf) = submit(Read { fd: fd.clone(), buf: [0; 16], position: Position::Cursor }).await?;
/// assert_eq!(&buf[..count], b"hello");
/// let (count, _buf) = submit(Read { fd, buf: [0; 16], position: Position::Cursor }).await?;
/// assert_eq!(count, 0);
/// # Ok(()) }
/// ```
pub fn pipe() -> io::Result<(Fd, Fd)> {
    now(Request::File(FileRequest::Pipe))?.pair()
}

/// Moves the cursor of an open file, and says where it is then, from the start. `lseek(2)`, which does not wait.
///
/// # Errors
///
/// ESPIPE ([`NotSeekable`](io::ErrorKind::NotSeekable)) for pipes, sockets and terminals;
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for a place before the start, or beyond what the file system has.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::io::SeekFrom;
/// use std::os::fd::OwnedFd;
/// use runtime::{call, fd::SharedFd};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// assert_eq!(call::seek(&fd, SeekFrom::End(0))?, std::fs::metadata("Cargo.toml")?.len());
/// # Ok(()) }
/// ```
pub fn seek(fd: &SharedFd, to: io::SeekFrom) -> io::Result<u64> {
    let mut out = 0;
    now(Request::File(FileRequest::Seek { fd: fd.borrow(), to, out: &mut out }))?;
    Ok(out)
}

/// Gives the socket an address of ours. `bind(2)`; a plain system call, which never blocks on an address, and on a disk
/// only as far as the folder of a unix socket's name is not in memory.
///
/// # Errors
///
/// EADDRINUSE, EADDRNOTAVAIL, EACCES as bind(2) says. A unix socket's name is used until its file is removed, which is
/// the program's to do.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::net::SocketAddr;
/// use runtime::{call, fd::SharedFd, op::socket::{AddressFamily, End, SocketType}};
///
/// let socket = SharedFd::new(call::socket(AddressFamily::INET, SocketType::DGRAM, None)?);
/// call::bind(&socket, SocketAddr::from(([127, 0, 0, 1], 0)))?;
/// assert_ne!(call::name(&socket, End::Local)?.ip()?.port(), 0);           // the kernel's choice
/// # Ok(()) }
/// ```
pub fn bind(fd: &SharedFd, address: impl Into<SocketAddress>) -> io::Result<()> {
    let address = address.into();
    socket_now(SocketRequest::Bind { fd: fd.borrow(), address: &address }).map(drop)
}

/// Takes connections from now on, up to `backlog` of them unaccepted. `listen(2)`; a plain system call, which never
/// blocks.
///
/// # Errors
///
/// EADDRINUSE when another socket listens there.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::net::{SocketAddr, TcpStream};
/// use runtime::{call, fd::SharedFd, op::socket::{AddressFamily, End, SocketType}};
///
/// let socket = SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None)?);
/// call::bind(&socket, SocketAddr::from(([127, 0, 0, 1], 0)))?;
/// let address = call::name(&socket, End::Local)?.ip()?;
/// assert!(TcpStream::connect(address).is_err());
/// call::listen(&socket, 16)?;
/// assert!(TcpStream::connect(address).is_ok());
/// # Ok(()) }
/// ```
pub fn listen(fd: &SharedFd, backlog: i32) -> io::Result<()> {
    socket_now(SocketRequest::Listen { fd: fd.borrow(), backlog }).map(drop)
}

/// Shuts down one or both directions. `shutdown(2)`; a plain system call: through a ring it costs twice as much.
///
/// # Errors
///
/// ENOTCONN when there is no connection; EBADF for a simulated descriptor outside of its runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::op::socket::{RecvFlags, Shutdown, SocketType};
/// use runtime::{call, fd::SharedFd};
///
/// let (one, other) = call::socketpair(SocketType::STREAM)?;
/// call::shutdown(&SharedFd::new(one), Shutdown::Write)?;
/// let received = call::try_recv(&SharedFd::new(other), &mut [0; 8], RecvFlags::empty())?;
/// assert_eq!(received, 0);
/// # Ok(()) }
/// ```
pub fn shutdown(fd: &SharedFd, how: Shutdown) -> io::Result<()> {
    core::call_anywhere(&mut Request::Socket(SocketRequest::Shutdown { fd: fd.borrow(), how })).map(drop)
}

/// The address of one end: [`ip`](SocketAddress::ip) or [`unix`](SocketAddress::unix), as the socket is.
/// `getsockname(2)`, `getpeername(2)`; a plain system call, which never blocks.
///
/// # Errors
///
/// ENOTCONN for the peer of a socket without one; EBADF for a simulated descriptor outside of its runtime. A real one's
/// is told anywhere, so that a handle that outlives its runtime can still be shown.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{call, fd::SharedFd, op::socket::End};
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let socket = SharedFd::new(OwnedFd::from(listener.try_clone()?));
/// assert_eq!(call::name(&socket, End::Local)?.ip()?, listener.local_addr()?);
/// assert_eq!(call::name(&socket, End::Peer).unwrap_err().kind(), std::io::ErrorKind::NotConnected);
/// # Ok(()) }
/// ```
pub fn name(fd: &SharedFd, end: End) -> io::Result<SocketAddress> {
    let mut address = SocketAddress::room();
    core::call_anywhere(&mut Request::Socket(SocketRequest::Name { fd: fd.borrow(), end, address: &mut address }))?;
    Ok(address)
}

/// Sets an option. `setsockopt(2)`; a plain system call, which never blocks.
///
/// # Errors
///
/// As setsockopt(2) says; EBADF for a simulated descriptor outside of its runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::op::socket::{AddressFamily, SocketOption, SocketType};
/// use runtime::{call, fd::SharedFd};
///
/// let socket = SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None)?);
/// call::set_option(&socket, SocketOption::NoDelay(true))?;
/// assert!(rustix::net::sockopt::tcp_nodelay(socket.os()?)?);
/// # Ok(()) }
/// ```
pub fn set_option(fd: &SharedFd, option: SocketOption) -> io::Result<()> {
    core::call_anywhere(&mut Request::Socket(SocketRequest::SetOption { fd: fd.borrow(), option })).map(drop)
}

/// Receives what is there, without waiting, straight into `buf`. `recv(2)` with `MSG_DONTWAIT`.
///
/// Returns how many bytes came; 0 is the end, or an empty `buf`.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing is there (EAGAIN), and, without a number, when the task has
/// had its share of this turn. Everything else is recv(2)'s.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::op::socket::{RecvFlags, SendFlags, SocketType};
/// use runtime::{call, fd::SharedFd};
///
/// let (one, other) = call::socketpair(SocketType::STREAM)?;
/// let (one, other) = (SharedFd::new(one), SharedFd::new(other));
/// let mut buf = [0; 8];
/// let nothing = call::try_recv(&other, &mut buf, RecvFlags::empty()).unwrap_err();
/// assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
/// call::try_send(&one, b"hello", SendFlags::empty())?;
/// let received = call::try_recv(&other, &mut buf, RecvFlags::empty())?;
/// assert_eq!(&buf[..received], b"hello");
/// # Ok(()) }
/// ```
#[inline]
pub fn try_recv(fd: &SharedFd, buf: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    try_now(Request::Socket(SocketRequest::Recv {
        fd: fd.borrow(),
        buf,
        flags: flags | RecvFlags::DONTWAIT,
        poll_first: false,
    }))?
    .count()
}

/// Sends what there is room for, without waiting, straight from `buf`. `send(2)` with `MSG_DONTWAIT | MSG_NOSIGNAL`.
///
/// Returns how many bytes went out; fewer than all is normal for a stream.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is no room (EAGAIN), and, without a number, when the task has
/// had its share of this turn. Everything else is send(2)'s.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::op::socket::{SendFlags, SocketType};
/// use runtime::{call, fd::SharedFd};
///
/// let (one, other) = call::socketpair(SocketType::STREAM)?;
/// let one = SharedFd::new(one);
/// assert_eq!(call::try_send(&one, b"hello", SendFlags::empty())?, 5);
/// drop(other);
/// let nobody = call::try_send(&one, b"hello", SendFlags::empty()).unwrap_err();
/// assert_eq!(nobody.kind(), std::io::ErrorKind::BrokenPipe);
/// # Ok(()) }
/// ```
#[inline]
pub fn try_send(fd: &SharedFd, buf: &[u8], flags: SendFlags) -> io::Result<usize> {
    try_now(Request::Socket(SocketRequest::Send {
        fd: fd.borrow(),
        buf,
        flags: flags | SendFlags::DONTWAIT,
        whole: false,
    }))?
    .count()
}

/// About an open file, at once. `statx(2)`: on this path it reads what the inode has in memory, except on a network
/// file system, and costs a fifth of the same through a ring.
///
/// # Errors
///
/// EIO and ESTALE of network file systems.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{call, fd::SharedFd};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// assert_eq!(call::stat_now(&fd)?.size, std::fs::metadata("Cargo.toml")?.len());
/// # Ok(()) }
/// ```
pub fn stat_now(fd: &SharedFd) -> io::Result<Statx> {
    let mut out = Statx::default();
    now(Request::Path(PathRequest::Statx {
        dir: fd.borrow(),
        path: c"",
        flags: AtFlags::EMPTY_PATH,
        mask: StatxFlags::BASIC_STATS | StatxFlags::BTIME,
        out: &mut out,
    }))?;
    Ok(out)
}

/// Reads what is in memory, without waiting for a disk, straight into `buf`. `preadv2(2)` with `RWF_NOWAIT`.
///
/// Returns how many bytes came: perhaps only the part that is in memory. 0 is the end of the file, or an empty `buf`.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing is in memory, and when the task has had its share of this
/// turn; [`Unsupported`](io::ErrorKind::Unsupported) where the file system cannot tell;
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for an offset above `i64::MAX`.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::io::ErrorKind;
/// use std::os::fd::OwnedFd;
/// use runtime::{call, fd::SharedFd, op::file::Position};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// let mut buf = [0; 9];
/// match call::try_read(&fd, &mut buf, Position::At(0)) {
///     Ok(count) => assert!(b"[package]".starts_with(&buf[..count])),
///     Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Unsupported)),
/// }
/// # Ok(()) }
/// ```
// A cached read is little more than this.
#[inline(always)]
pub fn try_read(fd: &SharedFd, buf: &mut [u8], position: Position) -> io::Result<usize> {
    position.check()?;
    try_now(Request::File(FileRequest::Read { fd: fd.borrow(), buf, position, flags: ReadWriteFlags::NOWAIT }))?.count()
}

/// Writes what there is room for, without waiting, straight from `buf`: to a pipe, say. `pwritev2(2)` with
/// `RWF_NOWAIT`.
///
/// Returns how many bytes went out, and fewer than all is normal; up to 4096 (`PIPE_BUF`) go into a pipe whole or not
/// at all.
///
/// # Errors
///
/// [`WouldBlock`](io::ErrorKind::WouldBlock) when there is no room (EAGAIN), and, without a number, when the task has
/// had its share of this turn; [`Unsupported`](io::ErrorKind::Unsupported) where the kernel cannot tell, as of
/// terminals and of files on most file systems; [`InvalidInput`](io::ErrorKind::InvalidInput) for an offset above
/// `i64::MAX`. A pipe that nobody reads answers EPIPE; Rust programs ignore the SIGPIPE that comes with it. Everything
/// else is pwritev2(2)'s.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::io::ErrorKind;
/// use runtime::{call, fd::SharedFd, op::file::Position};
///
/// let (reader, writer) = call::pipe()?;
/// let writer = SharedFd::new(writer);
/// let room = call::try_write(&writer, &[7; 1 << 20], Position::Cursor)?;
/// assert!(room < 1 << 20);
/// let full = call::try_write(&writer, b"more", Position::Cursor).unwrap_err();
/// assert_eq!(full.kind(), ErrorKind::WouldBlock);
/// drop(reader);
/// let nobody = call::try_write(&writer, b"more", Position::Cursor).unwrap_err();
/// assert_eq!(nobody.kind(), ErrorKind::BrokenPipe);
/// # Ok(()) }
/// ```
#[inline]
pub fn try_write(fd: &SharedFd, buf: &[u8], position: Position) -> io::Result<usize> {
    position.check()?;
    try_now(Request::File(FileRequest::Write { fd: fd.borrow(), buf, position, flags: ReadWriteFlags::NOWAIT }))?
        .count()
}

//! Ops on datagrams: send one to an address, receive one and learn whose it is.
//!
//! A send never waits. On a ring one that did would go out empty: the kernel drops at the first try what it should send
//! at the second (seen on Linux 6.18). And where another unix socket has no room, no event tells that it has again.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicPtr;

use io_uring::{opcode, squeue, types};
use rustix::net::{RecvFlags, SendFlags};

use super::address::SocketAddress;
use super::{Answered, OnDrop, Op, Reply, Request, Way, len_asked, ready::Interest, socket};
use crate::buf::{BufResult, IoBuf, IoBufMut, with_buf};
use crate::fd::{FdRef, SharedFd};

/// What is asked of a socket that is not connected to one peer.
#[non_exhaustive]
pub enum DatagramRequest<'a> {
    /// Send one: EAGAIN if there is no room. Never raises SIGPIPE.
    SendTo {
        /// The socket.
        fd: FdRef<'a>,
        /// The contents.
        buf: &'a [u8],
        /// The address to send to.
        to: &'a SocketAddress,
        /// `sendto(2)`'s flags.
        flags: SendFlags,
    },
    /// Receive one.
    RecvFrom {
        /// The socket.
        fd: FdRef<'a>,
        /// Filled from its start; what does not fit is gone.
        buf: &'a mut [u8],
        /// Where the sender's address is written.
        from: &'a mut Sender,
        /// `DONTWAIT` answers EAGAIN instead of waiting.
        flags: RecvFlags,
        /// Set it if the socket was empty at the last receive: then the kernel waits before it tries.
        poll_first: bool,
    },
}

/// Room for the sender's address of a datagram, and the `struct msghdr` that tells a ring where to write it.
#[derive(Debug)]
pub struct Sender {
    address: SocketAddress,
    message: Message,
    part: Part,
}

/// `struct msghdr` of the kernel's. Its pointers are atomics because those may go to another thread with their op;
/// nobody but the kernel follows them.
#[derive(Debug)]
#[repr(C)]
struct Message {
    name: AtomicPtr<u8>,
    name_len: u32,
    parts: AtomicPtr<Part>,
    parts_len: usize,
    control: AtomicPtr<u8>,
    control_len: usize,
    flags: u32,
}

/// `struct iovec`.
#[derive(Debug)]
#[repr(C)]
struct Part {
    base: AtomicPtr<u8>,
    len: usize,
}

impl Sender {
    /// Room for an address that has not been received yet.
    pub fn room() -> Sender {
        let message = Message {
            name: AtomicPtr::default(),
            name_len: 0,
            parts: AtomicPtr::default(),
            parts_len: 1,
            control: AtomicPtr::default(),
            control_len: 0,
            flags: 0,
        };
        Sender { address: SocketAddress::room(), message, part: Part { base: AtomicPtr::default(), len: 0 } }
    }

    /// For a ring: it points to where it lies now, which is where it stays until the last reply.
    fn point_to(&mut self, buf: &mut [u8]) -> *mut Message {
        self.part = Part { base: AtomicPtr::new(buf.as_mut_ptr()), len: buf.len().min(super::LEN_MAX) };
        self.message.parts = AtomicPtr::new(&raw mut self.part);
        self.message.name_len = SocketAddress::ROOM;
        self.message.name = AtomicPtr::new(self.address.raw_mut().0);
        &raw mut self.message
    }

    /// For who knows it: a plain syscall, a simulated kernel.
    pub(crate) fn set(&mut self, address: SocketAddress) {
        self.message.name_len = u32::try_from(address.len()).expect("a small number");
        self.address = address;
    }

    /// The sender's address, once a datagram was received. Streams and unnamed unix sockets report none.
    pub fn address(&self) -> SocketAddress {
        self.address.cut(self.message.name_len)
    }
}

impl<'a> DatagramRequest<'a> {
    #[inline(always)]
    pub(super) fn sqe(&mut self) -> squeue::Entry {
        match self {
            DatagramRequest::SendTo { fd, buf, to, flags } => {
                let (address, len) = to.raw();
                opcode::Send::new(types::Fd(fd.number()), buf.as_ptr(), len_asked(buf.len()))
                    .flags((*flags | AT_ONCE).bits().cast_signed())
                    .dest_addr(address.cast())
                    .dest_addr_len(len)
                    .build()
            }
            DatagramRequest::RecvFrom { fd, buf, from, flags, poll_first } => {
                opcode::RecvMsg::new(types::Fd(fd.number()), from.point_to(buf).cast())
                    .flags(flags.bits())
                    .ioprio(if *poll_first { socket::POLL_FIRST } else { 0 })
                    .build()
            }
        }
    }

    /// Waits for nothing: EAGAIN says that it would have to.
    pub(super) fn call(&mut self) -> Answered {
        match self {
            DatagramRequest::SendTo { fd, buf, to, flags } => {
                let buf = &buf[..buf.len().min(super::LEN_MAX)];
                rustix::net::sendto(fd.os()?, buf, *flags | AT_ONCE, &to.any()?).map(Reply::Count)
            }
            DatagramRequest::RecvFrom { fd, buf, from, flags, .. } => {
                let len = buf.len().min(super::LEN_MAX);
                let flags = *flags | RecvFlags::DONTWAIT;
                let (_, count, address) = rustix::net::recvfrom(fd.os()?, &mut buf[..len], flags)?;
                from.set(SocketAddress::of_any(address));
                Ok(Reply::Count(count))
            }
        }
    }

    pub(super) fn way(&self) -> Way<'a> {
        match *self {
            DatagramRequest::RecvFrom { fd, flags, .. } if !flags.contains(RecvFlags::DONTWAIT) => {
                Way::Ready(fd, Interest::READABLE)
            }
            DatagramRequest::SendTo { .. } | DatagramRequest::RecvFrom { .. } => Way::Inline,
        }
    }

    /// Whoever receives may know that nothing is there.
    pub(super) fn expects_to_wait(&self) -> bool {
        matches!(self, DatagramRequest::RecvFrom { poll_first: true, .. })
    }
}

const AT_ONCE: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl fmt::Debug for DatagramRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatagramRequest::SendTo { fd, buf, to, .. } => write!(f, "send {} bytes on {fd:?} to {to:?}", buf.len()),
            DatagramRequest::RecvFrom { fd, buf, .. } => {
                write!(f, "receive a datagram of {} bytes on {fd:?}", buf.len())
            }
        }
    }
}

/// Sends a datagram, or fails if there is no room for it. `sendto(2)`, with `MSG_DONTWAIT` and `MSG_NOSIGNAL`.
///
/// Returns how many bytes were sent, which is all of them, and the buffer. An empty datagram is sent, too. Success does
/// not mean that it arrives: UDP may drop it anywhere, for example at the receiver's full queue.
///
/// # Errors
///
/// The buffer comes back in the error. [`WouldBlock`](io::ErrorKind::WouldBlock) if there is no room: either in the
/// socket's own buffer, and [`Poll`](super::ready::Poll) waits for room there; or, with unix sockets, in the receiver's
/// queue, which cannot be polled, so try again later. EMSGSIZE for more than the protocol carries: 65,507 bytes over
/// IPv4. With unix sockets a name that no socket has is reported at once (ENOENT, ECONNREFUSED); with UDP only a
/// connected socket is told of a refusal, by its next call. All others are sendto(2)'s.
///
/// # Cancel safety
///
/// A future that was polled once sends, even if it is dropped.
///
/// # io_uring
///
/// `IORING_OP_SEND` with an address (6.1).
///
/// # Examples
///
/// Waiting for room in the socket's own buffer:
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::{io, net::UdpSocket, os::fd::OwnedFd};
/// use runtime::fd::SharedFd;
/// use runtime::op::{datagram::SendTo, ready::{Interest, Poll}, socket::SendFlags};
/// use runtime::submit;
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let to = server.local_addr()?.into();
/// let fd = SharedFd::new(OwnedFd::from(UdpSocket::bind("127.0.0.1:0")?));
/// let mut buf = b"hello".to_vec();
/// loop {
///     match submit(SendTo { fd: fd.clone(), buf, to, flags: SendFlags::empty() }).await {
///         Err(error) if error.kind() == io::ErrorKind::WouldBlock => buf = error.into_buf(),
///         sent => break assert_eq!(sent?.0, 5),
///     }
///     submit(Poll { fd: fd.clone(), interest: Interest::WRITABLE }).await?;
/// }
/// assert_eq!(server.recv(&mut [0; 64])?, 5);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SendTo<B> {
    /// The socket.
    pub fd: SharedFd,
    /// What is in it.
    pub buf: B,
    /// To whom.
    pub to: SocketAddress,
    /// `sendto(2)`'s flags.
    pub flags: SendFlags,
}

impl<B: IoBuf> Op for SendTo<B> {
    type Output = BufResult<usize, B>;

    // There is nothing to stop.
    const ON_DROP: OnDrop = OnDrop::Finish;

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Datagram(DatagramRequest::SendTo {
            fd: self.fd.borrow(),
            buf: self.buf.bytes(),
            to: &self.to,
            flags: self.flags,
        })
    }

    #[inline]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        with_buf(reply.and_then(Reply::count), self.buf)
    }
}

/// Receives a datagram and its sender's address. `recvfrom(2)`.
///
/// Returns how many bytes were received and from whom, and the buffer. What does not fit is lost, as in std; with
/// `RecvFlags::TRUNC` the count is the length of the datagram, which may be more than the buffer holds. 0 is an empty
/// datagram, or any datagram if the buffer is empty. It works on streams, too, but without an address.
///
/// # Errors
///
/// The buffer comes back in the error. ECONNREFUSED if an earlier datagram of a connected socket found no receiver. All
/// others are recvfrom(2)'s.
///
/// # Cancel safety
///
/// Dropping the future asks the kernel to stop, but a datagram may have been received already. [`abandon`](Op::abandon)
/// gets that one, and drops it. To lose none, keep the future and poll it again, as `net`'s streams do with their
/// receives; or wait with [`Poll`](super::ready::Poll), which takes nothing, and receive with `DONTWAIT`.
///
/// # io_uring
///
/// `IORING_OP_RECVMSG` (5.3).
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::{net::UdpSocket, os::fd::OwnedFd};
/// use runtime::fd::SharedFd;
/// use runtime::op::{datagram::{RecvFrom, Sender}, socket::RecvFlags};
///
/// let server = UdpSocket::bind("127.0.0.1:0")?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"hello", server.local_addr()?)?;
/// let fd = SharedFd::new(OwnedFd::from(server));
/// let recv = RecvFrom { fd, buf: [0; 64], from: Sender::room(), flags: RecvFlags::empty(), poll_first: false };
/// let ((count, from), buf) = runtime::submit(recv).await?;
/// assert_eq!((&buf[..count], from.ip()?), (&b"hello"[..], client.local_addr()?));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RecvFrom<B> {
    /// The socket.
    pub fd: SharedFd,
    /// Filled up to its length.
    pub buf: B,
    /// Where it is told whose it is.
    pub from: Sender,
    /// `recvfrom(2)`'s flags.
    pub flags: RecvFlags,
    /// The socket was empty when last looked at: wait first, do not try.
    pub poll_first: bool,
}

impl<B: IoBufMut> Op for RecvFrom<B> {
    type Output = BufResult<(usize, SocketAddress), B>;

    #[inline]
    fn request(&mut self) -> Request<'_> {
        Request::Datagram(DatagramRequest::RecvFrom {
            fd: self.fd.borrow(),
            buf: self.buf.bytes_mut(),
            from: &mut self.from,
            flags: self.flags,
            poll_first: self.poll_first,
        })
    }

    #[inline]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        let RecvFrom { buf, from, .. } = self;
        with_buf(reply.and_then(Reply::count).map(|count| (count, from.address())), buf)
    }
}

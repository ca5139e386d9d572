//! How the handle of a connection ends: it is closed, turned into std's, or moved to another core. Its ops in flight
//! end first, and errors that have not been reported yet are handed on.

use std::fmt;
use std::io::{self, Read};
use std::rc::Rc;

use runtime::fd::SharedFd;
use runtime::time::Duration;
use rustix::net::sockopt;

use super::TcpStream;
use crate::inbound::Inbound;
use crate::line::Line;
use crate::outbound::Sender;
use crate::tcp::detached::{DetachedTcpStream, into_fd, into_owned};

impl TcpStream {
    /// Closes the connection, and waits until that is done: until the piece of a dropped write has been sent, and for
    /// as long as [`set_linger`](TcpStream::set_linger) says.
    ///
    /// A [clone](TcpStream::try_clone) of the handle keeps the connection open.
    ///
    /// # Errors
    ///
    /// The error of a dropped write that has not been reported yet. The connection is closed all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the handle, which closes the connection.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of what is in flight, then close(2). Only a lingering socket makes that block; it
    /// is closed on the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (peer, _) = listener.accept().await?;
    /// stream.write_all(b"bye").await?;
    /// stream.close().await?;
    /// assert_eq!(peer.read(&mut [0; 8]).await?, 3);
    /// assert_eq!(peer.read(&mut [0; 8]).await?, 0);
    /// # Ok(()) }
    /// ```
    pub async fn close(self) -> io::Result<()> {
        let Ended { fd, inbound, outbound, linger } = self.end().await;
        let write_error = outbound.and_then(|outbound| outbound.take_failed());
        drop(inbound);
        if linger.is_some()
            && let Ok(owned) = into_owned(fd)
        {
            // It is set, and the descriptor closed, where that may block. A job that never begins closes at once.
            runtime::spawn_blocking(move || sockopt::set_socket_linger(owned, linger)).await??;
        }
        write_error.map_or(Ok(()), Err)
    }

    /// Turns it into a stream of std's, blocking, with the handle's timeouts. Also returns what only the handle had:
    /// see [`Remains`].
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel; EMFILE if a clone of the handle still exists,
    /// since the descriptor is then duplicated.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the handle, which closes the connection.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of what is in flight.
    ///
    /// # Examples
    ///
    /// Everything that the peer has sent, in order:
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (peer, _) = listener.accept().await?;
    /// # peer.write_all(b"hello").await?;
    /// # peer.close().await?;
    /// use std::io::Read;
    ///
    /// let (stream, remains): (std::net::TcpStream, net::Remains) = stream.into_std().await?;
    /// let mut text = String::new();
    /// remains.chain(stream).read_to_string(&mut text)?;
    /// assert_eq!(text, "hello");
    /// # Ok(()) }
    /// ```
    pub async fn into_std(self) -> io::Result<(std::net::TcpStream, Remains)> {
        let (read_timeout, write_timeout) = self.timeouts();
        let (owned, remains, linger) = self.end().await.take(into_owned)?;
        if linger.is_some() {
            sockopt::set_socket_linger(&owned, linger)?;
        }
        let stream = std::net::TcpStream::from(owned);
        // Also where there are none: the socket may have those with which it came from std.
        stream.set_read_timeout(read_timeout)?;
        stream.set_write_timeout(write_timeout)?;
        Ok((stream, remains))
    }

    /// Detaches it from this core, to be [attached](DetachedTcpStream::attach) on another.
    ///
    /// Ops in flight end first. Bytes that were received and not read move with it, and so do the timeouts, and the
    /// errors of dropped reads and writes that have not been reported yet.
    ///
    /// # Errors
    ///
    /// Only if a [clone](TcpStream::try_clone) of the handle still exists: EMFILE, since the descriptor is then
    /// duplicated, and [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel. The clone keeps what this
    /// handle had.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the handle, which closes the connection.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_ASYNC_CANCEL` (5.5) of what is in flight.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main(cores = 2)] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (stream, _peer) = listener.accept().await?;
    /// let stream = stream.detach().await?;
    /// let served = runtime::spawn_on(1, || async { stream.attach()?.write_all(b"from core 1").await });
    /// let (received, buf) = client.read_owned(vec![0; 32]).await?;
    /// assert_eq!(&buf[..received], b"from core 1");
    /// served.await?
    /// # }
    /// ```
    pub async fn detach(self) -> io::Result<DetachedTcpStream> {
        let (read_timeout, write_timeout) = self.timeouts();
        let (fd, remains, linger) = self.end().await.take(into_fd)?;
        Ok(DetachedTcpStream { fd, remains, read_timeout, write_timeout, linger })
    }

    pub(in crate::tcp) fn attached(detached: DetachedTcpStream) -> io::Result<TcpStream> {
        let DetachedTcpStream { fd, remains, read_timeout, write_timeout, linger } = detached;
        let Remains { unread, read_error, write_error } = remains;
        let stream = TcpStream::new(SharedFd::new(fd));
        if !unread.is_empty() || read_error.is_some() {
            stream.inbound().park(&unread);
            stream.inbound().set_failed(read_error);
        }
        if write_error.is_some() {
            stream.outbound().set_failed(write_error);
        }
        if read_timeout.is_some() {
            stream.inbound().limit.set(read_timeout)?;
        }
        if write_timeout.is_some() {
            stream.outbound().limit.set(write_timeout)?;
        }
        if linger.is_some() {
            stream.set_linger(linger)?;
        }
        Ok(stream)
    }

    fn timeouts(&self) -> (Option<Duration>, Option<Duration>) {
        let read = self.inbound.get().and_then(|inbound| inbound.limit.get());
        let write = self.outbound.get().and_then(|outbound| outbound.limit.get());
        (read, write)
    }

    /// Waits for ops whose future is gone, and ends what is in flight, unless a clone of the handle needs it.
    async fn end(self) -> Ended {
        let TcpStream { fd, inbound, outbound } = self;
        let mut ended = Ended { fd, inbound: inbound.into_inner(), outbound: outbound.into_inner(), linger: None };
        if let Some(outbound) = &ended.outbound {
            outbound.settled().await;
            if outbound.is_last() {
                outbound.end().await;
                if outbound.lingers.get() {
                    ended.linger = ended.fd.os().ok().and_then(|fd| sockopt::socket_linger(fd).ok()).flatten();
                }
            }
        }
        if let Some(inbound) = &ended.inbound {
            inbound.settled().await;
            if Rc::strong_count(inbound) == 1 {
                inbound.end().await;
            }
        }
        ended
    }
}

/// What only the handle of a connection knew when it [became std's](TcpStream::into_std): bytes that dropped reads
/// received, and errors of dropped calls. Usually it is empty.
///
/// [Reading](Read) from it continues as the connection would have: the bytes, then the error, once, then 0 bytes.
///
/// # Examples
///
/// See [`TcpStream::into_std`].
#[derive(Default)]
pub struct Remains {
    /// Bytes that were received and not read.
    pub unread: Vec<u8>,
    /// The error of a dropped read, which follows those bytes. The system reports it only once: afterwards the socket
    /// looks as if the peer had closed the connection normally.
    pub read_error: Option<io::Error>,
    /// The error of a dropped [`write_owned`](TcpStream::write_owned): not all of its piece was sent.
    pub write_error: Option<io::Error>,
}

impl Read for Remains {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return if buf.is_empty() { Ok(0) } else { self.read_error.take().map_or(Ok(0), Err) };
        }
        let len = self.unread.len().min(buf.len());
        buf[..len].copy_from_slice(&self.unread[..len]);
        self.unread.drain(..len);
        Ok(len)
    }
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remains")
            .field("unread", &self.unread.len())
            .field("read_error", &self.read_error)
            .field("write_error", &self.write_error)
            .finish()
    }
}

/// What is left of a stream when nothing is in flight any more.
struct Ended {
    fd: SharedFd,
    inbound: Option<Rc<Line<Inbound>>>,
    outbound: Option<Sender>,
    /// What is set, and is unset by dropping `outbound`, so that dropping this does not block.
    linger: Option<Duration>,
}

impl Ended {
    /// The descriptor as `owned` makes it, what nobody has heard of, and what lingering was set.
    fn take<T>(self, owned: impl FnOnce(SharedFd) -> io::Result<T>) -> io::Result<(T, Remains, Option<Duration>)> {
        let Ended { fd, inbound, outbound, linger } = self;
        // A clone lives, and the descriptor is duplicated: if that cannot be, it keeps what it has.
        if inbound.as_ref().is_some_and(|inbound| Rc::strong_count(inbound) > 1) {
            let fd = owned(fd)?;
            return Ok((fd, Remains::of(inbound, outbound), linger));
        }
        // Both hold the descriptor, too.
        let remains = Remains::of(inbound, outbound);
        Ok((owned(fd)?, remains, linger))
    }
}

impl Remains {
    fn of(inbound: Option<Rc<Line<Inbound>>>, outbound: Option<Sender>) -> Remains {
        Remains {
            unread: inbound.as_ref().map(|inbound| inbound.take_all_parked()).unwrap_or_default(),
            read_error: inbound.and_then(|inbound| inbound.take_failed()),
            write_error: outbound.and_then(|outbound| outbound.take_failed()),
        }
    }
}

//! Writing to a TCP connection.

use std::io;

use runtime::buf::{BufError, BufResult, IoBuf, with_buf};
use runtime::time::Duration;

use super::TcpStream;
use crate::limit::within;
use crate::outbound::Sending;

impl TcpStream {
    /// Writes as much as there is room for, and waits if there is none. [`std::io::Write::write`].
    ///
    /// Returns how many bytes of `buf` were sent; fewer than all is normal.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the peer does not read any more (there is never a SIGPIPE);
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when a [timeout](TcpStream::set_write_timeout) is over; the error of a
    /// dropped [`write_owned`](TcpStream::write_owned) that has not been reported yet. All others are send(2)'s.
    ///
    /// # Cancel safety
    ///
    /// A dropped `write` has written nothing.
    ///
    /// # io_uring
    ///
    /// send(2) straight from `buf`. The first write for which there is no room starts an `IORING_OP_POLL_ADD`,
    /// multishot (5.13), which serves all later writes.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let written = stream.write(b"hello").await?;
    /// assert!(written > 0);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let outbound = self.outbound();
        let deadline = outbound.limit.deadline();
        let turn = within(deadline, outbound.turn()).await?;
        within(deadline, turn.send(buf)).await?
    }

    /// Writes all of `buf`. [`std::io::Write::write_all`].
    ///
    /// What other tasks write through this handle or its clones is sent before or after it, not in between.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write). A part of `buf` may have been sent.
    ///
    /// # Cancel safety
    ///
    /// A dropped `write_all` has written some part from the start of `buf`, and does not say how much. Use
    /// [`write`](TcpStream::write) to know.
    ///
    /// # io_uring
    ///
    /// As [`write`](TcpStream::write).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (stream, _) = listener.accept().await?;
    /// client.write_all(b"hello").await?;
    /// # stream.read_exact(&mut [0; 5]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        let outbound = self.outbound();
        let turn = within(outbound.limit.deadline(), outbound.turn()).await?;
        while !buf.is_empty() {
            match within(outbound.limit.deadline(), turn.send(buf)).await?? {
                0 => return Err(write_zero()),
                sent => buf = &buf[sent..],
            }
        }
        Ok(())
    }

    /// As [`write`](TcpStream::write), from a buffer that the kernel reads directly.
    ///
    /// Returns how many bytes were sent, at most 256 KiB, and the buffer.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write); the buffer comes back in the error, and `?` drops it.
    ///
    /// # Cancel safety
    ///
    /// Once it is in flight, the write is completed, up to 256 KiB of it, before anything that is written later; a
    /// write that still waits for its turn has written nothing. If it fails, the next write,
    /// [`flush`](TcpStream::flush), [`shutdown`](TcpStream::shutdown) or [`close`](TcpStream::close) returns the error.
    /// The buffer is lost. Those four wait for the peer as long as it takes. To give up on a peer, bound them by a
    /// [`timeout`](runtime::time::timeout) and drop the handle, which [waits for a minute at most](TcpStream).
    ///
    /// # io_uring
    ///
    /// `IORING_OP_SEND` (5.6) with `MSG_WAITALL | MSG_NOSIGNAL`; send(2) where that is
    /// [cheaper](runtime::call::cheaper) and there is room. The fallback waits with epoll.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let (written, buf) = stream.write_owned(vec![7; 1000]).await?;
    /// assert_eq!((written, buf.len()), (1000, 1000));
    /// # Ok(()) }
    /// ```
    pub async fn write_owned<B: IoBuf>(&self, buf: B) -> BufResult<usize, B> {
        let outbound = self.outbound();
        let deadline = outbound.limit.deadline();
        match within(deadline, outbound.turn()).await {
            Ok(turn) => {
                let (sending, sent) = Sending::new(turn, buf).send(outbound, deadline).await;
                with_buf(sent, sending.buf)
            }
            Err(expired) => Err(BufError::new(expired, buf)),
        }
    }

    /// As [`write_all`](TcpStream::write_all), from a buffer that the kernel reads directly.
    ///
    /// # Errors
    ///
    /// As [`write_all`](TcpStream::write_all); the buffer comes back in the error, and `?` drops it.
    ///
    /// # Cancel safety
    ///
    /// The piece in flight, at most 256 KiB, is sent whole; see [`write_owned`](TcpStream::write_owned). What follows
    /// it is not sent.
    ///
    /// # io_uring
    ///
    /// As [`write_owned`](TcpStream::write_owned), piece by piece.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// let ((), buf) = stream.write_all_owned(String::from("hello")).await?;
    /// assert_eq!(buf, "hello");
    /// # Ok(()) }
    /// ```
    pub async fn write_all_owned<B: IoBuf>(&self, buf: B) -> BufResult<(), B> {
        if buf.bytes().is_empty() {
            return Ok(((), buf));
        }
        let outbound = self.outbound();
        let turn = match within(outbound.limit.deadline(), outbound.turn()).await {
            Ok(turn) => turn,
            Err(expired) => return Err(BufError::new(expired, buf)),
        };
        let mut sending = Sending::new(turn, buf);
        while sending.sent < sending.buf.bytes().len() {
            let sent;
            (sending, sent) = sending.send(outbound, outbound.limit.deadline()).await;
            match sent {
                Ok(0) => return Err(BufError::new(write_zero(), sending.buf)),
                Ok(_) => {}
                Err(error) => return Err(BufError::new(error, sending.buf)),
            }
        }
        Ok(((), sending.buf))
    }

    /// Waits until the piece of a dropped [`write_owned`](TcpStream::write_owned) has been handed to the system. (In
    /// std, [`flush`](std::io::Write::flush) of a stream does nothing.)
    ///
    /// # Errors
    ///
    /// The error of the dropped write.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # io_uring
    ///
    /// No op of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// stream.write_all(b"hello").await?;
    /// stream.flush().await?;
    /// # Ok(()) }
    /// ```
    pub async fn flush(&self) -> io::Result<()> {
        match self.outbound.get() {
            Some(outbound) => {
                outbound.settled().await;
                outbound.check()
            }
            None => Ok(()),
        }
    }

    /// Sets how long a write may wait; `None` means without limit. [`std::net::TcpStream::set_write_timeout`].
    ///
    /// After that time it fails with [`WouldBlock`](io::ErrorKind::WouldBlock), as in std on Linux, and has written
    /// nothing. Clones of the handle share the timeout. It uses the core's timers; the socket's own `SO_SNDTIMEO` is
    /// not changed until the handle [becomes std's](TcpStream::into_std).
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for `Some(ZERO)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let stream = net::TcpStream::connect(listener.local_addr()?).await?;
    /// use std::time::Duration;
    ///
    /// stream.set_write_timeout(Some(Duration::from_millis(1)))?;
    /// assert_eq!(stream.write_timeout()?, Some(Duration::from_millis(1)));
    /// // Nobody reads, so at some time there is no room.
    /// let late = stream.write_all(&vec![0; 64 << 20]).await.unwrap_err();
    /// assert_eq!(late.kind(), std::io::ErrorKind::WouldBlock);
    /// # Ok(()) }
    /// ```
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.outbound().limit.set(timeout)
    }

    /// The value of [`set_write_timeout`](TcpStream::set_write_timeout). [`std::net::TcpStream::write_timeout`].
    ///
    /// # Errors
    ///
    /// None; std's has some.
    ///
    /// # Examples
    ///
    /// See [`set_write_timeout`](TcpStream::set_write_timeout).
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.outbound.get().and_then(|outbound| outbound.limit.get()))
    }
}

/// In std's words.
fn write_zero() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "failed to write whole buffer")
}

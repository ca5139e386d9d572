//! Writing to a TCP connection.

use std::io;

use runtime::buf::{BufError, BufResult, IoBuf, with_buf};
use runtime::time::Duration;

use super::TcpStream;
use crate::limit::within;
use crate::outbound::Sending;

impl TcpStream {
    /// Writes what there is room for, and waits if there is none. [`std::io::Write::write`].
    ///
    /// Returns how many bytes of `buf` went out; fewer than all is normal.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when nobody reads any more, and never a signal;
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when a [timeout](TcpStream::set_write_timeout) is over; that of a
    /// dropped [`write_owned`](TcpStream::write_owned), of which nobody has heard yet. Everything else is send(2)'s.
    ///
    /// # Cancel safety
    ///
    /// A dropped `write` has written nothing.
    ///
    /// # io_uring
    ///
    /// send(2) straight from `buf`. The first write for which there is no room asks for `IORING_OP_POLL_ADD`, multishot
    /// (5.13), which serves all later ones.
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
    /// What others write through this handle or its clones comes before or behind it, not in between.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write). A part may be out by then.
    ///
    /// # Cancel safety
    ///
    /// A dropped `write_all` has written a part, and nobody knows which. [`write`](TcpStream::write) tells.
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
    /// Returns how many bytes went out, at most 256 KiB, and the buffer.
    ///
    /// # Errors
    ///
    /// As [`write`](TcpStream::write); the buffer comes back in the error, and `?` drops it.
    ///
    /// # Cancel safety
    ///
    /// Once it is in flight, what was to go out goes out, at most 256 KiB of it, before anything that is written later;
    /// a write that still waits for its turn behind others has written nothing. If it fails, the next write,
    /// [`flush`](TcpStream::flush), [`shutdown`](TcpStream::shutdown) or [`close`](TcpStream::close) returns the error.
    /// The buffer is gone. Those four wait for a peer as long as it takes. To give one up, bound them by a
    /// [`timeout`](runtime::time::timeout) and drop the handle, which [waits for no more than a minute](TcpStream).
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
    /// The piece in flight, at most 256 KiB, goes out whole; see [`write_owned`](TcpStream::write_owned). What is
    /// behind it does not.
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

    /// Waits until the piece of a dropped [`write_owned`](TcpStream::write_owned) is with the system.
    /// [`std::io::Write::flush`], which never has anything to do.
    ///
    /// # Errors
    ///
    /// That of the dropped write.
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

    /// How long a write may wait; `None` is for ever. [`std::net::TcpStream::set_write_timeout`].
    ///
    /// Then it fails with [`WouldBlock`](io::ErrorKind::WouldBlock), as std's does on Linux, and has written nothing.
    /// Clones of the handle share it. The core's timers keep it; the socket's own `SO_SNDTIMEO` stays as it is until
    /// the handle [becomes std's](TcpStream::into_std).
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

    /// What [`set_write_timeout`](TcpStream::set_write_timeout) set. [`std::net::TcpStream::write_timeout`].
    ///
    /// # Errors
    ///
    /// None; std's has some.
    ///
    /// # Examples
    ///
    /// As of [`set_write_timeout`](TcpStream::set_write_timeout).
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.outbound.get().and_then(|outbound| outbound.limit.get()))
    }
}

/// In std's words.
fn write_zero() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "failed to write whole buffer")
}

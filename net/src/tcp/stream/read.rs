//! Reading from a TCP connection.

use std::io;

use runtime::buf::{BufError, BufResult, IoBufMut, with_buf};
use runtime::time::Duration;

use super::TcpStream;
use crate::inbound::{Filling, Receiving, unexpected_end};
use crate::limit::within;

impl TcpStream {
    /// Reads available bytes into `buf`, and waits if there are none. [`std::io::Read::read`].
    ///
    /// Returns how many bytes were read. Fewer than `buf` holds is normal; 0 is the end, or an empty `buf`.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when a [timeout](TcpStream::set_read_timeout) is over. All others are
    /// recv(2)'s.
    ///
    /// # Cancel safety
    ///
    /// A dropped `read` has read nothing.
    ///
    /// # io_uring
    ///
    /// recv(2) straight into `buf`. The first read that must wait starts an `IORING_OP_POLL_ADD`, multishot (5.13),
    /// which serves all later reads.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (stream, _) = listener.accept().await?;
    /// # client.write_all(b"hello").await?;
    /// let mut buf = [0; 16];
    /// let received = stream.read(&mut buf).await?;
    /// assert!(b"hello".starts_with(&buf[..received]));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let inbound = self.inbound();
        let deadline = inbound.limit.deadline();
        let turn = within(deadline, inbound.turn()).await?;
        within(deadline, turn.receive(buf)).await?
    }

    /// As [`read`](TcpStream::read), but the bytes stay to be read again. [`std::net::TcpStream::peek`].
    ///
    /// # Errors
    ///
    /// As [`read`](TcpStream::read).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    ///
    /// # io_uring
    ///
    /// As [`read`](TcpStream::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (stream, _) = listener.accept().await?;
    /// # client.write_all(b"hello").await?;
    /// let mut first = [0; 1];
    /// stream.peek(&mut first).await?;
    /// let (received, buf) = stream.read_owned([0; 16]).await?;
    /// assert_eq!(buf[0], first[0]);
    /// # Ok(()) }
    /// ```
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let inbound = self.inbound();
        let deadline = inbound.limit.deadline();
        let turn = within(deadline, inbound.turn()).await?;
        within(deadline, turn.peek(buf)).await?
    }

    /// Fills `buf`. [`std::io::Read::read_exact`].
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the stream ends first; otherwise as
    /// [`read`](TcpStream::read). After an error nothing was read: what arrived is still there for the next read.
    ///
    /// # Cancel safety
    ///
    /// A dropped `read_exact` has read nothing: what arrived is still there for the next read.
    ///
    /// # io_uring
    ///
    /// As [`read`](TcpStream::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (stream, _) = listener.accept().await?;
    /// # client.write_all(b"hello").await?;
    /// let mut hello = [0; 5];
    /// stream.read_exact(&mut hello).await?;
    /// assert_eq!(&hello, b"hello");
    /// # Ok(()) }
    /// ```
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        let inbound = self.inbound();
        let turn = within(inbound.limit.deadline(), inbound.turn()).await?;
        let mut filling = Filling::new(turn, buf);
        while !within(inbound.limit.deadline(), filling.receive()).await?? {}
        Ok(())
    }

    /// As [`read`](TcpStream::read), into a buffer that the kernel fills directly.
    ///
    /// Returns how many bytes were read, and the buffer.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error; `?` drops it. [`InvalidInput`](io::ErrorKind::InvalidInput) for an empty
    /// buffer, whose 0 would look like the end. Otherwise as [`read`](TcpStream::read).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future asks the kernel to stop and returns at once. Bytes that arrive all the same go to the next
    /// read, which waits until it is known whether there are any. The buffer is lost.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_RECV` (5.6), with `IORING_RECVSEND_POLL_FIRST` if the last receive emptied the socket. The fallback
    /// waits with epoll, registered once for all reads of the connection. A connection that has been
    /// [alone](runtime::call::cheaper) on its core for a while reads as [`read`](TcpStream::read) does.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (stream, _) = listener.accept().await?;
    /// # client.write_all(b"hello").await?;
    /// let (received, buf) = stream.read_owned(vec![0; 16]).await?;
    /// assert!(b"hello".starts_with(&buf[..received]));
    ///
    /// // The buffer comes back with the error, too.
    /// stream.set_read_timeout(Some(std::time::Duration::from_millis(1)))?;
    /// # stream.read_exact(&mut [0; 5][received..]).await?;
    /// let late = stream.read_owned(buf).await.unwrap_err();
    /// assert_eq!(late.kind(), std::io::ErrorKind::WouldBlock);
    /// assert_eq!(late.into_buf().len(), 16);
    /// # Ok(()) }
    /// ```
    pub async fn read_owned<B: IoBufMut>(&self, buf: B) -> BufResult<usize, B> {
        if buf.bytes().is_empty() {
            let empty = "the buffer is empty: reading fills up to a buffer's length, not its capacity";
            return Err(BufError::new(io::Error::new(io::ErrorKind::InvalidInput, empty), buf));
        }
        let inbound = self.inbound();
        let deadline = inbound.limit.deadline();
        match within(deadline, inbound.turn()).await {
            Ok(turn) => {
                let (receiving, received) = Receiving { turn, buf, filled: 0 }.receive(inbound, deadline).await;
                with_buf(received, receiving.buf)
            }
            Err(expired) => Err(BufError::new(expired, buf)),
        }
    }

    /// As [`read_exact`](TcpStream::read_exact), into a buffer that the kernel fills directly.
    ///
    /// # Errors
    ///
    /// As [`read_exact`](TcpStream::read_exact); the buffer comes back in the error.
    ///
    /// # Cancel safety
    ///
    /// As [`read_owned`](TcpStream::read_owned): everything that arrived goes to the next read.
    ///
    /// # io_uring
    ///
    /// As [`read_owned`](TcpStream::read_owned), repeated until the buffer is full.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    /// # let client = net::TcpStream::connect(listener.local_addr()?).await?;
    /// # let (stream, _) = listener.accept().await?;
    /// # client.write_all(b"hello").await?;
    /// let ((), hello) = stream.read_exact_owned([0; 5]).await?;
    /// assert_eq!(&hello, b"hello");
    /// # Ok(()) }
    /// ```
    pub async fn read_exact_owned<B: IoBufMut>(&self, buf: B) -> BufResult<(), B> {
        if buf.bytes().is_empty() {
            return Ok(((), buf));
        }
        let inbound = self.inbound();
        let turn = match within(inbound.limit.deadline(), inbound.turn()).await {
            Ok(turn) => turn,
            Err(expired) => return Err(BufError::new(expired, buf)),
        };
        let mut receiving = Receiving { turn, buf, filled: 0 };
        while receiving.filled < receiving.buf.bytes().len() {
            let received;
            (receiving, received) = receiving.receive(inbound, inbound.limit.deadline()).await;
            let error = match received {
                Ok(0) => unexpected_end(),
                Ok(_) => continue,
                Err(error) => error,
            };
            receiving.give_back();
            return Err(BufError::new(error, receiving.buf));
        }
        Ok(((), receiving.buf))
    }

    /// Sets how long a read may wait; `None` means without limit. [`std::net::TcpStream::set_read_timeout`].
    ///
    /// After that time it fails with [`WouldBlock`](io::ErrorKind::WouldBlock), as in std on Linux, and has read
    /// nothing. Clones of the handle share the timeout. It uses the core's timers; the socket's own `SO_RCVTIMEO` is
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
    /// stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    /// assert_eq!(stream.read_timeout()?, Some(Duration::from_millis(1)));
    /// let late = stream.read(&mut [0; 8]).await.unwrap_err();
    /// assert_eq!(late.kind(), std::io::ErrorKind::WouldBlock);
    /// # Ok(()) }
    /// ```
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inbound().limit.set(timeout)
    }

    /// The value of [`set_read_timeout`](TcpStream::set_read_timeout). [`std::net::TcpStream::read_timeout`].
    ///
    /// # Errors
    ///
    /// None; std's has some.
    ///
    /// # Examples
    ///
    /// See [`set_read_timeout`](TcpStream::set_read_timeout).
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.inbound.get().and_then(|inbound| inbound.limit.get()))
    }
}

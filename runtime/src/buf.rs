//! What a buffer is, and how it comes back.
//!
//! Ops never move while they are in flight, so any type that can return its bytes as a slice is a buffer: no unsafe
//! trait, no pinning. The kernel is given what `bytes` or `bytes_mut` returned when the op started, and the buffer is
//! not touched again until the last reply.

pub mod pool;

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::{Bound, RangeBounds};

/// A buffer that can be written from.
///
/// Implemented for `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `String`, `&'static [u8]`, `&'static str`, and any of them [cut
/// by a range](IoBuf::slice).
///
/// # Examples
///
/// Implement it for a type of your own to hand its bytes to the kernel without a copy:
///
/// ```
/// use runtime::buf::IoBuf;
///
/// struct Packet {
///     header: [u8; 2],
///     len: usize,
///     bytes: Box<[u8; 1500]>,
/// }
///
/// impl IoBuf for Packet {
///     fn bytes(&self) -> &[u8] {
///         &self.bytes[..self.len]
///     }
/// }
///
/// let packet = Packet { header: [4, 5], len: 20, bytes: Box::new([0; 1500]) };
/// assert_eq!(packet.bytes().len(), 20);
/// assert_eq!(packet.header, [4, 5]);
/// ```
pub trait IoBuf: 'static {
    /// The bytes to write.
    fn bytes(&self) -> &[u8];

    /// Restricts the buffer to `range`: only those bytes are read or written. [`Slice::into_inner`] returns the whole
    /// buffer.
    ///
    /// # Panics
    ///
    /// If the range reaches beyond the buffer, as indexing does.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::buf::IoBuf;
    ///
    /// let middle = vec![1, 2, 3, 4].slice(1..3);
    /// assert_eq!(middle.bytes(), [2, 3]);
    /// assert_eq!(middle.into_inner(), [1, 2, 3, 4]);
    /// ```
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        Slice::new(self, range)
    }
}

/// A buffer that can be read into, up to its *length*, as in std. Spare capacity is never used.
///
/// Implemented for `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, and any of them [cut by a range](IoBuf::slice).
///
/// # Examples
///
/// Appending to what the buffer holds already:
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{buf::IoBuf, fd::SharedFd, op::file::{Position, Read}, submit};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// let mut buf = b"# ".to_vec();
/// buf.resize(11, 0);
/// let (_count, buf) = submit(Read { fd, buf: buf.slice(2..), position: Position::At(0) }).await?;
/// assert_eq!(buf.into_inner(), b"# [package]");
/// # Ok(()) }
/// ```
pub trait IoBufMut: IoBuf {
    /// The bytes to fill: the same ones that [`bytes`](IoBuf::bytes) returns.
    fn bytes_mut(&mut self) -> &mut [u8];
}

macro_rules! buffers {
    ($($(#[$note:meta])* [$($generic:tt)*] $type:ty;)*) => {$(
        $(#[$note])*
        impl<$($generic)*> IoBuf for $type {
            #[inline]
            fn bytes(&self) -> &[u8] {
                self.as_ref()
            }
        }
    )*};
}

buffers! {
    [] Vec<u8>;
    [] Box<[u8]>;
    [const N: usize] [u8; N];
    [] String;
    [] &'static [u8];
    [] &'static str;
}

impl IoBufMut for Vec<u8> {
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl IoBufMut for Box<[u8]> {
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl<const N: usize> IoBufMut for [u8; N] {
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// A buffer restricted to a range. Returned by [`IoBuf::slice`], where an example is.
///
/// If the buffer returns fewer bytes later, the range ends with those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice<B> {
    buf: B,
    start: usize,
    end: usize,
}

impl<B: IoBuf> Slice<B> {
    fn new(buf: B, range: impl RangeBounds<usize>) -> Slice<B> {
        let len = buf.bytes().len();
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start.checked_add(1).expect("the range starts beyond the buffer"),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.checked_add(1).expect("the range ends beyond the buffer"),
            Bound::Excluded(&end) => end,
            Bound::Unbounded => len,
        };
        assert!(start <= end && end <= len, "range {start}..{end} of a buffer of {len} bytes");
        Slice { buf, start, end }
    }

    /// The whole buffer.
    pub fn into_inner(self) -> B {
        self.buf
    }

    /// The whole buffer, borrowed.
    pub fn get_ref(&self) -> &B {
        &self.buf
    }
}

impl<B: IoBuf> IoBuf for Slice<B> {
    fn bytes(&self) -> &[u8] {
        // A buffer of the user's may have shrunk meanwhile; then there is less to show, not a panic in the middle of an
        // op.
        let bytes = self.buf.bytes();
        let end = self.end.min(bytes.len());
        &bytes[self.start.min(end)..end]
    }
}

impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        let bytes = self.buf.bytes_mut();
        let end = self.end.min(bytes.len());
        &mut bytes[self.start.min(end)..end]
    }
}

/// What an op with a given buffer returns: its result and the buffer. The error contains the buffer, too.
///
/// `?` in a function that returns [`io::Result`] drops the buffer and keeps the error.
///
/// # Examples
///
/// ```
/// use runtime::buf::{BufResult, with_buf};
///
/// fn read() -> BufResult<usize, Vec<u8>> {
///     with_buf(Err(std::io::ErrorKind::TimedOut.into()), vec![0; 8])
/// }
///
/// fn count() -> std::io::Result<usize> {
///     let (count, _buf) = read()?;
///     Ok(count)
/// }
///
/// assert_eq!(count().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// ```
pub type BufResult<T, B> = Result<(T, B), BufError<B>>;

/// The error of an op with a given buffer, and that buffer.
///
/// It converts into the [`io::Error`], also with `?`.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
/// use runtime::{fd::SharedFd, op::file::{Position, Read}, submit};
///
/// let fd = SharedFd::new(OwnedFd::from(std::fs::File::open("src")?));
/// let failed = submit(Read { fd, buf: vec![7; 8], position: Position::At(0) }).await.unwrap_err();
/// assert_eq!(failed.kind(), std::io::ErrorKind::IsADirectory);
/// let (error, buf) = failed.into_parts();
/// assert_eq!((error.raw_os_error(), buf.len()), (Some(21), 8));
/// # Ok(()) }
/// ```
pub struct BufError<B> {
    error: io::Error,
    buf: B,
}

impl<B> BufError<B> {
    /// Combines an error and a buffer.
    pub fn new(error: io::Error, buf: B) -> BufError<B> {
        BufError { error, buf }
    }

    /// The error.
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// The error's kind.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// The buffer, in whatever state the op left it.
    pub fn into_buf(self) -> B {
        self.buf
    }

    /// The error and the buffer.
    pub fn into_parts(self) -> (io::Error, B) {
        (self.error, self.buf)
    }
}

impl<B> From<BufError<B>> for io::Error {
    fn from(error: BufError<B>) -> io::Error {
        error.error
    }
}

impl<B> fmt::Debug for BufError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BufError").field(&self.error).finish()
    }
}

impl<B> fmt::Display for BufError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl<B> Error for BufError<B> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Combines a result and its buffer.
///
/// # Examples
///
/// ```
/// use runtime::buf::with_buf;
///
/// let (count, buf) = with_buf(Ok(3), vec![0; 4]).unwrap();
/// assert_eq!((count, buf.len()), (3, 4));
/// ```
#[inline]
pub fn with_buf<T, B>(result: io::Result<T>, buf: B) -> BufResult<T, B> {
    match result {
        Ok(value) => Ok((value, buf)),
        Err(error) => Err(BufError { error, buf }),
    }
}

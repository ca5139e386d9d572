//! What a buffer is, and how it comes back.
//!
//! Ops never move while they are in flight, so any type that can show its bytes is a buffer: no unsafe trait, no pinning.
//! The kernel is given what `bytes` or `bytes_mut` returned when the op started, and nobody looks at the buffer again
//! until the last reply.

pub mod pool;

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::{Bound, RangeBounds};

/// A buffer that can be written from: it shows its bytes.
///
/// Implemented for `Vec<u8>`, `Box<[u8]>`, `[u8; N]`, `String`, `&'static [u8]`, `&'static str`, and any of them [cut by a range](IoBuf::slice).
/// Implement it for your own type to give that to the kernel without a copy.
pub trait IoBuf: 'static {
    /// The bytes to write.
    fn bytes(&self) -> &[u8];

    /// Cuts the buffer: only `range` of its bytes is read or written. [`Slice::into_inner`] gives the whole back.
    ///
    /// # Panics
    ///
    /// If the range reaches beyond the buffer, as indexing does.
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        Slice::new(self, range)
    }
}

/// A buffer that can be read into, up to its *length*, as in std. Spare capacity is never touched.
pub trait IoBufMut: IoBuf {
    /// The bytes to fill.
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

/// A buffer cut by a range.
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
        // A buffer of the user's may have shrunk meanwhile; then there is less to show, not a panic in the middle of an op.
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

/// What an op with a given buffer returns: its result and the buffer, which comes back in the error too.
///
/// `?` in a function that returns [`io::Result`] drops the buffer and keeps the error.
pub type BufResult<T, B> = Result<(T, B), BufError<B>>;

/// Why an op with a given buffer failed, and the buffer.
pub struct BufError<B> {
    error: io::Error,
    buf: B,
}

impl<B> BufError<B> {
    /// An error that brings `buf` back.
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

    /// The buffer, whatever the op did to it.
    pub fn into_buf(self) -> B {
        self.buf
    }

    /// Both.
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

/// Puts a result and its buffer together.
#[inline]
pub fn with_buf<T, B>(result: io::Result<T>, buf: B) -> BufResult<T, B> {
    match result {
        Ok(value) => Ok((value, buf)),
        Err(error) => Err(BufError { error, buf }),
    }
}

//! Reads and writes at an offset, which leave the cursor where it is.

use std::io;

use runtime::buf::{BufError, BufResult, IoBuf, IoBufMut, with_buf};
use runtime::call;
use runtime::op::OFFSET_MAX;
use runtime::op::file::{Position, Read, Write};
use rustix::io::Errno;

use super::File;
use super::direct::Start;
use super::transfer::{Reading, Tended, Writing, tended};
use super::turns::Turn;

impl File {
    /// Reads into `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// Returns how many bytes were read. Fewer than `buf` holds is normal: at most 256 KiB if the read had to wait, and
    /// only the part that is in memory if it had not. 0 is the end of the file, or an empty `buf`.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for an offset above `i64::MAX`. All others are pread(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future, and `buf` is not touched afterwards.
    ///
    /// # io_uring
    ///
    /// None if the data is in memory: preadv2(2) with `RWF_NOWAIT`, straight into `buf`. Otherwise, and always for
    /// direct I/O, `IORING_OP_READ` (5.6) into a buffer of the runtime's.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let mut name = [0; 7];
    /// let n = file.read_at(&mut name, 1).await?;
    /// assert_eq!(&name[..n], b"package");
    /// # Ok(()) }
    /// ```
    #[inline]
    pub async fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        check_offset(offset)?;
        if buf.is_empty() {
            return self.read_nothing(Position::At(offset));
        }
        match self.try_read(buf, Position::At(offset)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.read_waiting(buf, Position::At(offset), None).await
            }
            read => read,
        }
    }

    /// Reads into `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// Returns how many bytes were read, and the buffer. Fewer than `buf` holds is normal; 0 is the end of the file.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error; `?` drops it. [`InvalidInput`](io::ErrorKind::InvalidInput) for an empty
    /// buffer or an offset above `i64::MAX`. All others are pread(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future asks the kernel to stop and returns at once. The read may still happen: buffer and file are
    /// kept until the kernel is done with them. Nothing is lost, since reading at an offset moves no cursor.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_READ` (5.6); the fallback reads on the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let (n, buf) = file.read_at_owned(vec![0; 4096], 0).await?;
    /// assert!(buf[..n].starts_with(b"[package]"));
    /// # Ok(()) }
    /// ```
    // Not an async fn: its op is made where its future lies, and not moved there.
    #[inline]
    pub fn read_at_owned<B: IoBufMut>(&self, buf: B, offset: u64) -> impl Future<Output = BufResult<usize, B>> {
        self.read_given(buf, Position::At(offset), None)
    }

    /// Fills `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the file ends first; `buf` then holds what there was.
    /// Otherwise as [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// As [`read_at`](File::read_at); a part of `buf` may have been filled.
    ///
    /// # io_uring
    ///
    /// As [`read_at`](File::read_at).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let mut name = [0; 7];
    /// file.read_exact_at(&mut name, 1).await?;
    /// assert_eq!(&name, b"package");
    /// # Ok(()) }
    /// ```
    pub async fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset).await {
                Ok(0) => return Err(unexpected_end()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset = offset.saturating_add(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error. [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the file ends first;
    /// otherwise as [`read_at_owned`](File::read_at_owned), except that an empty buffer is no error.
    ///
    /// # Cancel safety
    ///
    /// As [`read_at_owned`](File::read_at_owned).
    ///
    /// # io_uring
    ///
    /// As [`read_at_owned`](File::read_at_owned).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let ((), name) = file.read_exact_at_owned([0; 7], 1).await?;
    /// assert_eq!(&name, b"package");
    /// # Ok(()) }
    /// ```
    pub async fn read_exact_at_owned<B: IoBufMut>(&self, buf: B, offset: u64) -> BufResult<(), B> {
        self.fill_given(buf, Position::At(offset)).await
    }

    /// Writes from `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// Returns how many bytes were written: at most 256 KiB, and fewer when a disk or a quota is full. If the file was
    /// opened for appending, the data is written at its end, whatever `offset` is, as pwrite(2) describes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for an offset above `i64::MAX`. The error of a dropped write;
    /// nothing is written then. All others are pwrite(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future returns at once. A write in flight is not stopped: it is completed. Later writes,
    /// [`sync_all`](File::sync_all) and [`close`](File::close) wait for it, so it never overwrites a later write; the
    /// first of them returns its error. Writes that are in flight together have no order, as with threads.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_WRITE` (5.6), from a copy in a buffer of the runtime's; the fallback writes on the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-at-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// let n = file.write_at(b"tail", 4096).await?;
    /// assert_eq!(file.metadata().await?.len(), 4096 + n as u64);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        check_offset(offset)?;
        self.description.writes_settled().await?;
        self.write_waiting(buf, Position::At(offset), None).await
    }

    /// Writes from `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// Returns how many bytes were written, and the buffer. Fewer than it holds happens when a disk or a quota is full,
    /// and beyond 2 GiB.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error. Otherwise as [`write_at`](File::write_at).
    ///
    /// # Cancel safety
    ///
    /// As [`write_at`](File::write_at); the buffer is kept until the kernel is done with it.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_WRITE` (5.6); the fallback writes on the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-at-owned-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// let (n, text) = file.write_at_owned("no copy".to_owned(), 0).await?;
    /// assert_eq!(n, text.len());
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_at_owned<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<usize, B> {
        self.write_given(buf, Position::At(offset), None).await
    }

    /// Writes all of `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// # Errors
    ///
    /// As [`write_at`](File::write_at). A part may have been written.
    ///
    /// # Cancel safety
    ///
    /// As [`write_at`](File::write_at) for the piece of at most 256 KiB that is in flight; what follows it is not
    /// written.
    ///
    /// # io_uring
    ///
    /// As [`write_at`](File::write_at).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-all-at-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// file.write_all_at(&[7; 1 << 20], 0).await?;
    /// assert_eq!(file.metadata().await?.len(), 1 << 20);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_all_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_at(buf, offset).await {
                Ok(0) => return Err(nothing_written()),
                Ok(n) => {
                    buf = &buf[n..];
                    offset = offset.saturating_add(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `buf`, starting `offset` bytes into the file. The cursor stays where it is.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error. Otherwise as [`write_all_at`](File::write_all_at).
    ///
    /// # Cancel safety
    ///
    /// As [`write_at_owned`](File::write_at_owned). The part in flight is all of `buf`, or 2 GiB of it.
    ///
    /// # io_uring
    ///
    /// As [`write_at_owned`](File::write_at_owned).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-all-at-owned-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// let ((), buf) = file.write_all_at_owned(vec![7; 1 << 20], 0).await?;
    /// assert_eq!(file.metadata().await?.len(), buf.len() as u64);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_all_at_owned<B: IoBuf>(&self, buf: B, offset: u64) -> BufResult<(), B> {
        self.drain_given(buf, Position::At(offset)).await
    }
}

// What the cursor's reads and writes share with these.
impl File {
    /// Reads what is in memory. [`WouldBlock`](io::ErrorKind::WouldBlock): it has to wait, or cannot tell.
    #[inline(always)]
    pub(super) fn try_read(&self, buf: &mut [u8], position: Position) -> io::Result<usize> {
        if !self.description.tries.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match call::try_read(&self.fd, buf, position) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {
                self.description.tries.set(false);
                Err(io::ErrorKind::WouldBlock.into())
            }
            read => read,
        }
    }

    /// Reads nothing, to hear what std would: that the file was not opened for it, or has no offsets. The kernel does
    /// not get as far as the file itself, so nothing waits.
    #[cold]
    pub(super) fn read_nothing(&self, position: Position) -> io::Result<usize> {
        match (self.fd.os(), position) {
            (Ok(fd), Position::At(offset)) => Ok(rustix::io::preadv(fd, &mut [], offset)?),
            (Ok(fd), Position::Cursor) => Ok(rustix::io::readv(fd, &mut [])?),
            (Err(_simulated), _) => done_or_nothing(call::try_read(&self.fd, &mut [], position)),
        }
    }

    /// As [`read_nothing`](File::read_nothing).
    #[cold]
    pub(super) fn write_nothing(&self, position: Position) -> io::Result<usize> {
        match (self.fd.os(), position) {
            (Ok(fd), Position::At(offset)) => Ok(rustix::io::pwritev(fd, &[], offset)?),
            (Ok(fd), Position::Cursor) => Ok(rustix::io::writev(fd, &[])?),
            (Err(_simulated), _) => done_or_nothing(call::try_write(&self.fd, &[], position)),
        }
    }

    /// Reads into a given buffer: by the ring, where reads of many tasks share one system call.
    #[inline]
    pub(super) fn read_given<B: IoBufMut>(
        &self,
        buf: B,
        position: Position,
        turn: Option<Turn>,
    ) -> Tended<'_, Reading<B, true>> {
        tended(&self.description, self.reading(buf, position, turn))
    }

    /// Writes from a given buffer, after what was dropped.
    pub(super) async fn write_given<B: IoBuf>(
        &self,
        buf: B,
        position: Position,
        turn: Option<Turn>,
    ) -> BufResult<usize, B> {
        if let Err(error) = self.description.writes_settled().await {
            return Err(BufError::new(error, buf));
        }
        match self.write_declining(buf.bytes(), position).await {
            Some(written) => with_buf(written, buf),
            None => tended(&self.description, self.writing(buf, position, turn)).await,
        }
    }

    /// Fills a given buffer.
    pub(super) async fn fill_given<B: IoBufMut>(&self, mut buf: B, position: Position) -> BufResult<(), B> {
        let len = buf.bytes().len();
        let mut filled = 0;
        while filled < len {
            let rest = buf.slice(filled..len);
            let read = match position {
                Position::At(offset) => self.read_at_owned(rest, offset.saturating_add(filled as u64)).await,
                Position::Cursor => self.read_owned(rest).await,
            };
            let (step, rest) = parts(read);
            buf = rest.into_inner();
            match step {
                Ok(0) => return Err(BufError::new(unexpected_end(), buf)),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BufError::new(error, buf)),
            }
        }
        Ok(((), buf))
    }

    /// Writes all of a given buffer.
    pub(super) async fn drain_given<B: IoBuf>(&self, mut buf: B, position: Position) -> BufResult<(), B> {
        let len = buf.bytes().len();
        let mut written = 0;
        while written < len {
            let rest = buf.slice(written..len);
            let wrote = match position {
                Position::At(offset) => self.write_at_owned(rest, offset.saturating_add(written as u64)).await,
                Position::Cursor => self.write_owned(rest).await,
            };
            let (step, rest) = parts(wrote);
            buf = rest.into_inner();
            match step {
                Ok(0) => return Err(BufError::new(nothing_written(), buf)),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BufError::new(error, buf)),
            }
        }
        Ok(((), buf))
    }

    #[inline]
    pub(super) fn reading<B: IoBufMut, const GIVEN: bool>(
        &self,
        buf: B,
        position: Position,
        turn: Option<Turn>,
    ) -> Reading<B, GIVEN> {
        let Start { position, leaves_cursor } = self.start(position);
        let read = Read { fd: self.fd.clone(), buf, position };
        Reading { read, description: self.description.clone(), turn, leaves_cursor }
    }

    pub(super) fn writing<B: IoBuf>(&self, buf: B, position: Position, turn: Option<Turn>) -> Writing<B> {
        let Start { position, leaves_cursor } = self.start(position);
        let write = Write { fd: self.fd.clone(), buf, position };
        Writing { write, description: self.description.clone(), turn, leaves_cursor }
    }
}

/// A transfer of nothing that would wait for something has been done.
fn done_or_nothing(tried: io::Result<usize>) -> io::Result<usize> {
    match tried {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        done => done,
    }
}

/// Result and buffer, apart.
pub(super) fn parts<T, B>(result: BufResult<T, B>) -> (io::Result<T>, B) {
    match result {
        Ok((value, buf)) => (Ok(value), buf),
        Err(failed) => {
            let (error, buf) = failed.into_parts();
            (Err(error), buf)
        }
    }
}

#[inline]
fn check_offset(offset: u64) -> io::Result<()> {
    if offset > OFFSET_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("offset {offset} is beyond the largest file offset, {OFFSET_MAX}"),
        ));
    }
    Ok(())
}

/// As std says it.
pub(super) fn unexpected_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "failed to fill whole buffer")
}

/// As std says it.
pub(super) fn nothing_written() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "failed to write whole buffer")
}

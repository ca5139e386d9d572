//! Reads and writes at the cursor, one at a time.

use std::io;

use runtime::buf::{BufResult, IoBuf, IoBufMut, with_buf};
use runtime::call;
use runtime::op::file::Position;

use super::File;
use super::bounce::ALIGNMENT;
use super::positional::{nothing_written, parts, unexpected_end};
use super::turns::Turn;
use crate::whole::not_utf8;

impl File {
    /// Reads into `buf` at the cursor, which moves.
    ///
    /// Returns how many bytes were read. Fewer than `buf` holds is normal: at most 256 KiB if the read had to wait, and
    /// only the part that is in memory if it had not. 0 is the end of the file, or an empty `buf`. How pipes and the
    /// like are waited for is described at [`File`].
    ///
    /// Reads and writes at the cursor of one open file, through any of its handles, run one at a time, in the order in
    /// which they were first polled. One that was polled, and is then neither awaited nor dropped, keeps the others
    /// waiting.
    ///
    /// # Errors
    ///
    /// read(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future, and `buf` is not touched afterwards. If the read completes all the same,
    /// the cursor is set back before the next call's turn; what it took from a pipe goes to the next read.
    ///
    /// # io_uring
    ///
    /// None if the data is in memory, or in a pipe: preadv2(2) with `RWF_NOWAIT`, straight into `buf`. Otherwise, and
    /// always for direct I/O, `IORING_OP_READ` (5.6) into a buffer of the runtime's. An empty pipe is waited for with
    /// `IORING_OP_POLL_ADD` (5.1).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let mut buf = [0; 9];
    /// let n = file.read(&mut buf).await?;
    /// assert!(b"[package]".starts_with(&buf[..n]));
    /// # Ok(()) }
    /// ```
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return self.read_nothing(Position::Cursor);
        }
        // Who finds the turn free gets it at once, and nothing has changed by then.
        let was_free = self.description.turns.are_free();
        if was_free && let Some(read) = self.read_now(buf) {
            return read;
        }
        let turn = Turn::of(&self.description).await;
        if !was_free && let Some(read) = self.read_now(buf) {
            return read;
        }
        self.read_waiting(buf, Position::Cursor, Some(turn)).await
    }

    /// What is there without waiting. Only for who has the turn, or finds nobody else who wants it.
    fn read_now(&self, buf: &mut [u8]) -> Option<io::Result<usize>> {
        if self.description.has_parked() {
            return Some(Ok(self.description.take_parked(buf)));
        }
        match self.try_read(buf, Position::Cursor) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(read),
        }
    }

    /// Reads into `buf` at the cursor, which moves.
    ///
    /// Returns how many bytes were read, and the buffer. Fewer than `buf` holds is normal; 0 is the end of the file.
    /// For turns see [`read`](File::read).
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error. [`InvalidInput`](io::ErrorKind::InvalidInput) for an empty buffer; all
    /// others are read(2)'s.
    ///
    /// # Cancel safety
    ///
    /// As [`read`](File::read); the buffer is kept until the kernel is done with it.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_READ` (5.6); the fallback reads on the blocking pool, or from a pipe or a terminal when it is ready.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let (n, buf) = file.read_owned(vec![0; 4096]).await?;
    /// assert!(buf[..n].starts_with(b"[package]"));
    /// # Ok(()) }
    /// ```
    pub async fn read_owned<B: IoBufMut>(&self, mut buf: B) -> BufResult<usize, B> {
        let turn = Turn::of(&self.description).await;
        if !buf.bytes().is_empty() {
            if self.description.has_parked() {
                let taken = self.description.take_parked(buf.bytes_mut());
                return with_buf(Ok(taken), buf);
            }
            if let Some(read) = self.read_declining(buf.bytes_mut(), Position::Cursor).await {
                return with_buf(read, buf);
            }
        }
        self.read_given(buf, Position::Cursor, Some(turn)).await
    }

    /// Fills `buf` from the cursor, which moves.
    ///
    /// # Errors
    ///
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the file ends first; `buf` then holds what there was.
    /// Otherwise as [`read`](File::read).
    ///
    /// # Cancel safety
    ///
    /// What was read so far is in `buf`, and the cursor is after it; how much that is, is not reported.
    ///
    /// # io_uring
    ///
    /// As [`read`](File::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let mut start = [0; 9];
    /// file.read_exact(&mut start).await?;
    /// assert_eq!(&start, b"[package]");
    /// # Ok(()) }
    /// ```
    pub async fn read_exact(&self, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read(buf).await {
                Ok(0) => return Err(unexpected_end()),
                Ok(n) => buf = &mut buf[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills `buf` from the cursor, which moves.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error. Otherwise as [`read_exact`](File::read_exact).
    ///
    /// # Cancel safety
    ///
    /// The buffer is lost with what was read so far, and the cursor is after that.
    ///
    /// # io_uring
    ///
    /// As [`read_owned`](File::read_owned).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let ((), start) = file.read_exact_owned([0; 9]).await?;
    /// assert_eq!(&start, b"[package]");
    /// # Ok(()) }
    /// ```
    pub async fn read_exact_owned<B: IoBufMut>(&self, buf: B) -> BufResult<(), B> {
        self.fill_given(buf, Position::Cursor).await
    }

    /// Appends everything from the cursor to the end of the file to `buf`. Returns how many bytes that was.
    ///
    /// # Errors
    ///
    /// As [`read`](File::read); [`OutOfMemory`](io::ErrorKind::OutOfMemory) if `buf` cannot grow. What was read before
    /// that is in `buf`.
    ///
    /// # Cancel safety
    ///
    /// What was read so far is in `buf`, and the cursor is after it: calling again continues there.
    ///
    /// # io_uring
    ///
    /// As [`read`](File::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let mut manifest = Vec::new();
    /// let n = file.read_to_end(&mut manifest).await?;
    /// assert_eq!(n, manifest.len());
    /// # Ok(()) }
    /// ```
    pub async fn read_to_end(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        let start = buf.len();
        reserve(buf, self.len_left().await)?;
        let mut growing = Growing { len: start, buf };
        let block = if self.description.is_direct { ALIGNMENT } else { 1 };
        loop {
            make_room(growing.buf, growing.len, block)?;
            match self.read(&mut growing.buf[growing.len..]).await {
                Ok(0) => return Ok(growing.len - start),
                Ok(n) => growing.len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends everything from the cursor to the end of the file, which must be UTF-8, to `buf`. Returns how many bytes
    /// that was.
    ///
    /// # Errors
    ///
    /// As [`read_to_end`](File::read_to_end); [`InvalidData`](io::ErrorKind::InvalidData) if it is not UTF-8. `buf` is
    /// then unchanged.
    ///
    /// # Cancel safety
    ///
    /// `buf` is unchanged. What was read is lost: the cursor is after it.
    ///
    /// # io_uring
    ///
    /// As [`read`](File::read).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let mut manifest = String::new();
    /// file.read_to_string(&mut manifest).await?;
    /// assert!(manifest.contains("gimmal-fs"));
    /// # Ok(()) }
    /// ```
    pub async fn read_to_string(&self, buf: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).await?;
        let text = std::str::from_utf8(&bytes).map_err(|_| not_utf8())?;
        buf.try_reserve(text.len())?;
        buf.push_str(text);
        Ok(text.len())
    }

    /// Writes from `buf` at the cursor, which moves; at the end, if the file was opened for appending.
    ///
    /// Returns how many bytes were written: at most 256 KiB, and fewer when a disk or a quota is full; to a pipe, as
    /// many as there is room for, where std's would wait for the rest. Up to 4096 bytes are written to a pipe as a
    /// whole. For turns see [`read`](File::read).
    ///
    /// # Errors
    ///
    /// The error of a dropped write; nothing is written then. All others are write(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future returns at once. A write in flight is not stopped: it is completed, in its turn, and its
    /// error is returned by the next write, [`sync_all`](File::sync_all) or [`close`](File::close). A write that still
    /// waits for room in a pipe has written nothing.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_WRITE` (5.6), from a copy in a buffer of the runtime's; the fallback writes on the blocking pool. For
    /// a pipe, pwritev2(2) with `RWF_NOWAIT`, and `IORING_OP_POLL_ADD` (5.1) while it is full.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-file-write-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// assert_eq!(file.write(b"hello").await?, 5);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let turn = Turn::of(&self.description).await;
        self.description.writes_settled().await?;
        self.write_waiting(buf, Position::Cursor, Some(turn)).await
    }

    /// Writes from `buf` at the cursor, which moves; at the end, if the file was opened for appending.
    ///
    /// Returns how many bytes were written, and the buffer. Fewer than it holds happens when a disk or a quota is full,
    /// and beyond 2 GiB.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error. Otherwise as [`write`](File::write).
    ///
    /// # Cancel safety
    ///
    /// As [`write`](File::write); the buffer is kept until the kernel is done with it.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_WRITE` (5.6); the fallback writes on the blocking pool, or to a pipe or a terminal when it is ready.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-owned-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// let (n, _hello) = file.write_owned("hello").await?;
    /// assert_eq!(n, 5);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_owned<B: IoBuf>(&self, buf: B) -> BufResult<usize, B> {
        let turn = Turn::of(&self.description).await;
        self.write_given(buf, Position::Cursor, Some(turn)).await
    }

    /// Writes all of `buf` at the cursor, which moves.
    ///
    /// Beyond 256 KiB that is several writes, and those of another task may come between them.
    ///
    /// # Errors
    ///
    /// As [`write`](File::write). A part may have been written.
    ///
    /// # Cancel safety
    ///
    /// As [`write`](File::write) for the piece of at most 256 KiB that is in flight; what follows it is not written.
    ///
    /// # io_uring
    ///
    /// As [`write`](File::write).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-all-{}", std::process::id()));
    /// fs::File::create(&path).await?.write_all(b"hello").await?;
    /// assert_eq!(fs::read(&path).await?, b"hello");
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write(buf).await {
                Ok(0) => return Err(nothing_written()),
                Ok(n) => buf = &buf[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `buf` at the cursor, which moves.
    ///
    /// # Errors
    ///
    /// The buffer comes back in the error. Otherwise as [`write_all`](File::write_all).
    ///
    /// # Cancel safety
    ///
    /// As [`write_owned`](File::write_owned). The part in flight is all of `buf`, or 2 GiB of it.
    ///
    /// # io_uring
    ///
    /// As [`write_owned`](File::write_owned).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-all-owned-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// let ((), buf) = file.write_all_owned(vec![7; 1 << 20]).await?;
    /// assert_eq!(file.metadata().await?.len(), buf.len() as u64);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_all_owned<B: IoBuf>(&self, buf: B) -> BufResult<(), B> {
        self.drain_given(buf, Position::Cursor).await
    }
}

/// A vector that is read into beyond `len`. Dropping it, also half-way, leaves what was read.
struct Growing<'a> {
    buf: &'a mut Vec<u8>,
    len: usize,
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        self.buf.truncate(self.len);
    }
}

/// So much more than a file holds is asked for, so that its end is seen without growing the vector.
const ROOM_MIN: usize = 32;
/// A file that does not tell its length, as those of /proc, is read in steps of at least this.
const GROWTH_MIN: usize = 8 * 1024;

/// Makes room behind the first `len` bytes: all that the vector holds without moving, in whole blocks, and more if that
/// is next to nothing.
fn make_room(buf: &mut Vec<u8>, len: usize, block: usize) -> io::Result<()> {
    if buf.capacity() - len < ROOM_MIN.max(block) {
        // Counted from the length, which still is that of the last room.
        buf.truncate(len);
        buf.try_reserve(GROWTH_MIN)?;
    }
    let room = buf.capacity() - len;
    buf.resize(len + room - room % block, 0);
    Ok(())
}

impl File {
    /// How many bytes there are from the cursor to the end; a guess, and 0 where that cannot be told.
    async fn len_left(&self) -> usize {
        let Ok(stat) = call::stat_now(&self.fd) else { return 0 };
        let position = self.stream_position().await.unwrap_or(0);
        usize::try_from(stat.size.saturating_sub(position)).unwrap_or(usize::MAX)
    }

    /// Reads a file that nobody else has, from its start to its end, into a vector that goes to the kernel as it is.
    pub(crate) async fn read_whole(&self) -> io::Result<Vec<u8>> {
        let len_told = call::stat_now(&self.fd).map_or(0, |stat| stat.size);
        let mut buf = Vec::new();
        reserve(&mut buf, usize::try_from(len_told).unwrap_or(usize::MAX))?;
        let mut len = 0;
        loop {
            make_room(&mut buf, len, 1)?;
            let read = match self.read_now(&mut buf[len..]) {
                Some(read) => read,
                None => {
                    let (read, rest) = parts(self.read_owned(buf.slice(len..)).await);
                    buf = rest.into_inner();
                    read
                }
            };
            match read {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buf.truncate(len);
        Ok(buf)
    }
}

/// Makes room for what a file is told to hold.
fn reserve(buf: &mut Vec<u8>, len_told: usize) -> io::Result<()> {
    match len_told {
        0 => Ok(()),
        len_told => Ok(buf.try_reserve(len_told.saturating_add(ROOM_MIN))?),
    }
}

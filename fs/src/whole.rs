//! Whole files at once: read, write.
//!
//! Each of them is made of ops, so that a simulated kernel serves them too. One job on the blocking pool would be a
//! little cheaper for a single small file, and twice as dear for many at once, which the ring takes together.

use std::io;
use std::path::Path;

use crate::File;

/// Reads the whole file at `path`.
///
/// # Errors
///
/// As [`File::open`], and read(2)'s. [`OutOfMemory`](io::ErrorKind::OutOfMemory) for a file that is too large.
///
/// # Cancel safety
///
/// What was opened is closed, what was read is dropped.
///
/// # io_uring
///
/// `IORING_OP_OPENAT2` (5.6); what is in memory is then read by preadv2(2) with `RWF_NOWAIT`, the rest by
/// `IORING_OP_READ` (5.6).
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let manifest = fs::read("Cargo.toml").await?;
/// assert!(manifest.starts_with(b"[package]"));
/// # Ok(()) }
/// ```
pub async fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    File::open(path).await?.read_whole().await
}

/// Reads the whole file at `path`, which holds UTF-8.
///
/// # Errors
///
/// As [`read`]; [`InvalidData`](io::ErrorKind::InvalidData) when it is not UTF-8.
///
/// # Cancel safety
///
/// As [`read`].
///
/// # io_uring
///
/// As [`read`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// assert!(fs::read_to_string("Cargo.toml").await?.contains("gimmal-fs"));
/// # Ok(()) }
/// ```
pub async fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    String::from_utf8(read(path).await?).map_err(|_| not_utf8())
}

/// As std says it.
pub(crate) fn not_utf8() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8")
}

/// Makes `contents` the whole contents of the file at `path`, which is created if there is none.
///
/// # Errors
///
/// As [`File::create`], and write(2)'s. The file may then hold a part of `contents`.
///
/// # Cancel safety
///
/// Dropping the future leaves the file as far as it was written: created, cut, or with a part of `contents`. What was
/// on its way then, the cut or a write of at most 256 KiB, still happens, and may come after all that the program does
/// with the same path meanwhile: no handle is left that could wait for it. Who may have to begin again writes to a
/// [`File`], whose next write waits, or to another name, which [`rename`](crate::rename) then puts in place.
///
/// # io_uring
///
/// `IORING_OP_OPENAT2` and `IORING_OP_WRITE` (5.6), at most 256 KiB each.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-{}", std::process::id()));
/// fs::write(&path, "all of it").await?;
/// assert_eq!(fs::read(&path).await?, b"all of it");
/// # fs::remove_file(&path).await?;
/// # Ok(()) }
/// ```
pub async fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let file = File::create(path).await?;
    file.write_all(contents.as_ref()).await
}

//! Reading and writing whole files.
//!
//! They are built from ops, so that the simulated kernel supports them, too. One job on the blocking pool would be a
//! little cheaper for a single small file, but twice as expensive for many at once, which a ring takes in one batch.

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
/// A file that was opened is closed, and what was read is dropped.
///
/// # io_uring
///
/// `IORING_OP_OPENAT2` (5.6); then preadv2(2) with `RWF_NOWAIT` for what is in memory, and `IORING_OP_READ` (5.6) for
/// the rest.
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

/// Reads the whole file at `path`, which must be UTF-8.
///
/// # Errors
///
/// As [`read`]; [`InvalidData`](io::ErrorKind::InvalidData) if it is not UTF-8.
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

/// Replaces the contents of the file at `path` with `contents`. The file is created if it does not exist.
///
/// # Errors
///
/// As [`File::create`], and write(2)'s. After an error the file may hold a part of `contents`.
///
/// # Cancel safety
///
/// Dropping the future may leave the file created, truncated, or with a part of `contents`. What was in flight then,
/// the truncation or a write of at most 256 KiB, still happens, and may happen after whatever the program does with the
/// same path in the meantime, because no handle is left that could wait for it. A program that may have to start again
/// should write through a [`File`], whose next write waits, or to another name that it then [renames](crate::rename).
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

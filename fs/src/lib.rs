//! `std::fs`, async, on [Gimmal's runtime](runtime): std's names, signatures and errors, with `.await`.
//!
//! ```
//! # #[runtime::main] async fn main() -> std::io::Result<()> {
//! let file = fs::File::open("Cargo.toml").await?;
//! let mut start = [0; 9];
//! file.read_exact_at(&mut start, 0).await?;          // lend: std's signature
//! assert_eq!(&start, b"[package]");
//!
//! let (n, buf) = file.read_at_owned(vec![0; 4096], 0).await?;     // give: no copy, the buffer comes back
//! assert!(buf[..n].starts_with(b"[package]"));
//! # Ok(()) }
//! ```
//!
//! # Lend or give
//!
//! A *lent* buffer (`&mut [u8]`, `&[u8]`) may go away at any moment, so no request in flight points into it. What the
//! page cache holds is read straight into it by one non-waiting system call; what must wait for the disk is read into a
//! buffer of the runtime's, at most 256 KiB at a time, and copied once. A *given* buffer (the `_owned` twins) goes to
//! the kernel as it is, and comes back with the result or with the error.
//!
//! # What differs from std
//!
//! - A read may return fewer bytes than std's would: only the part of the file that is in memory, instead of waiting
//!   for the rest. `read_exact`, `read_to_end` and the like are as in std.
//! - Handles stay on the core where they were opened; to move one, take [`File::into_std`] across.
//! - Dropping the future of a write does not stop the write: it is completed, before any later write through the same
//!   file.
//! - On a ring, opening a FIFO for reading may return before anybody has opened it for writing. The first read then
//!   waits for the writer, as std's open does. (Waiting in open would cost one more system call for every file that is
//!   opened for reading.)
//! - A write to a pipe writes as much as there is room for, as a write to a socket does; std's waits until everything
//!   is written. `write_all` is as in std.
//!
//! # What an open file shares
//!
//! ```text
//!  File ─┬─► SharedFd             the descriptor, which requests in flight hold, too
//!        └─► Description          whose turn it is at the cursor, and what dropped futures left behind
//!  File ─┬─►   ▲    (try_clone)
//!        └─► SharedFd
//! ```
//!
//! Requests at the cursor run one at a time, in the order in which they were first polled, also after a drop. If a read
//! is completed after its future was dropped, the cursor is set back.
//!
//! # What a simulated kernel serves
//!
//! Opening, reading, writing, seeking, changing the length, syncing, closing and metadata. Everything else would bypass
//! the simulated kernel and reach the real file system, so it fails with
//! [`Unsupported`](std::io::ErrorKind::Unsupported) instead: [`read_dir`], and the functions that run on the blocking
//! pool ([`rename`], [`copy`], …).

#![deny(unsafe_code)]

mod dir;
mod file;
mod metadata;
mod names;
mod open_options;
mod pool;
mod read_dir;
mod whole;

pub use std::fs::Permissions;

pub use self::dir::Dir;
pub use self::file::File;
pub use self::metadata::{FileType, Metadata, exists, metadata, symlink_metadata};
pub use self::names::{
    canonicalize, copy, create_dir, create_dir_all, hard_link, read_link, remove_dir, remove_dir_all, remove_file,
    rename, set_permissions, symlink,
};
pub use self::open_options::OpenOptions;
pub use self::read_dir::{DirEntry, ReadDir, read_dir};
pub use self::whole::{read, read_to_string, write};

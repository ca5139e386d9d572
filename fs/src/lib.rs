//! `std::fs`, async, on [Gimmal's runtime](runtime): std's names, std's signatures, std's errors, with `.await`.
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
//! A *lent* buffer (`&mut [u8]`, `&[u8]`) may go away at any moment, so no request in flight points into it. What is in
//! memory is read straight into it by one system call that does not wait; what must wait lands in a buffer of the
//! runtime's, at most 256 KiB at a time, and is copied once. A *given* buffer (the `_owned` twins) goes to the kernel
//! as it is and comes back with the result, and with the error.
//!
//! # What differs from std
//!
//! - A read may return less than there is where std's would have waited for the rest: the part of the file that is in
//!   memory. `read_exact`, `read_to_end` and their kin are the same as ever.
//! - Handles stay on the core where they were opened; to move one, take [`File::into_std`] across.
//! - Dropping a write's future does not stop the write: it goes out whole, before any later write through the same
//!   file.
//! - A FIFO that is opened to read may be open before anybody writes, where a ring serves. Its first read then waits
//!   for the writer, as std's open does. (To open it only then would cost a system call for every file that is opened
//!   to read.)
//! - Into a pipe a write puts what there is room for, as one of a socket does; std's waits until all is in. `write_all`
//!   is the same as ever.
//!
//! # What an open file shares
//!
//! ```text
//!  File ─┬─► SharedFd             the descriptor, held by each request in flight too
//!        └─► Description          whose turn it is at the cursor, what dropped futures left behind
//!  File ─┬─►   ▲    (try_clone)
//!        └─► SharedFd
//! ```
//!
//! Requests at the cursor run one at a time, in the order of their first polls, also after a drop. A read whose future
//! was dropped, and that came through all the same, is undone by seeking back.
//!
//! # What a simulated kernel serves
//!
//! Opening, reading, writing, seeking, cutting, syncing, closing and metadata. What is not an operation of the kernel's
//! seam would go past it to the real file system, and answers [`Unsupported`](std::io::ErrorKind::Unsupported) instead:
//! [`read_dir`], and the functions that run on the blocking pool ([`rename`], [`copy`], …).

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

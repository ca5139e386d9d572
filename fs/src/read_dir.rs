//! The entries of a directory, read on the blocking pool: io_uring has no op for that.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::future::poll_fn;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;

use runtime::fd::SharedFd;
use runtime::op::path::{Base, Mode, OFlags, OpenHow, ResolveFlags, Stat};
use runtime::{JoinHandle, call, spawn_blocking, submit};
use rustix::fs::{Dir as Listing, FileType as Kind};

use crate::open_options::open;
use crate::{FileType, Metadata};

/// So many entries a trip to the pool: the trip is then a small part of their price.
const BATCH_MAX: usize = 256;

/// Lists the directory at `path`. `getdents64(2)`.
///
/// `.` and `..` are left out. The order is the file system's. Entries that are created or removed meanwhile may be
/// listed or not.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`NotADirectory`](io::ErrorKind::NotADirectory),
/// [`PermissionDenied`](io::ErrorKind::PermissionDenied); [`InvalidInput`](io::ErrorKind::InvalidInput) for a NUL in
/// `path`.
///
/// # Cancel safety
///
/// A directory that was opened is closed. Dropping the future of [`next`](ReadDir::next) loses no entry.
///
/// # io_uring
///
/// `IORING_OP_OPENAT2` (5.6); the entries are read on the blocking pool, 256 at a time.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let mut entries = fs::read_dir("src").await?;
/// while let Some(entry) = entries.next().await {
///     let entry = entry?;
///     println!("{}", entry.path().display());
/// }
/// # Ok(()) }
/// ```
pub async fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    ReadDir::open_at(Base::Current, path.as_ref(), ResolveFlags::empty()).await
}

/// The entries of a directory; see [`read_dir`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let mut entries = fs::read_dir("src").await?;
/// let mut count = 0;
/// while let Some(entry) = entries.next().await {
///     entry?;
///     count += 1;
/// }
/// assert!(count > 5 && entries.next().await.is_none());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ReadDir {
    dir: Rc<Listed>,
    stage: Stage,
    read: VecDeque<io::Result<Raw>>,
}

/// The directory that its entries belong to.
#[derive(Debug)]
struct Listed {
    fd: SharedFd,
    path: PathBuf,
}

#[derive(Debug)]
enum Stage {
    Idle(Listing),
    Reading(JoinHandle<(Vec<io::Result<Raw>>, Option<Listing>)>),
    Over,
}

/// An entry as the kernel tells it.
#[derive(Debug)]
struct Raw {
    name: CString,
    inode: u64,
    kind: Kind,
}

impl ReadDir {
    pub(crate) async fn open_at(base: Base, path: &Path, resolve: ResolveFlags) -> io::Result<ReadDir> {
        let how = OpenHow::new(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), resolve);
        let fd = SharedFd::new(open(base, path, how).await?);
        // The pool needs a descriptor of its own: ours stays on its core.
        let listing = Listing::new(call::os(&fd, "read_dir")?.try_clone_to_owned()?)?;
        let dir = Rc::new(Listed { fd, path: path.to_owned() });
        Ok(ReadDir { dir, stage: Stage::Idle(listing), read: VecDeque::new() })
    }

    /// Returns the next entry, as [`Iterator::next`] of [`std::fs::ReadDir`] does.
    ///
    /// # Errors
    ///
    /// Those of getdents64(2); there are no entries after the first error.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the next call returns the entry that this one waited for.
    ///
    /// # io_uring
    ///
    /// No op: the blocking pool reads 256 entries at a time.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let mut entries = fs::read_dir("src").await?;
    /// let first = entries.next().await.expect("src is not empty")?;
    /// assert!(first.path().starts_with("src"));
    /// # Ok(()) }
    /// ```
    pub async fn next(&mut self) -> Option<io::Result<DirEntry>> {
        loop {
            if let Some(entry) = self.read.pop_front() {
                return Some(entry.map(|raw| DirEntry { dir: self.dir.clone(), raw }));
            }
            match &mut self.stage {
                Stage::Over => return None,
                Stage::Idle(_) => {
                    let Stage::Idle(listing) = std::mem::replace(&mut self.stage, Stage::Over) else {
                        unreachable!("it is idle");
                    };
                    self.stage = Stage::Reading(spawn_blocking(move || read_batch(listing)));
                }
                Stage::Reading(batch) => {
                    let batch = poll_fn(|context| Pin::new(&mut *batch).poll(context)).await;
                    self.take(batch);
                }
            }
        }
    }

    fn take(&mut self, batch: Result<(Vec<io::Result<Raw>>, Option<Listing>), runtime::JoinError>) {
        self.stage = Stage::Over;
        match batch.map_err(runtime::JoinError::try_into_panic) {
            Ok((entries, listing)) => {
                self.read.extend(entries);
                if let Some(listing) = listing {
                    self.stage = Stage::Idle(listing);
                }
            }
            Err(Ok(payload)) => resume_unwind(payload),
            Err(Err(cancelled)) => self.read.push_back(Err(io::Error::other(cancelled))),
        }
    }
}

/// Entries, and the listing if it has more.
fn read_batch(mut listing: Listing) -> (Vec<io::Result<Raw>>, Option<Listing>) {
    let mut batch = Vec::new();
    while batch.len() < BATCH_MAX {
        match listing.read() {
            None => return (batch, None),
            Some(Err(error)) => {
                batch.push(Err(error.into()));
                return (batch, None);
            }
            Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Some(Ok(entry)) => {
                batch.push(Ok(Raw { name: entry.file_name().to_owned(), inode: entry.ino(), kind: entry.file_type() }))
            }
        }
    }
    (batch, Some(listing))
}

/// An entry of a directory, which stays open as long as there is an entry of it. [`std::fs::DirEntry`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let mut entries = fs::read_dir("src").await?;
/// while let Some(entry) = entries.next().await {
///     let entry = entry?;
///     if entry.file_name() == "lib.rs" {
///         assert!(entry.metadata().await?.len() > 0);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DirEntry {
    dir: Rc<Listed>,
    raw: Raw,
}

impl DirEntry {
    /// The path with which the directory was opened, joined with the name.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let mut entries = fs::read_dir("src").await?;
    /// let entry = entries.next().await.expect("src is not empty")?;
    /// assert_eq!(entry.path(), std::path::Path::new("src").join(entry.file_name()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path.join(self.name())
    }

    /// The name alone.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let mut entries = fs::read_dir("src").await?;
    /// let entry = entries.next().await.expect("src is not empty")?;
    /// assert_eq!(entry.path().file_name(), Some(entry.file_name().as_os_str()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.name().to_owned()
    }

    /// The inode's number.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// use std::os::unix::fs::MetadataExt;
    ///
    /// let mut entries = fs::read_dir("src").await?;
    /// let entry = entries.next().await.expect("src is not empty")?;
    /// assert_eq!(entry.ino(), std::fs::symlink_metadata(entry.path())?.ino());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.raw.inode
    }

    /// Returns the metadata of the file itself, even if it is a symbolic link. `statx(2)`.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if it has been removed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future.
    ///
    /// # io_uring
    ///
    /// As [`metadata`](crate::metadata).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let mut entries = fs::read_dir("src").await?;
    /// while let Some(entry) = entries.next().await {
    ///     assert!(entry?.metadata().await?.len() > 0);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn metadata(&self) -> io::Result<Metadata> {
        let base = Base::Dir(self.dir.fd.clone());
        submit(Stat::path(base, self.raw.name.clone(), false)).await.map(Metadata::new)
    }

    /// The type of the file. Most file systems return it together with the name.
    ///
    /// # Errors
    ///
    /// As [`metadata`](DirEntry::metadata), where they do not.
    ///
    /// # Cancel safety
    ///
    /// As [`metadata`](DirEntry::metadata).
    ///
    /// # io_uring
    ///
    /// None, or as [`metadata`](DirEntry::metadata).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let mut entries = fs::read_dir("src/file").await?;
    /// while let Some(entry) = entries.next().await {
    ///     assert!(entry?.file_type().await?.is_file());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn file_type(&self) -> io::Result<FileType> {
        match self.raw.kind {
            Kind::Unknown => Ok(self.metadata().await?.file_type()),
            kind => Ok(FileType::new(kind)),
        }
    }

    fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.raw.name.to_bytes())
    }
}

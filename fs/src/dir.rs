//! An open directory, and what is beneath it.

use std::io;
use std::path::Path;

use runtime::call;
use runtime::fd::SharedFd;
use runtime::op::path::{Base, Mode, OFlags, OpenHow, ResolveFlags};

use crate::open_options::open;
use crate::read_dir::ReadDir;
use crate::{File, Metadata, OpenOptions};

/// No way leads out: not `..`, not an absolute path or link, not the links of /proc, which lead anywhere.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// An open directory: everything that is opened through it is beneath it.
///
/// The kernel itself resolves each path, and refuses one that leads out by `..`, by an absolute path or by a symbolic
/// link while it resolves it. So there is no gap between a check and its use, and the directory stays the same when it
/// is renamed.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let dir = fs::Dir::open("src").await?;
/// assert!(dir.open_file("lib.rs").await?.metadata().await?.is_file());
/// let refused = dir.open_file("../Cargo.toml").await.unwrap_err();
/// assert_eq!(refused.kind(), std::io::ErrorKind::CrossesDevices);      // EXDEV, as openat2(2) says it
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Dir {
    fd: SharedFd,
}

impl Dir {
    /// Opens the directory at `path`, which may be anywhere.
    ///
    /// # Errors
    ///
    /// [`NotADirectory`](io::ErrorKind::NotADirectory); all others are open(2)'s.
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # io_uring
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::Dir::open("src").await?.metadata(".").await?.is_dir());
    /// let refused = fs::Dir::open("Cargo.toml").await.unwrap_err();
    /// assert_eq!(refused.kind(), std::io::ErrorKind::NotADirectory);
    /// # Ok(()) }
    /// ```
    pub async fn open<P: AsRef<Path>>(path: P) -> io::Result<Dir> {
        Dir::open_at(Base::Current, path.as_ref(), ResolveFlags::empty()).await
    }

    async fn open_at(base: Base, path: &Path, resolve: ResolveFlags) -> io::Result<Dir> {
        let how = OpenHow::new(OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), resolve);
        Ok(Dir { fd: SharedFd::new(open(base, path, how).await?) })
    }

    /// Opens the directory at `path` beneath this one.
    ///
    /// # Errors
    ///
    /// EXDEV ([`CrossesDevices`](io::ErrorKind::CrossesDevices)) for a path that leads out, ELOOP for one through a
    /// link of /proc; all others are open(2)'s.
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # io_uring
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let src = fs::Dir::open(".").await?.open_dir("src").await?;
    /// assert!(src.metadata("lib.rs").await?.is_file());
    /// # Ok(()) }
    /// ```
    pub async fn open_dir<P: AsRef<Path>>(&self, path: P) -> io::Result<Dir> {
        Dir::open_at(self.base(), path.as_ref(), CONFINED).await
    }

    /// Opens the file at `path` beneath this directory, for reading.
    ///
    /// # Errors
    ///
    /// As [`open_dir`](Dir::open_dir).
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # io_uring
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let src = fs::Dir::open("src").await?;
    /// let mut start = [0; 3];
    /// src.open_file("lib.rs").await?.read_exact(&mut start).await?;
    /// assert_eq!(&start, b"//!");
    /// assert!(src.open_file("/etc/passwd").await.is_err());
    /// # Ok(()) }
    /// ```
    pub async fn open_file<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        self.open_file_with(path, OpenOptions::new().read(true)).await
    }

    /// Opens the file at `path` beneath this directory, as `options` say.
    ///
    /// If it is not known what kind of file is there, open it with `O_NONBLOCK | O_NOCTTY` and ask [`File::metadata`]
    /// before reading: opening a FIFO may wait for its other end, and a terminal may become the controlling terminal of
    /// the session.
    ///
    /// # Errors
    ///
    /// As [`open_dir`](Dir::open_dir) and [`OpenOptions::open`].
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # io_uring
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let dir = fs::Dir::open("src").await?;
    /// let file = dir.open_file_with("lib.rs", fs::OpenOptions::new().read(true)).await?;
    /// # drop(file);
    /// # Ok(()) }
    /// ```
    pub async fn open_file_with<P: AsRef<Path>>(&self, path: P, options: &OpenOptions) -> io::Result<File> {
        options.open_at(self.base(), path.as_ref(), CONFINED).await
    }

    /// Returns the metadata of what is at `path` beneath this directory, following symbolic links; `.` is the directory
    /// itself.
    ///
    /// # Errors
    ///
    /// As [`open_dir`](Dir::open_dir).
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by dropping the future.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_OPENAT2` (5.6) with `O_PATH`, since statx(2) cannot be confined; then statx(2) of what is open, which
    /// does not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let src = fs::Dir::open("src").await?;
    /// assert!(src.metadata("lib.rs").await?.len() > 0);
    /// assert!(src.metadata("..").await.is_err());
    /// # Ok(()) }
    /// ```
    pub async fn metadata<P: AsRef<Path>>(&self, path: P) -> io::Result<Metadata> {
        let how = OpenHow::new(OFlags::PATH, Mode::empty(), CONFINED);
        let fd = SharedFd::new(open(self.base(), path.as_ref(), how).await?);
        call::stat_now(&fd).map(Metadata::new)
    }

    /// Lists the directory at `path` beneath this one; `.` is the directory itself.
    ///
    /// # Errors
    ///
    /// As [`open_dir`](Dir::open_dir).
    ///
    /// # Cancel safety
    ///
    /// As [`read_dir`](crate::read_dir).
    ///
    /// # io_uring
    ///
    /// As [`read_dir`](crate::read_dir).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let dir = fs::Dir::open(".").await?;
    /// let mut entries = dir.read_dir("src").await?;
    /// let mut names = Vec::new();
    /// while let Some(entry) = entries.next().await {
    ///     names.push(entry?.file_name());
    /// }
    /// assert!(names.iter().any(|name| name == "lib.rs"));
    /// # Ok(()) }
    /// ```
    pub async fn read_dir<P: AsRef<Path>>(&self, path: P) -> io::Result<ReadDir> {
        ReadDir::open_at(self.base(), path.as_ref(), CONFINED).await
    }

    fn base(&self) -> Base {
        Base::Dir(self.fd.clone())
    }
}

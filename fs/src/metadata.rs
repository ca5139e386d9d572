//! Metadata of files.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runtime::op::path::{Base, Stat, Statx, StatxFlags, StatxTime, c_path};
use runtime::submit;
use rustix::fs::{FileType as Kind, makedev};

use crate::Permissions;

/// The metadata of a file. Like [`std::fs::Metadata`]; for the Unix fields `use std::os::unix::fs::MetadataExt`, as
/// with std's.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let metadata = fs::metadata("Cargo.toml").await?;
/// assert!(metadata.is_file() && metadata.len() > 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Metadata(Statx);

impl Metadata {
    pub(crate) fn new(stat: Statx) -> Metadata {
        Metadata(stat)
    }

    /// What kind of file it is.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let metadata = fs::metadata("Cargo.toml").await?;
    /// assert_eq!(metadata.file_type().is_file(), metadata.is_file());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn file_type(&self) -> FileType {
        FileType(Kind::from_raw_mode(u32::from(self.0.mode)))
    }

    /// Whether it is a directory.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::metadata("src").await?.is_dir());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether it is a regular file.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::metadata("Cargo.toml").await?.is_file());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether it is a symbolic link, which is only possible with [`symlink_metadata`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::symlink_metadata("/proc/self").await?.is_symlink());
    /// assert!(!fs::metadata("/proc/self").await?.is_symlink());      // a directory: the link was followed
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// Its length in bytes.
    ///
    /// 0 for files that report no length: devices, pipes, most of /proc.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert_eq!(fs::metadata("Cargo.toml").await?.len(), fs::read("Cargo.toml").await?.len() as u64);
    /// assert_eq!(fs::metadata("/dev/null").await?.len(), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "std's Metadata has none")]
    pub fn len(&self) -> u64 {
        self.0.size
    }

    /// Its permissions.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// use std::os::unix::fs::PermissionsExt;
    ///
    /// let permissions = fs::metadata("/dev/null").await?.permissions();
    /// assert_eq!(permissions.mode() & 0o111, 0, "nobody runs it");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        Permissions::from_mode(u32::from(self.0.mode))
    }

    /// When its contents last changed.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) for a time that [`SystemTime`] cannot represent.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let metadata = fs::metadata("Cargo.toml").await?;
    /// assert!(metadata.modified()?.elapsed().is_ok(), "it was changed before now");
    /// # Ok(()) }
    /// ```
    pub fn modified(&self) -> io::Result<SystemTime> {
        system_time(self.0.modified)
    }

    /// When it was last read, as far as the mount options record that.
    ///
    /// # Errors
    ///
    /// As [`modified`](Metadata::modified).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let metadata = fs::metadata("Cargo.toml").await?;
    /// assert!(metadata.accessed()? > std::time::UNIX_EPOCH);
    /// # Ok(()) }
    /// ```
    pub fn accessed(&self) -> io::Result<SystemTime> {
        system_time(self.0.accessed)
    }

    /// When it was created.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the file system does not record it; otherwise as
    /// [`modified`](Metadata::modified).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// match fs::metadata("Cargo.toml").await?.created() {
    ///     Ok(time) => assert!(time > std::time::UNIX_EPOCH),
    ///     Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn created(&self) -> io::Result<SystemTime> {
        if !StatxFlags::from_bits_retain(self.0.mask).contains(StatxFlags::BTIME) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "creation time is not available for the filesystem",
            ));
        }
        system_time(self.0.created)
    }
}

fn system_time(time: StatxTime) -> io::Result<SystemTime> {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(u64::from(time.nanoseconds)))).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the file's time lies beyond what SystemTime can tell")
    })
}

/// What else stat(2) tells, by std's names.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::unix::fs::MetadataExt;
///
/// let metadata = fs::metadata("Cargo.toml").await?;
/// assert_eq!(metadata.ino(), std::fs::metadata("Cargo.toml")?.ino());
/// assert_eq!(metadata.mode() >> 12, 0o10, "a regular file");
/// # Ok(()) }
/// ```
impl MetadataExt for Metadata {
    fn dev(&self) -> u64 {
        makedev(self.0.device_major, self.0.device_minor)
    }

    fn ino(&self) -> u64 {
        self.0.inode
    }

    fn mode(&self) -> u32 {
        u32::from(self.0.mode)
    }

    fn nlink(&self) -> u64 {
        u64::from(self.0.links)
    }

    fn uid(&self) -> u32 {
        self.0.uid
    }

    fn gid(&self) -> u32 {
        self.0.gid
    }

    fn rdev(&self) -> u64 {
        makedev(self.0.device_special_major, self.0.device_special_minor)
    }

    fn size(&self) -> u64 {
        self.0.size
    }

    fn atime(&self) -> i64 {
        self.0.accessed.seconds
    }

    fn atime_nsec(&self) -> i64 {
        i64::from(self.0.accessed.nanoseconds)
    }

    fn mtime(&self) -> i64 {
        self.0.modified.seconds
    }

    fn mtime_nsec(&self) -> i64 {
        i64::from(self.0.modified.nanoseconds)
    }

    fn ctime(&self) -> i64 {
        self.0.changed.seconds
    }

    fn ctime_nsec(&self) -> i64 {
        i64::from(self.0.changed.nanoseconds)
    }

    fn blksize(&self) -> u64 {
        u64::from(self.0.block_size)
    }

    fn blocks(&self) -> u64 {
        self.0.blocks
    }
}

/// The type of a file. Like [`std::fs::FileType`]; for the Unix types `use std::os::unix::fs::FileTypeExt`, as with
/// std's.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let kind = fs::metadata("src").await?.file_type();
/// assert!(kind.is_dir() && !kind.is_file() && !kind.is_symlink());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileType(Kind);

impl std::hash::Hash for FileType {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.as_raw_mode().hash(state);
    }
}

impl FileType {
    pub(crate) fn new(kind: Kind) -> FileType {
        FileType(kind)
    }

    /// Whether it is a directory.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::metadata("src").await?.file_type().is_dir());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.0 == Kind::Directory
    }

    /// Whether it is a regular file.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(!fs::metadata("/dev/null").await?.file_type().is_file());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0 == Kind::RegularFile
    }

    /// Whether it is a symbolic link.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::symlink_metadata("/proc/self").await?.file_type().is_symlink());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.0 == Kind::Symlink
    }
}

/// The kinds that only Unix has.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::unix::fs::FileTypeExt;
///
/// assert!(fs::metadata("/dev/null").await?.file_type().is_char_device());
/// # Ok(()) }
/// ```
impl FileTypeExt for FileType {
    fn is_block_device(&self) -> bool {
        self.0 == Kind::BlockDevice
    }

    fn is_char_device(&self) -> bool {
        self.0 == Kind::CharacterDevice
    }

    fn is_fifo(&self) -> bool {
        self.0 == Kind::Fifo
    }

    fn is_socket(&self) -> bool {
        self.0 == Kind::Socket
    }
}

/// Returns the metadata of the file at `path`, following symbolic links. `statx(2)`.
///
/// # Errors
///
/// [`NotFound`](io::ErrorKind::NotFound), [`PermissionDenied`](io::ErrorKind::PermissionDenied) for a directory on the
/// path; [`InvalidInput`](io::ErrorKind::InvalidInput) for a NUL in `path`; all others are statx(2)'s.
///
/// # Cancel safety
///
/// Nothing is lost by dropping the future.
///
/// # io_uring
///
/// `IORING_OP_STATX` (5.6), which always runs on a kernel worker; the fallback asks on the blocking pool.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// assert!(fs::metadata("src").await?.is_dir());
/// # Ok(()) }
/// ```
pub async fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    submit(Stat::path(Base::Current, c_path(path.as_ref())?, true)).await.map(Metadata::new)
}

/// Returns the metadata of the file at `path` itself, even if that is a symbolic link. `statx(2)` with
/// `AT_SYMLINK_NOFOLLOW`.
///
/// # Errors
///
/// As [`metadata`].
///
/// # Cancel safety
///
/// As [`metadata`].
///
/// # io_uring
///
/// As [`metadata`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// assert!(!fs::symlink_metadata("Cargo.toml").await?.is_symlink());
/// # Ok(()) }
/// ```
pub async fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    submit(Stat::path(Base::Current, c_path(path.as_ref())?, false)).await.map(Metadata::new)
}

/// Returns whether there is a file at `path`, following symbolic links. `statx(2)`.
///
/// # Errors
///
/// As [`metadata`], except that a missing file is no error.
///
/// # Cancel safety
///
/// As [`metadata`].
///
/// # io_uring
///
/// As [`metadata`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// assert!(fs::exists("Cargo.toml").await? && !fs::exists("Cargo.toml.gone").await?);
/// # Ok(()) }
/// ```
pub async fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

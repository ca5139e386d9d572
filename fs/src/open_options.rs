//! How a file is opened: std's options, and what the kernel is asked.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use runtime::fd::Fd;
use runtime::op::path::{Base, Mode, OFlags, Open, OpenHow, ResolveFlags, c_path};
use runtime::submit;
use rustix::fs::CWD;
use rustix::io::{Errno, retry_on_intr};

use crate::File;
use crate::pool::on_pool;

/// How a file is opened. [`std::fs::OpenOptions`], with an async [`open`](OpenOptions::open).
///
/// `mode` and `custom_flags` are std's too: `use std::os::unix::fs::OpenOptionsExt`.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("gimmal-doc-open-options-{}", std::process::id()));
/// let file = fs::OpenOptions::new().read(true).write(true).create(true).open(&path).await?;
/// file.write_all(b"all that we know").await?;
/// # fs::remove_file(&path).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    custom_flags: i32,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

impl OpenOptions {
    /// No option is set: a file cannot be opened with that.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let refused = fs::OpenOptions::new().open("Cargo.toml").await.unwrap_err();
    /// assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            custom_flags: 0,
            mode: 0o666,
        }
    }

    /// Opens for reading.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::OpenOptions::new().read(true).open("Cargo.toml").await?;
    /// assert!(file.read(&mut [0; 16]).await? > 0);
    /// assert!(file.write(b"no").await.is_err());
    /// # Ok(()) }
    /// ```
    pub const fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.read = read;
        self
    }

    /// Opens for writing. Existing contents are overwritten from the start, not truncated.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-write-{}", std::process::id()));
    /// fs::write(&path, "abc").await?;
    /// fs::OpenOptions::new().write(true).open(&path).await?.write_all(b"X").await?;
    /// assert_eq!(fs::read(&path).await?, b"Xbc");
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub const fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.write = write;
        self
    }

    /// Opens for appending: each write goes to the end of the file at that moment. No other writer can get between
    /// finding the end and writing there.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-append-{}", std::process::id()));
    /// fs::write(&path, "one\n").await?;
    /// let log = fs::OpenOptions::new().append(true).open(&path).await?;
    /// log.write_all(b"two\n").await?;
    /// log.write_all_at(b"three\n", 0).await?;                        // whatever the offset, as pwrite(2) says
    /// assert_eq!(fs::read_to_string(&path).await?, "one\ntwo\nthree\n");
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub const fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.append = append;
        self
    }

    /// Truncates the file to length 0. Needs `write`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-truncate-{}", std::process::id()));
    /// fs::write(&path, "to be forgotten").await?;
    /// let file = fs::OpenOptions::new().write(true).truncate(true).open(&path).await?;
    /// assert_eq!(file.metadata().await?.len(), 0);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub const fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.truncate = truncate;
        self
    }

    /// Creates the file if it does not exist. Needs `write` or `append`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-create-{}", std::process::id()));
    /// let mut options = fs::OpenOptions::new();
    /// options.append(true).create(true);
    /// options.open(&path).await?.write_all(b"made, ").await?;
    /// options.open(&path).await?.write_all(b"then found").await?;
    /// assert_eq!(fs::read(&path).await?, b"made, then found");
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub const fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.create = create;
        self
    }

    /// Creates the file, and fails if it exists; `create` and `truncate` are then ignored. Needs `write` or `append`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-create-new-{}", std::process::id()));
    /// let mut options = fs::OpenOptions::new();
    /// options.write(true).create_new(true);
    /// let first = options.open(&path).await?;
    /// let second = options.open(&path).await;
    /// assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    /// # drop(first);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub const fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.create_new = create_new;
        self
    }

    /// Opens `path` with these options. `openat2(2)`, close-on-exec.
    ///
    /// Opening a FIFO for writing waits for a reader, as in std, and uses a thread of the [blocking
    /// pool](runtime::Builder::blocking_threads) meanwhile, or a kernel thread if the options may create or truncate.
    /// On a ring, opening a FIFO for reading may return before there is a writer; then the first read waits for one.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for options that contradict each other, as in std, and for a NUL
    /// in `path`. [`NotFound`](io::ErrorKind::NotFound), [`AlreadyExists`](io::ErrorKind::AlreadyExists),
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) and all others: open(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future asks the kernel to stop and returns at once. The file may still be created or truncated;
    /// what was opened is closed. An open for writing that waits for a FIFO's reader on the blocking pool continues
    /// there: the reader may find that a writer came, and left.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_OPENAT2` (5.6); the fallback opens on the blocking pool. A ring first tries without waiting, if the
    /// path is cached, and so opens a FIFO without its other end, or fails with ENXIO; in the latter case it is opened
    /// again on the pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::OpenOptions::new().read(true).open("Cargo.toml").await?;
    /// # drop(file);
    /// # Ok(()) }
    /// ```
    pub async fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        self.open_at(Base::Current, path.as_ref(), ResolveFlags::empty()).await
    }

    pub(crate) async fn open_at(&self, base: Base, path: &Path, resolve: ResolveFlags) -> io::Result<File> {
        // std looks at the path first.
        c_path(path)?;
        let flags = self.flags()?;
        let how = OpenHow::new(flags, self.mode(), resolve);
        let fd = match open(base.clone(), path, how).await {
            Err(error) if may_wait_for_a_reader(&error, flags) => {
                wait_for_a_reader(&base, path, flags, resolve).await?
            }
            opened => opened?,
        };
        Ok(File::opened(fd, flags))
    }

    fn mode(&self) -> Mode {
        // openat2 refuses what open(2) ignores.
        Mode::from_raw_mode(self.mode & 0o7777)
    }

    fn flags(&self) -> io::Result<OFlags> {
        let access = self.access_flags()?;
        let creation = self.creation_flags()?;
        let custom = OFlags::from_bits_retain(self.custom_flags.cast_unsigned()).difference(OFlags::RWMODE);
        let flags = access | creation | (custom & OPEN_KNOWS);
        // As open(2) does; openat2 refuses what makes no sense together.
        Ok(if flags.contains(OFlags::PATH) { flags & PATH_KNOWS } else { flags })
    }

    fn access_flags(&self) -> io::Result<OFlags> {
        match (self.read, self.write, self.append) {
            (true, false, false) => Ok(OFlags::RDONLY),
            (false, true, false) => Ok(OFlags::WRONLY),
            (true, true, false) => Ok(OFlags::RDWR),
            (false, _, true) => Ok(OFlags::WRONLY | OFlags::APPEND),
            (true, _, true) => Ok(OFlags::RDWR | OFlags::APPEND),
            (false, false, false) if self.create || self.create_new || self.truncate => Err(needs_write_access()),
            (false, false, false) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "must specify at least one of read, write, or append access",
            )),
        }
    }

    fn creation_flags(&self) -> io::Result<OFlags> {
        let is_refused = match (self.write, self.append) {
            (true, false) => false,
            (false, false) => self.truncate || self.create || self.create_new,
            (_, true) => self.truncate && !self.create_new,
        };
        if is_refused {
            return Err(needs_write_access());
        }
        if self.create_new {
            return Ok(OFlags::CREATE | OFlags::EXCL);
        }
        let create = if self.create { OFlags::CREATE } else { OFlags::empty() };
        let truncate = if self.truncate { OFlags::TRUNC } else { OFlags::empty() };
        Ok(create | truncate)
    }
}

/// `mode` says who may do what with a file that is created, less the umask; 0o666 unless it is said. `custom_flags` are
/// added to open(2)'s; its access mode among them is ignored, and so are flags that open(2) does not know.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
///
/// # let path = std::env::temp_dir().join(format!("gimmal-doc-mode-{}", std::process::id()));
/// let file = fs::OpenOptions::new().write(true).create(true).mode(0o600).open(&path).await?;
/// assert_eq!(file.metadata().await?.permissions().mode() & 0o777, 0o600);
/// # fs::remove_file(&path).await?;
/// # Ok(()) }
/// ```
impl OpenOptionsExt for OpenOptions {
    fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.mode = mode;
        self
    }

    fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.custom_flags = flags;
        self
    }
}

fn needs_write_access() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "creating or truncating a file requires write or append access")
}

/// The flags that open(2) knows. It ignores all others, and openat2(2) refuses them.
const OPEN_KNOWS: OFlags = OFlags::RWMODE
    .union(OFlags::APPEND)
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOCTTY)
    .union(OFlags::TRUNC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::SYNC)
    .union(OFlags::DSYNC)
    .union(OFlags::DIRECT)
    .union(OFlags::LARGEFILE)
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOATIME)
    .union(OFlags::PATH)
    .union(OFlags::TMPFILE);

/// The flags that open(2) looks at beside `O_PATH`.
const PATH_KNOWS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

/// So often an open that was disturbed is tried again. Then the disturbance is the answer.
const TRIES_MAX: usize = 32;

/// Opens, and tries again when a signal came in between, or when a name moved while a confined path was walked.
pub(crate) async fn open(base: Base, path: &Path, how: OpenHow) -> io::Result<Fd> {
    let mut tries_left = TRIES_MAX;
    loop {
        let opened = submit(Open { base: base.clone(), path: c_path(path)?, how }).await;
        tries_left -= 1;
        match opened {
            Err(error) if tries_left > 0 && was_disturbed(&error, &base) => {}
            opened => return opened,
        }
    }
}

/// Whether a ring may have answered for a FIFO that nobody reads yet: it tries without waiting first, where that cannot
/// create or cut, and takes ENXIO for the answer. Of a socket, or a device that is not there, the answer stays the
/// same.
fn may_wait_for_a_reader(error: &io::Error, flags: OFlags) -> bool {
    let final_with = OFlags::NONBLOCK | OFlags::PATH | OFlags::CREATE | OFlags::TRUNC;
    Errno::from_io_error(error) == Some(Errno::NXIO)
        && runtime::metrics().driver == "ring"
        && (flags & OFlags::RWMODE) == OFlags::WRONLY
        && !flags.intersects(final_with)
}

/// Opens where it may wait. Dropped, the job goes on until somebody reads; what it opens then is closed.
async fn wait_for_a_reader(base: &Base, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<Fd> {
    let dir = match base {
        Base::Current => None,
        Base::Dir(fd) => Some(fd.os()?.try_clone_to_owned()?),
    };
    let path = c_path(path)?;
    let opened = on_pool("open", move || {
        let dir = dir.as_ref().map_or(CWD, OwnedFd::as_fd);
        let flags = flags | OFlags::CLOEXEC;
        Ok(retry_on_intr(|| rustix::fs::openat2(dir, &path, flags, Mode::empty(), resolve))?)
    });
    opened.await.map(Fd::from)
}

fn was_disturbed(error: &io::Error, base: &Base) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::INTR) => true,
        // Elsewhere EAGAIN means that a lease is being broken, and O_NONBLOCK asked to hear of it.
        Some(Errno::AGAIN) => matches!(base, Base::Dir(_)),
        _ => false,
    }
}

//! An open file.

mod bounce;
mod convert;
mod description;
mod direct;
mod positional;
mod seek;
mod sequential;
mod transfer;
mod turns;
mod waiting;

use std::fs::Permissions;
use std::io;
use std::path::Path;
use std::rc::Rc;

use runtime::fd::{Fd, SharedFd};
use runtime::op::file::{Close, Fsync, Truncate};
use runtime::{call, submit};
use rustix::fs::OFlags;

use self::description::Description;
use self::transfer::{Resizing, Syncing, tended};
use crate::pool::on_pool;
use crate::{Metadata, OpenOptions};

/// An open file. [`std::fs::File`], async.
///
/// It closes when it is dropped: at once if nothing is in flight, else with the last reply. [`close`](File::close) says
/// how that went.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("gimmal-doc-file-{}", std::process::id()));
/// let file = fs::File::create(&path).await?;
/// file.write_all(b"to be kept").await?;
/// file.sync_all().await?;
/// file.close().await?;
/// # fs::remove_file(&path).await?;
/// # Ok(()) }
/// ```
///
/// # Pipes, terminals, eventfds
///
/// These are files too, and whoever reads one waits for somebody else, perhaps for good. So a lent read or write waits
/// until it is ready, and holds neither memory nor a thread meanwhile: as many of them may wait as there are pipes, and
/// plain files go on beside them. Then it takes what is there, or puts in what there is room for, straight from and to
/// the lent memory. If somebody else was faster, it waits on. 0 is the end: nobody writes any more. A pipe that nobody
/// reads answers EPIPE ([`BrokenPipe`](io::ErrorKind::BrokenPipe)).
///
/// Terminals and FIFOs cannot tell whether a transfer would wait (no `RWF_NOWAIT`), only that they are ready. A read
/// gets at most 64 KiB from them, a write puts in at most 4096 bytes, both by way of memory of their own; and where
/// somebody else is faster, that memory and a thread of the kernel's are kept until it is their turn.
///
/// What was `O_NONBLOCK` when its handle was made answers [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting,
/// as in std, to given buffers too.
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let (reader, writer) = runtime::call::pipe()?;
/// let (reader, writer) = (fs::File::from(reader), fs::File::from(writer));
/// let reading = runtime::spawn(async move {
///     let mut all = String::new();
///     reader.read_to_string(&mut all).await.map(|_| all)
/// });
/// writer.write_all(b"to whom it may concern").await?;
/// drop(writer);
/// assert_eq!(reading.await??, "to whom it may concern");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct File {
    fd: SharedFd,
    /// Shared by the handles that [`File::try_clone`] makes.
    description: Rc<Description>,
}

impl File {
    /// Opens the file at `path` to read.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
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
    /// let file = fs::File::open("Cargo.toml").await?;
    /// # drop(file);
    /// # Ok(()) }
    /// ```
    pub async fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path).await
    }

    /// Opens the file at `path` to write. It is created if there is none, and cut to nothing if there is one.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # io_uring
    ///
    /// As [`OpenOptions::open`]; creating always runs on a kernel worker.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-create-file-{}", std::process::id()));
    /// fs::write(&path, "longer than what comes").await?;
    /// fs::File::create(&path).await?.write_all(b"short").await?;
    /// assert_eq!(fs::read(&path).await?, b"short");
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path).await
    }

    /// Creates the file at `path` to read and write, and fails if there is one.
    ///
    /// # Errors
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # Cancel safety
    ///
    /// As [`OpenOptions::open`].
    ///
    /// # io_uring
    ///
    /// As [`create`](File::create).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-create-new-{}", std::process::id()));
    /// let file = fs::File::create_new(&path).await?;
    /// assert_eq!(fs::File::create_new(&path).await.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).await
    }

    /// How to open a file otherwise: [`OpenOptions::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::options().read(true).open("Cargo.toml").await?;
    /// # drop(file);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    pub(crate) fn opened(fd: Fd, flags: OFlags) -> File {
        File { fd: SharedFd::new(fd), description: Description::new(flags) }
    }

    /// Makes durable what was written, and the file's metadata. `fsync(2)`.
    ///
    /// It covers the writes that had returned before, and those whose futures had been dropped: it waits for these.
    ///
    /// # Errors
    ///
    /// fsync(2)'s, and why a dropped write or sync failed. Then what was written may be lost, also if the next sync
    /// succeeds.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future asks the kernel to stop; what was written is durable, or not yet. If it failed all the same,
    /// the next write, sync or [`close`](File::close) is told, since the kernel tells of a lost write only once.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_FSYNC` (5.1), on a kernel worker; the fallback syncs on the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-sync-all-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// file.write_all(b"not to be lost").await?;
    /// file.sync_all().await?;                                 // what was written outlives a power cut
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn sync_all(&self) -> io::Result<()> {
        self.sync(false).await
    }

    /// Makes durable what was written, and of the metadata what reading it back needs. `fdatasync(2)`.
    ///
    /// # Errors
    ///
    /// As [`sync_all`](File::sync_all).
    ///
    /// # Cancel safety
    ///
    /// As [`sync_all`](File::sync_all).
    ///
    /// # io_uring
    ///
    /// As [`sync_all`](File::sync_all).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-sync-data-{}", std::process::id()));
    /// let log = fs::OpenOptions::new().append(true).create(true).open(&path).await?;
    /// log.write_all(b"it happened\n").await?;
    /// log.sync_data().await?;
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn sync_data(&self) -> io::Result<()> {
        self.sync(true).await
    }

    async fn sync(&self, data_only: bool) -> io::Result<()> {
        self.description.syncs_settled().await?;
        loop {
            let fsync = Fsync { fd: self.fd.clone(), data_only };
            match tended(&self.description, Syncing { fsync, description: self.description.clone() }).await {
                // As std: a signal is no reason to tell whoever asked.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                synced => return synced,
            }
        }
    }

    /// Makes the file `size` bytes long: cuts it, or adds zeros. `ftruncate(2)`. The cursor stays where it is.
    ///
    /// It comes after the writes whose futures were dropped before.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a file that is not open to write, or a size above `i64::MAX`;
    /// all else is ftruncate(2)'s, or why a dropped write failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop it, once it has begun. Later writes and syncs wait for it.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_FTRUNCATE` (6.9), on a kernel worker; the blocking pool on older rings, and on the fallback.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-set-len-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// file.set_len(4096).await?;
    /// assert_eq!(file.metadata().await?.len(), 4096);
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn set_len(&self, size: u64) -> io::Result<()> {
        self.description.writes_settled().await?;
        loop {
            let truncate = Truncate { fd: self.fd.clone(), len: size };
            let resizing = Resizing { truncate, description: self.description.clone() };
            match tended(&self.description, resizing).await {
                // As std.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                resized => return resized,
            }
        }
    }

    /// Says who may do what with the file. `fchmod(2)`.
    ///
    /// # Errors
    ///
    /// fchmod(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop it, once it has begun, and nothing waits for it then.
    ///
    /// # io_uring
    ///
    /// No op: the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("gimmal-doc-file-permissions-{}", std::process::id()));
    /// let file = fs::File::create(&path).await?;
    /// let mut permissions = file.metadata().await?.permissions();
    /// permissions.set_readonly(true);
    /// file.set_permissions(permissions).await?;
    /// # fs::remove_file(&path).await?;
    /// # Ok(()) }
    /// ```
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        let file = std::fs::File::from(call::os(&self.fd, "set_permissions")?.try_clone_to_owned()?);
        on_pool("fchmod", move || file.set_permissions(permissions)).await
    }

    /// Tells about the file: what the inode has in memory, read at once. `statx(2)`.
    ///
    /// # Errors
    ///
    /// EIO and ESTALE of network file systems, where alone it can take a while.
    ///
    /// # Cancel safety
    ///
    /// It does not wait.
    ///
    /// # io_uring
    ///
    /// No op: the system call costs a fifth of one.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// assert!(fs::File::open("Cargo.toml").await?.metadata().await?.is_file());
    /// # Ok(()) }
    /// ```
    pub async fn metadata(&self) -> io::Result<Metadata> {
        call::stat_now(&self.fd).map(Metadata::new)
    }

    /// A second handle of the same open file, with a descriptor of its own and the same cursor. `dup(2)`, which does
    /// not wait.
    ///
    /// # Errors
    ///
    /// EMFILE when descriptors run out; [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::open("Cargo.toml").await?;
    /// let other = file.try_clone()?;
    /// file.read_exact(&mut [0; 4]).await?;
    /// assert_eq!(other.stream_position().await?, 4);
    /// # Ok(()) }
    /// ```
    pub fn try_clone(&self) -> io::Result<File> {
        let fd = call::os(&self.fd, "try_clone")?.try_clone_to_owned()?;
        Ok(File { fd: SharedFd::new(fd), description: self.description.clone() })
    }

    /// Closes the file, and says what the file system said. `close(2)`. What is in flight comes first.
    ///
    /// # Errors
    ///
    /// EIO, ENOSPC and EDQUOT of network file systems, and why a dropped write failed. The file is closed whatever is
    /// answered. Without a ring, only the latter.
    ///
    /// # Cancel safety
    ///
    /// The file is closed all the same, when what is in flight has ended.
    ///
    /// # io_uring
    ///
    /// `IORING_OP_CLOSE` (5.6); the fallback closes on the blocking pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// // The disk is full, and a write was dropped that nobody had waited for:
    /// let file = fs::OpenOptions::new().write(true).open("/dev/full").await?;
    /// let mut write = Box::pin(file.write_owned("lost"));
    /// # let begun = std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context))).await;
    /// # assert!(begun.is_pending());
    /// drop(write);
    /// assert_eq!(file.close().await.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    /// # Ok(()) }
    /// ```
    pub async fn close(self) -> io::Result<()> {
        let settled = self.description.all_settled().await;
        let closed = match self.fd.try_into_fd() {
            Ok(fd) => submit(Close::new(fd)).await,
            // A future was leaked with its op in flight, which closes the file when it ends.
            Err(_shared) => Ok(()),
        };
        settled.and(closed)
    }
}

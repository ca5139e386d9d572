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
/// It is closed when it is dropped: at once if nothing is in flight, otherwise after the last reply.
/// [`close`](File::close) also reports errors of closing.
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
/// These are files too, and reading from one waits for another process or task, perhaps for ever. So a lent read or
/// write waits until the descriptor is ready, and holds neither memory nor a thread meanwhile: any number of them may
/// wait, and regular files are not held up by them. Then it reads what is there, or writes as much as there is room
/// for, straight to or from the lent memory. If another reader or writer was faster, it continues to wait. 0 is the
/// end: there is no writer any more. Writing to a pipe without a reader fails with EPIPE
/// ([`BrokenPipe`](io::ErrorKind::BrokenPipe)).
///
/// Terminals and FIFOs do not support `RWF_NOWAIT`: they can only be polled for readiness. A read gets at most 64 KiB
/// from them, and a write writes at most 4096 bytes, both through a buffer of the runtime's; if another reader or
/// writer is faster, that buffer and a kernel thread are in use until the transfer can be done.
///
/// If the descriptor was `O_NONBLOCK` when its handle was made, reads and writes fail with
/// [`WouldBlock`](io::ErrorKind::WouldBlock) instead of waiting, as in std, also with given buffers.
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
    /// Opens the file at `path` for reading.
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

    /// Opens the file at `path` for writing. The file is created if it does not exist, and truncated if it does.
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

    /// Creates the file at `path` for reading and writing, and fails if it exists.
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

    /// Options to open a file in other ways: [`OpenOptions::new`].
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

    /// Makes written data and the file's metadata durable. `fsync(2)`.
    ///
    /// It covers writes that returned before this call, and writes whose futures were dropped: it waits for these.
    ///
    /// # Errors
    ///
    /// Those of fsync(2), and the error of a dropped write or sync. After an error written data may be lost, also if
    /// the next sync succeeds.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future asks the kernel to stop; the data may or may not be durable. If the sync fails after the
    /// drop, the next write, sync or [`close`](File::close) returns the error, since the kernel reports a lost write
    /// only once.
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

    /// Makes written data durable, and only as much metadata as is needed to read it back. `fdatasync(2)`.
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

    /// Makes the file `size` bytes long: truncates it, or appends zeros. `ftruncate(2)`. The cursor stays where it is.
    ///
    /// It is done after writes whose futures were dropped before.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a file that is not open for writing, or a size above
    /// `i64::MAX`; all others are ftruncate(2)'s, or the error of a dropped write.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the operation once it has begun. Later writes and syncs wait for it.
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

    /// Sets the permissions of the file. `fchmod(2)`.
    ///
    /// # Errors
    ///
    /// fchmod(2)'s.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the operation once it has begun, and nothing waits for it.
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

    /// Returns the file's metadata: what the inode has in memory, read at once. `statx(2)`.
    ///
    /// # Errors
    ///
    /// EIO and ESTALE of network file systems, the only ones on which this can take a while.
    ///
    /// # Cancel safety
    ///
    /// The future never waits.
    ///
    /// # io_uring
    ///
    /// No op: the system call costs a fifth of what an op does.
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
    /// EMFILE if there are no descriptors left; [`Unsupported`](io::ErrorKind::Unsupported) on a simulated kernel.
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

    /// Closes the file, and returns the error of closing. `close(2)`. Operations in flight are finished first.
    ///
    /// # Errors
    ///
    /// EIO, ENOSPC and EDQUOT of network file systems, and the error of a dropped write. The file is closed in any
    /// case. Without a ring, only the error of a dropped write is returned.
    ///
    /// # Cancel safety
    ///
    /// The file is closed all the same, when the operations in flight have ended.
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

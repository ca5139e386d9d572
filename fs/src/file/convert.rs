//! Conversions from and to std's files and descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use runtime::call;
use runtime::fd::Fd;
use rustix::fs::{OFlags, fcntl_getfl};

use super::File;

impl File {
    /// Takes over a file of std's. Other descriptors of the same open file share its cursor.
    ///
    /// A descriptor that was `O_NONBLOCK` keeps that: see [`File`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file = fs::File::from_std(std::fs::File::open("Cargo.toml")?);
    /// assert!(file.metadata().await?.is_file());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn from_std(file: std::fs::File) -> File {
        File::from(OwnedFd::from(file))
    }

    /// Turns it into a file of std's, when nothing is in flight any more.
    ///
    /// # Errors
    ///
    /// The error of a dropped write. [`Unsupported`](io::ErrorKind::Unsupported) for a file of a simulated kernel.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) if a dropped read took bytes from a pipe, to which nothing can be
    /// given back (a [`read`](File::read) would get them), and if a future was leaked while it was in flight. The file
    /// is then closed.
    ///
    /// # Cancel safety
    ///
    /// As [`close`](File::close).
    ///
    /// # io_uring
    ///
    /// No op.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let file: std::fs::File = fs::File::open("Cargo.toml").await?.into_std().await?;
    /// # drop(file);
    /// # Ok(()) }
    /// ```
    pub async fn into_std(self) -> io::Result<std::fs::File> {
        self.description.all_settled().await?;
        if self.description.has_parked() {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "a dropped read took bytes that nobody has read yet",
            ));
        }
        call::os(&self.fd, "into_std")?;
        match self.fd.try_into_fd() {
            Ok(Fd::Os(fd)) => Ok(fd.into()),
            Ok(other) => unreachable!("{other:?} was one of this process"),
            Err(_shared) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "a future was leaked with its request in flight, which still has the file",
            )),
        }
    }
}

/// As [`File::from_std`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let file: fs::File = std::fs::File::open("Cargo.toml")?.into();
/// assert!(file.metadata().await?.is_file());
/// # Ok(()) }
/// ```
impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File::from_std(file)
    }
}

/// Of whatever can be read from or written to: a file, a pipe, a terminal. Asks for its flags, by one fcntl(2).
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::OwnedFd;
///
/// let (reader, writer) = std::io::pipe()?;
/// let (reader, writer) = (fs::File::from(OwnedFd::from(reader)), fs::File::from(OwnedFd::from(writer)));
/// writer.write_all(b"hello").await?;
/// let mut greeting = [0; 5];
/// reader.read_exact(&mut greeting).await?;
/// assert_eq!(&greeting, b"hello");
/// # Ok(()) }
/// ```
impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        // A descriptor that does not tell its flags does no direct I/O either.
        let flags = fcntl_getfl(&fd).unwrap_or(OFlags::empty());
        File::opened(fd.into(), flags)
    }
}

/// Of a simulated kernel too: an end of [`call::pipe`](runtime::call::pipe), say.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let (_reader, writer) = runtime::call::pipe()?;
/// fs::File::from(writer).write_all(b"hello").await?;
/// # Ok(()) }
/// ```
impl From<Fd> for File {
    fn from(fd: Fd) -> File {
        match fd {
            Fd::Os(fd) => File::from(fd),
            simulated => File::opened(simulated, OFlags::empty()),
        }
    }
}

/// As of an [`OwnedFd`], which it becomes.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::{FromRawFd, IntoRawFd};
///
/// let number = std::fs::File::open("Cargo.toml")?.into_raw_fd();
/// // SAFETY: it was given up by the file, and nobody else has it.
/// let file = unsafe { fs::File::from_raw_fd(number) };
/// assert!(file.metadata().await?.is_file());
/// # Ok(()) }
/// ```
impl FromRawFd for File {
    #[allow(unsafe_code)]
    unsafe fn from_raw_fd(fd: RawFd) -> File {
        // SAFETY: it wants an open descriptor that nobody else closes. That is what our own caller promises.
        File::from(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// # Panics
///
/// For a file of a simulated kernel, which has no descriptor in this process.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::AsFd;
///
/// let file = fs::File::open("Cargo.toml").await?;
/// assert_eq!(rustix::fs::fstat(file.as_fd())?.st_size as u64, file.metadata().await?.len());
/// # Ok(()) }
/// ```
impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// # Panics
///
/// As [`AsFd`].
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::os::fd::AsRawFd;
///
/// let file = fs::File::open("Cargo.toml").await?;
/// assert!(file.as_raw_fd() > 2);
/// # Ok(()) }
/// ```
impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}

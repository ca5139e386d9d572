//! From std's files and descriptors, and back.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use runtime::fd::Fd;
use rustix::fs::{OFlags, fcntl_getfl};

use super::File;

impl File {
    /// Takes over a file of std's. What others do with the same open file, by other descriptors, moves the same cursor.
    #[must_use]
    pub fn from_std(file: std::fs::File) -> File {
        File::from(OwnedFd::from(file))
    }

    /// Gives the file to std, when nothing is in flight any more.
    ///
    /// # Errors
    ///
    /// Why a dropped write failed. [`Unsupported`](io::ErrorKind::Unsupported) for a file of a simulated kernel.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when a dropped read took something from a pipe, where nothing can be put back: a
    /// [`read`](File::read) gets it; and when a future was leaked while it was in flight. The file is closed then.
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
        self.fd.os()?;
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

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File::from_std(file)
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        // A descriptor that does not tell its flags does no direct I/O either.
        let flags = fcntl_getfl(&fd).unwrap_or(OFlags::empty());
        File::opened(fd.into(), flags)
    }
}

/// Of a simulated kernel too: an end of [`call::pipe`](runtime::call::pipe), say.
impl From<Fd> for File {
    fn from(fd: Fd) -> File {
        match fd {
            Fd::Os(fd) => File::from(fd),
            simulated => File::opened(simulated, OFlags::empty()),
        }
    }
}

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
impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// # Panics
///
/// As [`AsFd`].
impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_fd().as_raw_fd()
    }
}

//! Descriptors: who owns them, who shares them, and when they are closed.
//!
//! A descriptor is closed when its last reference is dropped, never while it is still in use: an op in flight holds a
//! [`SharedFd`], so `close(2)` comes after its last reply. If nothing is in flight, the drop closes at once.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

/// A descriptor of the operating system, or of a simulated kernel.
///
/// It is closed when it is dropped.
///
/// # Examples
///
/// ```
/// use std::os::fd::OwnedFd;
/// use runtime::fd::{Fd, FdRef};
///
/// let fd = Fd::from(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// assert!(matches!(fd.borrow(), FdRef::Os(_)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Fd {
    /// A descriptor of this process.
    Os(OwnedFd),
    /// A descriptor of a simulated kernel.
    Simulated(SimulatedFd),
}

impl Fd {
    /// Borrows the descriptor, for a [request](crate::op::Request).
    #[inline]
    pub fn borrow(&self) -> FdRef<'_> {
        match self {
            Fd::Os(fd) => FdRef::Os(fd.as_fd()),
            Fd::Simulated(fd) => FdRef::Simulated(fd.0.number),
        }
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Fd {
        Fd::Os(fd)
    }
}

/// A descriptor number of a simulated kernel, which closes it when this is dropped.
///
/// A thin pointer: replies carry descriptors, and those of the real kernel should not pay for this.
pub struct SimulatedFd(Box<Simulated>);

struct Simulated {
    number: u32,
    kernel: Arc<dyn SimulatedKernel>,
}

/// What a [`SimulatedFd`] needs of the kernel it belongs to.
pub(crate) trait SimulatedKernel: Send + Sync {
    /// The last reference to the descriptor `number` went.
    fn close(&self, number: u32);
}

impl SimulatedFd {
    pub(crate) fn new(number: u32, kernel: Arc<dyn SimulatedKernel>) -> SimulatedFd {
        SimulatedFd(Box::new(Simulated { number, kernel }))
    }
}

impl fmt::Debug for SimulatedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated {}", self.0.number)
    }
}

impl Drop for SimulatedFd {
    fn drop(&mut self) {
        self.0.kernel.close(self.0.number);
    }
}

/// A borrowed descriptor, as requests hold it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum FdRef<'a> {
    /// A descriptor of this process.
    Os(BorrowedFd<'a>),
    /// A descriptor of a simulated kernel.
    Simulated(u32),
}

impl<'a> FdRef<'a> {
    /// The number that an SQE carries. A simulated descriptor never gets there: -1 answers EBADF.
    #[inline]
    pub(crate) fn number(self) -> RawFd {
        match self {
            FdRef::Os(fd) => fd.as_raw_fd(),
            FdRef::Simulated(_) => -1,
        }
    }

    /// The descriptor, for a plain system call.
    ///
    /// # Errors
    ///
    /// EBADF for a descriptor of a simulated kernel: it means nothing to this one.
    #[inline]
    pub(crate) fn os(self) -> rustix::io::Result<BorrowedFd<'a>> {
        match self {
            FdRef::Os(fd) => Ok(fd),
            FdRef::Simulated(_) => Err(rustix::io::Errno::BADF),
        }
    }
}

impl fmt::Debug for FdRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FdRef::Os(fd) => write!(f, "fd {}", fd.as_raw_fd()),
            FdRef::Simulated(number) => write!(f, "simulated {number}"),
        }
    }
}

/// A descriptor that is shared by a handle and its ops in flight, on one core.
///
/// Cloning adds a reference, without an atomic operation. Dropping the last reference closes the descriptor.
///
/// # Examples
///
/// ```
/// use std::os::fd::OwnedFd;
/// use runtime::fd::SharedFd;
///
/// let handle = SharedFd::new(OwnedFd::from(std::fs::File::open("Cargo.toml")?));
/// let op = handle.clone();
/// assert_eq!(handle.references(), 2);
/// let handle = handle.try_into_fd().expect_err("an op has it too");
/// drop(op);
/// assert!(handle.os().is_ok() && handle.try_into_fd().is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedFd(Rc<Fd>);

impl SharedFd {
    /// Shares `fd`.
    pub fn new(fd: impl Into<Fd>) -> SharedFd {
        SharedFd(Rc::new(fd.into()))
    }

    /// Borrows the descriptor, for a [request](crate::op::Request).
    #[inline]
    pub fn borrow(&self) -> FdRef<'_> {
        self.0.borrow()
    }

    /// The operating system's descriptor, for a plain system call.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for a simulated one.
    pub fn os(&self) -> io::Result<BorrowedFd<'_>> {
        match &*self.0 {
            Fd::Os(fd) => Ok(fd.as_fd()),
            Fd::Simulated(fd) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{fd:?} belongs to a simulated kernel: no plain system call reaches it"),
            )),
        }
    }

    /// How many references there are: 1 when no op in flight uses the descriptor and no clone of the handle lives.
    pub fn references(&self) -> usize {
        Rc::strong_count(&self.0)
    }

    /// Returns the descriptor if this is its last reference.
    ///
    /// # Errors
    ///
    /// Returns `self` while there are other references.
    pub fn try_into_fd(self) -> Result<Fd, SharedFd> {
        Rc::try_unwrap(self.0).map_err(SharedFd)
    }
}

impl AsFd for SharedFd {
    /// # Panics
    ///
    /// For a descriptor of a simulated kernel, which has no number in this process.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &*self.0 {
            Fd::Os(fd) => fd.as_fd(),
            Fd::Simulated(fd) => panic!("{fd:?} belongs to a simulated kernel and has no descriptor in this process"),
        }
    }
}

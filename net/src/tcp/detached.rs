//! Connections and listeners that are moved from one core to another.
//!
//! A handle belongs to one core. To move it, [detach](TcpStream::detach) it: its ops in flight end, and what has not
//! been taken yet (bytes, a connection, an error) and its timeouts move with it. The detached value is `Send`, and
//! belongs to no core until it is attached.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use runtime::call;
use runtime::fd::{Fd, SharedFd};
use runtime::op::address::SocketAddress;

use super::listener::TcpListener;
use super::stream::{Remains, TcpStream};

/// A [`TcpStream`] that belongs to no core. Returned by [`TcpStream::detach`]. Dropping it closes the connection.
#[must_use = "dropping it closes the connection"]
pub struct DetachedTcpStream {
    pub(super) fd: Fd,
    /// What nobody has heard of yet.
    pub(super) remains: Remains,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    /// Not set on the socket meanwhile, so that dropping this does not block.
    pub(super) linger: Option<Duration>,
}

impl DetachedTcpStream {
    /// Turns it into a stream of the current core. Reads continue where those of the other core ended.
    ///
    /// # Errors
    ///
    /// As setsockopt(2), if the stream [lingers](TcpStream::set_linger).
    ///
    /// # Examples
    ///
    /// See [`TcpStream::detach`].
    pub fn attach(self) -> io::Result<TcpStream> {
        TcpStream::attached(self)
    }
}

impl fmt::Debug for DetachedTcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedTcpStream").field("fd", &self.fd.borrow()).field("remains", &self.remains).finish()
    }
}

/// A [`TcpListener`] that belongs to no core. Returned by [`TcpListener::detach`]. Dropping it closes the socket.
#[must_use = "dropping it closes the listener"]
pub struct DetachedTcpListener {
    pub(super) fd: Fd,
    /// A connection that nobody has taken.
    pub(super) accepted: Option<(Fd, SocketAddress)>,
}

impl DetachedTcpListener {
    /// Turns it into a listener of the current core.
    ///
    /// # Examples
    ///
    /// See [`TcpListener::detach`].
    pub fn attach(self) -> TcpListener {
        TcpListener::attached(self)
    }
}

impl fmt::Debug for DetachedTcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedTcpListener").field("fd", &self.fd.borrow()).finish_non_exhaustive()
    }
}

/// The descriptor, or a duplicate where others use it.
pub(super) fn into_fd(fd: SharedFd) -> io::Result<Fd> {
    match fd.try_into_fd() {
        Ok(fd) => Ok(fd),
        Err(shared) => shared.os()?.try_clone_to_owned().map(Fd::Os),
    }
}

/// The same, of the operating system's.
pub(super) fn into_owned(fd: SharedFd) -> io::Result<OwnedFd> {
    match into_fd(fd)? {
        Fd::Os(fd) => Ok(fd),
        simulated => call::os(&SharedFd::new(simulated), "into_std")?.try_clone_to_owned(),
    }
}

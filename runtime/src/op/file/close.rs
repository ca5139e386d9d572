//! Closing a descriptor: who closes it, and who must not do so again.

use std::io;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use super::FileRequest;
use crate::fd::Fd;
use crate::op::{OnDrop, Op, Reply, Request};

/// Closes a descriptor, and returns the error of closing. `close(2)`.
///
/// # Errors
///
/// They are real (EIO, ENOSPC and EDQUOT of network file systems) and final: the descriptor is closed in any case.
/// Without a ring the error is not available, since std closes silently.
///
/// # Cancel safety
///
/// A dropped close [runs to its end](OnDrop::Finish). One that has not been polled closes as any drop of an [`Fd`]
/// does.
///
/// # io_uring
///
/// `IORING_OP_CLOSE` (5.6); the fallback closes on the blocking pool.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use std::io::Read;
/// use std::os::{fd::OwnedFd, unix::net::UnixStream};
///
/// let (mut near, far) = UnixStream::pair()?;
/// runtime::submit(runtime::op::file::Close::new(OwnedFd::from(far))).await?;
/// assert_eq!(near.read(&mut [0; 8])?, 0);                                 // nobody is there any more
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Close {
    fd: Closing,
}

/// A descriptor that is being closed. The driver that services the request takes it out, except a ring, where the
/// kernel closes the number: after that the number may belong to another file, so it is never closed again, whatever
/// happens to the op.
#[derive(Debug)]
pub struct Closing {
    fd: Option<Fd>,
    /// A ring has the number.
    is_given: bool,
}

impl Closing {
    pub(crate) fn get(&self) -> Option<&Fd> {
        self.fd.as_ref()
    }

    /// Whoever takes it closes it.
    pub(crate) fn take(&mut self) -> Option<Fd> {
        self.fd.take()
    }

    pub(super) fn give_number(&mut self) -> i32 {
        match &self.fd {
            Some(Fd::Os(fd)) => {
                self.is_given = true;
                fd.as_raw_fd()
            }
            Some(Fd::Simulated(_)) | None => -1,
        }
    }
}

impl From<Fd> for Closing {
    fn from(fd: Fd) -> Closing {
        Closing { fd: Some(fd), is_given: false }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if self.is_given
            && let Some(Fd::Os(fd)) = self.fd.take()
        {
            let _closed = std::os::fd::IntoRawFd::into_raw_fd(fd);
        }
    }
}

impl Close {
    /// Closes `fd`, which must not be shared: the descriptor of a handle comes from
    /// [`SharedFd::try_into_fd`](crate::fd::SharedFd::try_into_fd).
    pub fn new(fd: impl Into<Fd>) -> Close {
        Close { fd: Closing::from(fd.into()) }
    }
}

impl Op for Close {
    type Output = io::Result<()>;

    const ON_DROP: OnDrop = OnDrop::Finish;

    fn request(&mut self) -> Request<'_> {
        Request::File(FileRequest::Close { fd: &mut self.fd })
    }

    fn finish(mut self, reply: io::Result<Reply>) -> Self::Output {
        // Then a ring never ran the op.
        if matches!(&reply, Err(error) if error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())) {
            self.fd.is_given = false;
        }
        reply.and_then(Reply::count).map(|_zero| ())
    }

    fn abandon(self, reply: io::Result<Reply>) {
        drop(self.finish(reply));
    }
}

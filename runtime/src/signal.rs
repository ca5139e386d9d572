//! Signals.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use signal_hook::consts::SIGINT;

use crate::fd::SharedFd;
use crate::inflight::submit;
use crate::op::file::{Position, Read};

/// Waits for ctrl-c: a SIGINT that arrives after this was called.
///
/// From the first call on, for the rest of the process, SIGINT no longer ends it. A program that wants a second ctrl-c
/// to end it waits for a second one and exits. Several waiters are all told.
///
/// # Errors
///
/// EMFILE, ENFILE: no descriptor for the pipe through which the signal is told.
///
/// # Cancel safety
///
/// Dropping the future unregisters it. A signal that came and was not read is forgotten with it, so to hear of each, keep
/// the future.
///
/// # io_uring
///
/// `IORING_OP_READ` (5.6) on a socket pair that the signal handler writes to.
///
/// # Examples
///
/// ```no_run
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// runtime::signal::ctrl_c()?.await?;
/// println!("bye");
/// # Ok(()) }
/// ```
pub fn ctrl_c() -> io::Result<impl Future<Output = io::Result<()>>> {
    let (told, teller) = UnixStream::pair()?;
    let id = signal_hook::low_level::pipe::register(SIGINT, teller)?;
    let registered = Registered { id };
    Ok(async move {
        let _registered = registered;
        let fd = SharedFd::new(OwnedFd::from(told));
        submit(Read { fd, buf: [0; 1], position: Position::Cursor }).await?;
        Ok(())
    })
}

struct Registered {
    id: signal_hook::SigId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.id);
    }
}

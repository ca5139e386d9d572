//! Signals.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use signal_hook::consts::SIGINT;

use crate::call;
use crate::fd::SharedFd;
use crate::inflight::{Submit, submit};
use crate::op::file::{Position, Read};

/// Waits for ctrl-c: for a SIGINT that arrives after this call.
///
/// After the first call SIGINT no longer ends the process, until the process exits. A program that wants to be ended by
/// a second ctrl-c waits for a second one and exits: the future can be awaited again through `&mut`, and then waits for
/// the next signal. Signals are queued until they are awaited, so none is missed in between, up to what a socket's
/// buffer holds: some 270, and further ones are dropped. If there are several waiters, all of them get every signal.
///
/// # Errors
///
/// EMFILE, ENFILE: no descriptor for the socket pair that carries the signal. In a [simulated world](crate::simulated),
/// which has no signals, the future fails with [`Unsupported`](io::ErrorKind::Unsupported) when it is polled.
///
/// # Cancel safety
///
/// Dropping the future unregisters it, and its queued signals are lost. Dropping a `&mut` of it loses nothing.
///
/// # io_uring
///
/// `IORING_OP_READ` (5.6) on a socket pair that the signal handler writes to.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use rustix::process::{Signal, getpid, kill_process};
///
/// let mut interrupted = runtime::signal::ctrl_c()?;
/// kill_process(getpid(), Signal::INT)?;                                       // as a terminal does
/// (&mut interrupted).await?;
/// let at_once = runtime::spawn(async move { interrupted.await.map(|()| std::process::exit(130)) });
/// // Here the program tidies up, and once more ctrl-c ends it.
/// at_once.abort();
/// # Ok(()) }
/// ```
pub fn ctrl_c() -> io::Result<CtrlC> {
    let (told, teller) = UnixStream::pair()?;
    let id = signal_hook::low_level::pipe::register(SIGINT, teller)?;
    Ok(CtrlC { fd: SharedFd::new(OwnedFd::from(told)), next: None, _registered: Registered { id } })
}

/// The future that [`ctrl_c`] returns. Each time it is ready it has reported one signal, and then waits for the next.
#[must_use = "futures do nothing unless awaited"]
pub struct CtrlC {
    fd: SharedFd,
    /// The handler writes a byte for each signal. One is read at a time.
    next: Option<Submit<Read<[u8; 1]>>>,
    _registered: Registered,
}

impl Future for CtrlC {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.next.is_none() {
                call::pass("ctrl_c")?;
            }
            let next = this
                .next
                .get_or_insert_with(|| submit(Read { fd: this.fd.clone(), buf: [0; 1], position: Position::Cursor }));
            let Poll::Ready(read) = Pin::new(next).poll(context) else {
                return Poll::Pending;
            };
            this.next = None;
            match read {
                // The very signal that is waited for may interrupt the wait.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return Poll::Ready(read.map(|_| ()).map_err(io::Error::from)),
            }
        }
    }
}

impl fmt::Debug for CtrlC {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CtrlC").finish_non_exhaustive()
    }
}

struct Registered {
    id: signal_hook::SigId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.id);
    }
}

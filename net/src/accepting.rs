//! The accepting side of a listener.
//!
//! One accept is in flight, and it belongs to the handle: futures only wait on it. When one is dropped the op stays,
//! and a connection that comes goes to the next caller, or waits for one in the op's slot.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use runtime::fd::{Fd, SharedFd};
use runtime::op::address::SocketAddress;
use runtime::op::socket::Accept;
use runtime::time::{Duration, Instant, now, sleep_until};
use runtime::{Submit, submit};
use rustix::io::Errno;

use crate::line::Line;

/// When descriptors or memory have run out the kernel says so at once, connection or not, and as often as it is asked.
/// So accepts rest this long after such an answer: a loop around `accept` takes no CPU, and goes on soon when it can.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// What the accepts of one socket share.
pub(crate) struct Accepting {
    fd: SharedFd,
    /// Taken out while it is polled, since a waker may be anybody's.
    op: Cell<Option<Submit<Accept>>>,
    /// A connection that another core accepted, for nobody.
    parked: Cell<Option<(Fd, SocketAddress)>>,
    pause: Cell<Option<Instant>>,
}

impl Accepting {
    pub fn new(fd: SharedFd) -> Rc<Line<Accepting>> {
        Line::new(Accepting { fd, op: Cell::new(None), parked: Cell::new(None), pause: Cell::new(None) })
    }

    /// Keeps a connection for the next caller.
    pub fn park(&self, accepted: Option<(Fd, SocketAddress)>) {
        self.parked.set(accepted);
    }

    /// Waits for a connection. Needs the turn.
    pub async fn accept(&self) -> io::Result<(Fd, SocketAddress)> {
        if let Some(parked) = self.parked.take() {
            return Ok(parked);
        }
        if let Some(pause) = self.pause.get() {
            sleep_until(pause).await;
            self.pause.set(None);
        }
        loop {
            match poll_fn(|context| self.poll(context)).await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_exhausted(&error) => {
                    self.pause.set(now().checked_add(PAUSE));
                    return Err(error);
                }
                accepted => return accepted,
            }
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<(Fd, SocketAddress)>> {
        let mut op = self.op.take().unwrap_or_else(|| submit(Accept::new(self.fd.clone())));
        let accepted = Pin::new(&mut op).poll(context);
        if accepted.is_pending() {
            self.op.set(Some(op));
        }
        accepted
    }

    /// Ends what is in flight for the handle, and returns the connection that came all the same. Nobody may be waiting.
    pub async fn end(&self) -> Option<(Fd, SocketAddress)> {
        match self.op.take() {
            Some(op) => op.deadline(now()).await.ok(),
            // One that is parked keeps an op from being started.
            None => self.parked.take(),
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.into_iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

//! Waiting until a socket is ready, by an op that belongs to the handle.
//!
//! Futures only wait on it. When one is dropped the op stays for the next, which costs nothing when calls are raced
//! against timeouts all the time, and loses nothing: readiness is not consumed by being told.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use runtime::fd::SharedFd;
use runtime::op::ready::{self, Interest};
use runtime::time::now;
use runtime::{Submit, submit};

/// The wait for one kind of readiness, perhaps in flight. At most one: whoever waits has the turn.
pub(crate) struct Readiness {
    interest: Interest,
    /// Taken out while it is polled, since a waker may be anybody's.
    op: Cell<Option<Submit<ready::Poll>>>,
}

impl Readiness {
    pub fn new(interest: Interest) -> Readiness {
        Readiness { interest, op: Cell::new(None) }
    }

    /// Waits. It may tell of readiness that is gone by now: try, and come back.
    pub async fn wait(&self, fd: &SharedFd) -> io::Result<()> {
        poll_fn(|context| self.poll(fd, context)).await
    }

    fn poll(&self, fd: &SharedFd, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ask = || submit(ready::Poll { fd: fd.clone(), interest: self.interest });
        let mut op = self.op.take().unwrap_or_else(ask);
        let came = Pin::new(&mut op).poll(context);
        if came.is_pending() {
            self.op.set(Some(op));
        }
        // What came does not matter: errors and hang-ups show when the socket is used.
        came.map_ok(drop)
    }

    /// Ends the op, and waits until it holds the descriptor no more. Nobody may be waiting.
    pub async fn end(&self) {
        if let Some(op) = self.op.take() {
            // Cancelled or not, its reply is of no use to anybody.
            let _ended = op.deadline(now()).await;
        }
    }
}

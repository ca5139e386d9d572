//! The least that runs futures side by side: boxes in a queue, polled in turn, with a waker that does nothing.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Futures that wait for nobody but themselves.
#[derive(Default)]
pub struct Queue<'a>(VecDeque<Boxed<'a>>);

impl<'a> Queue<'a> {
    pub fn push(&mut self, future: impl Future<Output = ()> + 'a) {
        self.0.push_back(Box::pin(future));
    }

    /// Runs until all are done.
    pub fn run(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while let Some(mut future) = self.0.pop_front() {
            if future.as_mut().poll(&mut context).is_pending() {
                self.0.push_back(future);
            }
        }
    }
}

/// Pending once.
#[derive(Default)]
pub struct Yield {
    yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

//! One call on the pool, as a future.

use std::future::Future;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use super::pool::{Refused, Source, Ticket};

/// A function on its way through the pool, and its result on the way back. A panic in it goes on in whoever polls this.
///
/// Dropping it prevents the function if it has not begun; otherwise its result is dropped where it is made.
#[must_use = "its result comes to who polls it"]
pub(crate) struct Call<T> {
    source: Arc<Source>,
    ticket: Option<Ticket>,
    /// The pool has no thread, and cannot start one.
    no_thread: Option<io::Error>,
    exchange: Arc<Exchange<T>>,
}

/// The pool was closed before the function began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl<T: Send + 'static> Call<T> {
    /// Hands `f` to the pool. If that has no thread, and cannot start one, polls panic.
    pub(crate) fn begin<F>(source: Arc<Source>, f: F) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let exchange = Arc::new(Exchange(Mutex::new(Progress::Awaited(None))));
        let promise = Promise(Arc::clone(&exchange));
        let job = Box::new(move || {
            if promise.0.is_wanted() {
                promise.0.put(Progress::Done(catch_unwind(AssertUnwindSafe(f))));
            }
        });
        let (ticket, no_thread) = match source.submit(job) {
            Ok(ticket) => (ticket, None),
            // The dropped promise has told it.
            Err(Refused::Closed) => (None, None),
            Err(Refused::NoThread(error)) => (None, Some(error)),
        };
        Call { source, ticket, no_thread, exchange }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = &self.no_thread {
            panic!(
                "the blocking pool cannot start its first thread: {error}: the number of threads is probably at its \
                 limit (ulimit -u, or pids.max of the control group)"
            );
        }
        self.exchange.poll_take(context.waker().clone())
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        self.exchange.give_up();
        if let Some(ticket) = self.ticket {
            self.source.withdraw(ticket);
        }
    }
}

/// Where the result changes hands. What is foreign in here (wakers, results) is cloned before the lock is taken, and
/// woken or dropped after it is free.
struct Exchange<T>(Mutex<Progress<T>>);

enum Progress<T> {
    /// The function has not ended, and this is to be woken when it has.
    Awaited(Option<Waker>),
    Done(thread::Result<T>),
    /// The pool dropped the job.
    Dropped,
    /// The result was taken, or nobody wants it any more.
    Unwanted,
}

impl<T> Exchange<T> {
    fn is_wanted(&self) -> bool {
        !matches!(*self.lock(), Progress::Unwanted)
    }

    /// Says how it ended, if that is still to be said.
    fn put(&self, end: Progress<T>) {
        let mut progress = self.lock();
        if !matches!(*progress, Progress::Awaited(_)) {
            drop(progress);
            drop(end);
            return;
        }
        let before = mem::replace(&mut *progress, end);
        drop(progress);
        if let Progress::Awaited(Some(waker)) = before {
            waker.wake();
        }
    }

    fn poll_take(&self, waker: Waker) -> Poll<Result<T, Closed>> {
        let mut progress = self.lock();
        match mem::replace(&mut *progress, Progress::Unwanted) {
            Progress::Awaited(before) => {
                *progress = Progress::Awaited(Some(waker));
                drop(progress);
                drop(before);
                Poll::Pending
            }
            Progress::Done(result) => {
                drop(progress);
                Poll::Ready(Ok(result.unwrap_or_else(|payload| resume_unwind(payload))))
            }
            Progress::Dropped => Poll::Ready(Err(Closed)),
            Progress::Unwanted => panic!("a blocking call was polled after it was ready"),
        }
    }

    fn give_up(&self) {
        let before = mem::replace(&mut *self.lock(), Progress::Unwanted);
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The job's half of the exchange. A job that is dropped without having been run says so.
struct Promise<T>(Arc<Exchange<T>>);

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.put(Progress::Dropped);
    }
}

//! Calls that block: they run on threads of their own, so that no core waits for them.
//!
//! ```text
//!  spawn_blocking(f) ─► Call ─► job ─► queue ─► a thread runs f ─► Exchange ─► the task wakes
//!                               └─ queue full: in its core's line, until there is room
//! ```
//!
//! One [pool](pool) serves all cores of a runtime. It is also where the fallback driver sends what epoll cannot wait
//! for.

mod call;
pub(crate) mod pool;
#[cfg(test)]
mod tests;

use std::future::pending;

use self::call::{Call, Closed};
use crate::core;
use crate::task::{self, JoinHandle};

/// Runs `f` on a thread where it may block: a slow library, a long computation, a system call that has no async form.
///
/// The threads are made on demand, up to the builder's limit (64 unless it says otherwise), and end after 10 seconds
/// without work. The jobs of a core begin in the order in which they came. When all threads are busy, jobs queue; when
/// the queue of all cores holds its limit too (4,096), further jobs stand in a line of their core's own, and the lines
/// take turns as room comes free, so that a flood from one core delays the jobs of another by a queue's length and no
/// more. Nobody is blocked by that, and no job is refused. Jobs that wait *for one another* deadlock when there are
/// more of them than threads: give such work threads of its own.
///
/// # Errors
///
/// The handle says [`is_panic`](crate::JoinError::is_panic) if `f` panicked, and also if no thread at all could be
/// started for it. It says [`is_cancelled`](crate::JoinError::is_cancelled) if it was aborted, or the runtime ended
/// before `f` began.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Cancel safety
///
/// Dropping the handle detaches: `f` runs all the same. [`abort`](JoinHandle::abort) prevents an `f` that has not
/// begun; one that runs cannot be stopped, and its result is dropped. When the runtime ends it drops what has not
/// begun, waits a bounded time for what runs, and then leaves it behind.
///
/// # io_uring
///
/// No op: an ordinary thread, which wakes the core when it is done.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// let digits = runtime::spawn_blocking(|| (1..=20u64).product::<u64>().to_string());
/// assert_eq!(digits.await.unwrap(), "2432902008176640000");
/// # }
/// ```
pub fn spawn_blocking<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let call = Call::begin(core::jobs(), f);
    task::spawn(async move {
        match call.await {
            Ok(value) => value,
            // The pool closes when the runtime ends, which then drops this task: that makes its handle say «cancelled».
            Err(Closed) => pending().await,
        }
    })
}

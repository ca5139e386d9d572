//! Tasks: futures that run side by side on one core.
//!
//! A task stays on the core where it was spawned, so its future needs neither `Send` nor locks. Its output is taken by
//! its [`JoinHandle`].

mod cell;
mod contain;
mod notify;
mod remote;
mod table;
#[cfg(test)]
mod tests;

use self::cell::Handle;
pub(crate) use self::{
    cell::{Closed, Drained, Shared, Site, Stack},
    contain::{contain, panic_message},
    notify::Notify,
    remote::{Address, Arriving},
    table::{Entered, Tasks},
};
use std::{
    any::Any,
    error::Error,
    fmt, io,
    marker::PhantomData,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

/// Runs a future as a task of its own, on this core, concurrently with the caller.
///
/// It starts when its turn comes, not before `spawn` returns. It continues if the handle is dropped. When the runtime
/// ends, tasks that have not ended are dropped.
///
/// # Panics
///
/// Outside of a runtime: there is no core to run on.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let answer = runtime::spawn(async { 6 * 7 });
/// assert_eq!(answer.await?, 42);
/// # Ok(()) }
/// ```
#[inline]
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    match Tasks::current() {
        Some(tasks) => tasks.spawn(future),
        None => {
            panic!("spawn was called outside of a runtime: call it from a task, or from the future given to block_on")
        }
    }
}

/// Lets the other tasks that are ready run first.
///
/// The task goes to the back of its core's run queue. I/O and timers that are due are served, too.
///
/// # Cancel safety
///
/// Dropping the future ends the pause; nothing is lost.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// for chunk in vec![0_u8; 1 << 20].chunks(4096) {
///     std::hint::black_box(chunk.iter().map(|&byte| u64::from(byte)).sum::<u64>());
///     runtime::yield_now().await;
/// }
/// # }
/// ```
#[inline]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        // The waker that was given, not the task behind it: a combinator in between wants to know as well.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A handle to a task, and a future of its output.
///
/// Dropping the handle detaches the task, as in std: the task continues, and its output is dropped. If `T: Send`, the
/// handle may be awaited and dropped on another thread and in another runtime. It may also be used after the task's
/// runtime has ended.
///
/// # Cancel safety
///
/// An output stays until it is taken: `&mut handle` may be polled and dropped as often as you like.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// use runtime::time::{Duration, sleep, timeout};
///
/// let mut slow = runtime::spawn(async {
///     sleep(Duration::from_millis(5)).await;
///     42
/// });
/// let answer = loop {
///     match timeout(Duration::from_millis(1), &mut slow).await {
///         Ok(answer) => break answer?,
///         Err(_elapsed) => continue,                                          // nothing is lost by that
///     }
/// };
/// assert_eq!(answer, 42);
/// # Ok(()) }
/// ```
#[must_use = "dropping it detaches the task; `drop(…)` says that it is meant"]
pub struct JoinHandle<T> {
    handle: Handle<T>,
}

impl<T> JoinHandle<T> {
    #[inline]
    fn new(handle: Handle<T>) -> JoinHandle<T> {
        JoinHandle { handle }
    }

    /// Cancels the task: its future is dropped soon, on its own core, and the handle returns a
    /// [cancelled](JoinError::is_cancelled) error.
    ///
    /// The future is not dropped before this returns, since the task may be the one that is running. A task that
    /// completes before that still returns its output.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() {
    /// let endless = runtime::spawn(std::future::pending::<()>());
    /// endless.abort();
    /// assert!(endless.await.unwrap_err().is_cancelled());
    /// # }
    /// ```
    #[inline]
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Whether the task has ended: awaiting the handle would not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() -> std::io::Result<()> {
    /// let task = runtime::spawn(async { 7 });
    /// assert!(!task.is_finished());                       // its turn comes when this task waits
    /// while !task.is_finished() {
    ///     runtime::yield_now().await;
    /// }
    /// assert_eq!(task.await?, 7);
    /// # Ok(()) }
    /// ```
    #[inline]
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    ///
    /// If it is polled after it was ready.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        self.handle.poll(context.waker())
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

/// Why a task has no output: it panicked, it was aborted, or its runtime ended first.
///
/// It turns into an [`io::Error`] of kind [`Other`](io::ErrorKind::Other), so `?` works.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// let error = runtime::spawn(async { assert!(1 > 2, "no more") }).await.unwrap_err();
/// assert!(error.is_panic() && !error.is_cancelled());
/// assert_eq!(error.to_string(), "the task panicked: no more");
/// # }
/// ```
pub struct JoinError {
    reason: Reason,
}

/// One pointer wide, since every task carries room for one beside its output.
enum Reason {
    Cancelled,
    /// In a lock only to be `Sync`, which a payload need not be, and an `io::Error`'s inside must.
    Panicked(Box<Mutex<Box<dyn Any + Send>>>),
}

impl JoinError {
    pub(crate) fn cancelled() -> JoinError {
        JoinError { reason: Reason::Cancelled }
    }

    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> JoinError {
        JoinError { reason: Reason::Panicked(Box::new(Mutex::new(payload))) }
    }

    /// Whether the task was aborted, or its runtime ended first.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.reason, Reason::Cancelled)
    }

    /// Whether the task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.reason, Reason::Panicked(_))
    }

    /// The value that the task panicked with, for [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Panics
    ///
    /// If it did not panic.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() {
    /// let error = runtime::spawn(async { assert!(1 > 2, "no more") }).await.unwrap_err();
    /// assert_eq!(error.into_panic().downcast_ref(), Some(&"no more"));
    /// # }
    /// ```
    #[must_use]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        self.try_into_panic().expect("the task did not panic")
    }

    /// The value that the task panicked with.
    ///
    /// # Errors
    ///
    /// This error itself, if the task did not panic.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[runtime::main] async fn main() {
    /// let task = runtime::spawn(std::future::pending::<()>());
    /// task.abort();
    /// let error = task.await.unwrap_err().try_into_panic().expect_err("it did not panic");
    /// assert!(error.is_cancelled());
    /// # }
    /// ```
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        match self.reason {
            Reason::Panicked(payload) => Ok(payload.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Reason::Cancelled => Err(self),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Cancelled => f.write_str("the task was cancelled"),
            Reason::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
                write!(f, "the task panicked: {}", panic_message(&**payload))
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Cancelled => f.write_str("JoinError::Cancelled"),
            Reason::Panicked(payload) => {
                let payload = payload.lock().unwrap_or_else(PoisonError::into_inner);
                write!(f, "JoinError::Panicked({:?})", panic_message(&**payload))
            }
        }
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    /// Of kind [`Other`](io::ErrorKind::Other): not `Interrupted`, which std's loops would retry.
    fn from(error: JoinError) -> io::Error {
        io::Error::other(error)
    }
}

/// A task in its core's table. Stale ids find nobody: a place that is used again gets another generation. (After 2^32
/// spawns on one core an id from before them could wake a task that need not run, which does no harm.)
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct TaskId {
    /// The generation above, the index below: one number, which is compared at once.
    bits: u64,
    /// It means nothing to other cores.
    _stays_on_its_thread: PhantomData<*mut ()>,
}

impl TaskId {
    /// The future of `block_on`.
    pub(crate) const ROOT: TaskId = TaskId::new(u32::MAX, 0);

    /// No task at all.
    const NOBODY: TaskId = TaskId::new(u32::MAX - 1, 0);

    #[inline]
    const fn new(index: u32, generation: u32) -> TaskId {
        TaskId { bits: (generation as u64) << 32 | index as u64, _stays_on_its_thread: PhantomData }
    }

    #[inline]
    const fn slot(self) -> usize {
        (self.bits & u32::MAX as u64) as usize
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == TaskId::ROOT { f.write_str("root") } else { write!(f, "{}.{}", self.slot(), self.bits >> 32) }
    }
}

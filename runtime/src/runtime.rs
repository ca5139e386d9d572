//! Running a runtime, and ending it.
//!
//! | to … | look in |
//! | --- | --- |
//! | add a setting, see how cores are made | `runtime/builder.rs` |
//! | let whoever runs the program set it, too | `runtime/builder/environment.rs` |
//! | see how the other cores' threads begin and end | `runtime/threads.rs` |

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::core::{Alarm, Core};
use crate::executor;
use crate::fork::IN_A_CHILD;
use crate::task::{Entered, Tasks};
use crate::time::Duration;

mod builder;
mod threads;

pub(crate) use self::builder::overrides;
pub use self::builder::{Builder, Choice};
use self::threads::Threads;

/// A runtime: one core on the thread that built it, and [others](Builder::cores) on threads of their own.
///
/// Dropping the runtime drops every task's future on its own core, cancels the ops in flight and waits for their last
/// replies, for up to a second, on all cores at the same time. Ops that are to be
/// [finished](crate::op::OnDrop::Finish), such as a write whose future was dropped, are given half of that second
/// before they are cancelled, too. Memory that a device still uses at the end is leaked, never freed, and a warning
/// names it. A core whose task does not yield, and a thread of the blocking pool whose job does not return, get a fifth
/// of a second more; then they are left running, with a warning, and end by themselves if they ever can. A runtime that
/// is passed to `mem::forget` leaks.
///
/// # Fork
///
/// A program started with [`Command`](std::process::Command) inherits no descriptor of the runtime, of `fs` or of
/// `net`: all are close-on-exec.
///
/// A child that fork(2) makes of a process with a runtime has a copy of its memory, but no runtime: ring, epoll and
/// threads stay with the parent, which is not disturbed. In the child, `block_on` panics (so does one that was running
/// at the fork, as soon as its task returns), and no other task runs. Dropping the runtime leaks it: no task's future
/// is dropped a second time, and nothing is waited for. After that the child may build a runtime of its own. (On
/// kernels before 4.14 a child cannot be told apart: it gets a segmentation fault at its first op.)
#[must_use = "a runtime does nothing until `block_on`"]
pub struct Runtime {
    /// Those on this thread, the first of all included: one, or all of a simulated world.
    cores: Vec<Rc<Core>>,
    threads: Threads,
    /// The first core's tasks are those of this thread, for as long as the runtime lives.
    entered: Option<Entered>,
    runs: Cell<bool>,
    /// The ring takes requests from one thread only.
    _stays: PhantomData<*const ()>,
}

/// How long the end of a runtime may take.
const END_MAX: Duration = Duration::from_secs(1);

/// How much longer the end of a thread may take: for its last steps, and to go.
const GRACE: Duration = Duration::from_millis(200);

impl Runtime {
    /// Builds a runtime with all defaults.
    ///
    /// # Errors
    ///
    /// [`Builder::build`]'s.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = runtime::Runtime::new()?;
    /// assert_eq!(runtime.block_on(async { 6 * 7 }), 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> io::Result<Runtime> {
        Builder::new().build()
    }

    fn start(cores: Vec<Rc<Core>>, others: impl FnOnce(&Core) -> io::Result<Threads>) -> io::Result<Runtime> {
        if !cores[0].install() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "this thread has a runtime already; drop that one first, or use another thread",
            ));
        }
        let entered = Some(Tasks::enter(&cores[0].tasks));
        let threads = Threads::none();
        let mut runtime = Runtime { cores, threads, entered, runs: Cell::new(false), _stays: PhantomData };
        runtime.threads = others(&runtime.cores[0])?;
        Ok(runtime)
    }

    /// Runs `future` to completion on this thread's core, and the tasks that it spawns meanwhile. Tasks of this thread
    /// that have not ended then continue in the next `block_on`; those of cores on other threads keep running.
    ///
    /// # Panics
    ///
    /// If `future` panics; if it is called from within this runtime, where you await instead; in a [forked
    /// child](Runtime#fork); and when the driver of a core fails for good.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = runtime::Runtime::new()?;
    /// let lent = String::from("on loan");                 // `future` may borrow; what is spawned may not
    /// let len = runtime.block_on(async { lent.len() });
    /// assert_eq!(len, 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        assert!(!self.cores[0].origin.is_left(), "{IN_A_CHILD}");
        assert!(
            !self.runs.replace(true),
            "`block_on` within `block_on`: this thread runs the runtime already, so await the future, or spawn it",
        );
        let _over = Over(&self.runs);
        match self.cores.as_slice() {
            [alone] => executor::block_on(alone, future),
            several => executor::block_on_together(several, &several[0].world(), future),
        }
    }

    /// Leaves the thread, and leaks the rest.
    fn leave_to_the_parent(&mut self) {
        tracing::warn!("a runtime is leaked: {IN_A_CHILD}");
        self.cores[0].uninstall();
        self.entered = None;
        std::mem::forget(std::mem::take(&mut self.cores));
        std::mem::forget(std::mem::replace(&mut self.threads, Threads::none()));
    }

    /// What makes the cores panic with a dump, from any thread; the one of this thread first.
    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        std::iter::once(self.cores[0].alarm()).chain(self.threads.alarms()).collect()
    }
}

struct Over<'a>(&'a Cell<bool>);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("metrics", &self.cores[0].metrics()).finish_non_exhaustive()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.cores[0].origin.is_left() {
            return self.leave_to_the_parent();
        }
        // All cores share the second, and end side by side.
        let deadline = std::time::Instant::now() + END_MAX;
        self.threads.tell_to_end(deadline);
        executor::end(&self.cores, END_MAX);
        self.threads.wait(deadline);
        let first = &self.cores[0];
        let left = first.pool.close(deadline + GRACE);
        if left.threads > 0 {
            tracing::warn!("{} threads of the blocking pool still run their last job", left.threads);
        }
        first.uninstall();
        self.entered = None;
        for core in &self.cores {
            core.close_driver();
        }
    }
}

//! The cores of a runtime: which one is running, and how work is sent to the others.
//!
//! Tasks, handles and futures stay on their core; what is sent is a `Send` closure, which makes its future on the core
//! where the future will live. It goes through the other core's inbox: one allocation, and a system call only if that
//! core is asleep.

use std::future::Future;

use crate::core;
use crate::task::{Arriving, JoinHandle, spawn};

/// Returns the number of the core that this is called on, counting from 0. Core 0 is the one that runs `block_on`.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// assert_eq!(runtime::core_id(), 0);
/// # }
/// ```
#[must_use]
pub fn core_id() -> usize {
    core::place(|place| place.index)
}

/// Returns how many cores this runtime has: see [`Builder::cores`](crate::Builder::cores).
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main(cores = 2)] async fn main() {
/// assert_eq!(runtime::cores(), 2);
/// # }
/// ```
#[must_use]
pub fn cores() -> usize {
    core::place(|place| place.addresses.len())
}

/// Calls `make` on the given core of this runtime, and runs the future that it returns as a task there.
///
/// The future stays on that core, so it need not be `Send`; its output must be. Tasks that one core sends to another
/// start in the order in which they were sent. A core may also send to itself.
///
/// As with [`spawn`], the number of tasks is bounded by memory only, and this never waits: a program that may send
/// faster than the other core works should await the handles from time to time. If that core has ended, because the
/// runtime is ending or its driver was lost, `make` is dropped here, and the handle returns a
/// [cancelled](crate::JoinError::is_cancelled) error.
///
/// # Panics
///
/// Outside of a runtime, and if there is no such core.
///
/// # Cancel safety
///
/// Dropping the handle detaches the task; [`abort`](JoinHandle::abort) ends it on whichever core it is. What is dropped
/// with the task (its future, and an output that is not taken) is dropped on the task's core.
///
/// # io_uring
///
/// No op: a sleeping core is woken through its eventfd, which its ring watches.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// # #[runtime::main(cores = 2)] async fn main() -> std::io::Result<()> {
/// let there = runtime::spawn_on(1, || async {
///     let stays = Rc::new(runtime::core_id());
///     runtime::yield_now().await;
///     *stays
/// });
/// assert_eq!(there.await?, 1);
/// # Ok(()) }
/// ```
#[track_caller]
pub fn spawn_on<M, F>(core: usize, make: M) -> JoinHandle<F::Output>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    match core::address(core) {
        Some(address) => address.spawn(make),
        None => spawn(Arriving::new(make)),
    }
}

/// Calls `make` on every core of this runtime, including this one, and runs the futures that it returns as tasks there.
/// This is how a server starts one shard per core.
///
/// Returns the handles in the order of the cores. `make` can ask [`core_id`] where it runs.
///
/// # Panics
///
/// Outside of a runtime.
///
/// # Cancel safety
///
/// As [`spawn_on`].
///
/// # io_uring
///
/// As [`spawn_on`].
///
/// # Examples
///
/// ```
/// # #[runtime::main(cores = 2)] async fn main() -> std::io::Result<()> {
/// let shards = runtime::on_each_core(|| async { runtime::metrics().core });
/// for (core, shard) in shards.into_iter().enumerate() {
///     assert_eq!(shard.await?, core);
/// }
/// # Ok(()) }
/// ```
#[track_caller]
pub fn on_each_core<M, F>(make: M) -> Vec<JoinHandle<F::Output>>
where
    M: FnOnce() -> F + Clone + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    (0..cores()).map(|core| spawn_on(core, make.clone())).collect()
}

//! The cores of a runtime: which one this is, and how work gets to the others.
//!
//! Tasks, handles and futures stay on their core; what travels is a closure that is `Send`, and makes its future where
//! that is going to live. It goes through the other core's inbox: one allocation, and a system call only if that core
//! sleeps.

use std::future::Future;

use crate::core;
use crate::task::{Arriving, JoinHandle, spawn};

/// Which core this is, from 0 up: 0 is the one of `block_on`.
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

/// How many cores this runtime has: see [`Builder::cores`](crate::Builder::cores).
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

/// Has `make` called on a core of this runtime, and runs the future that it makes as a task there.
///
/// The future stays on that core, so it need not be `Send`; what comes back is. Tasks that one core sends to another
/// start in the order in which they were sent. The core that this is called on is one as any other.
///
/// As with [`spawn`], a core has as many tasks as a program makes, up to its memory, and this never waits: who may send
/// faster than the other core works should await the handles now and then. If that core has ended, since its runtime is
/// ending or because it was lost, `make` is dropped here, and the handle says
/// [cancelled](crate::JoinError::is_cancelled).
///
/// # Panics
///
/// Outside of a runtime, and if there is no such core.
///
/// # Cancel safety
///
/// Dropping the handle detaches the task; [`abort`](JoinHandle::abort) ends it, wherever it is. What is dropped with
/// the task (its future, and an output that nobody takes) is dropped on its own core.
///
/// # io_uring
///
/// No op: a core that sleeps is woken by its eventfd, which its ring watches.
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

/// Has `make` called on each core of this runtime, this one included, and runs what it makes as a task there: so a
/// server starts its shards.
///
/// Returns the handles, by core. [`core_id`] tells `make` where it is.
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

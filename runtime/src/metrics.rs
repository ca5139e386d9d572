//! What a core has done so far: counters that cost one plain addition each, and are read as a snapshot.

use crate::core;

/// A snapshot of one core's counters. Totals count from when the runtime was built.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() -> std::io::Result<()> {
/// let before = runtime::metrics();
/// runtime::submit(runtime::op::Nop).await?;
/// let after = runtime::metrics();
/// assert_eq!((after.core, after.in_flight), (0, 0));
/// assert!(after.completed > before.completed);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// The number of the core.
    pub core: usize,
    /// The driver: `ring`, `fallback` or `simulated`.
    pub driver: &'static str,
    /// Turns of the core's loop.
    pub ticks: u64,
    /// Turns that took 100 ms or more, for example because a task blocks. Each is also logged as a warning.
    pub stalls: u64,
    /// System calls that submit or wait.
    pub enters: u64,
    /// SQEs that the kernel has taken (with other drivers: requests that were started).
    pub submitted: u64,
    /// CQEs reaped (with other drivers: replies).
    pub completed: u64,
    /// How often the CQ overflowed. Nothing is lost, but a larger queue would be cheaper.
    pub overflows: u64,
    /// Requests that had to queue behind a full SQ.
    pub queue_full: u64,
    /// Ops whose reply has not arrived or has not been read.
    pub in_flight: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Polls of tasks.
    pub polls: u64,
    /// Tasks woken by other threads.
    pub remote_wakes: u64,
    /// Tasks that other cores sent with [`spawn_on`](crate::spawn_on).
    pub remote_spawns: u64,
    /// Timers that have not fired.
    pub timers: usize,
    /// Buffers of the core that are in use by transfers of lent memory.
    pub buffers: usize,
    /// Threads of the blocking pool.
    pub pool_threads: usize,
    /// Jobs that wait for a thread of the pool.
    pub pool_queued: usize,
    /// Jobs that the pool has run.
    pub pool_jobs: u64,
}

/// Returns the counters of the core that this is called on. For those of all cores: `on_each_core(|| async { metrics()
/// })`.
///
/// The numbers of the blocking pool are the same on each core, since they share it.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// runtime::spawn(async {}).await.unwrap();
/// assert!(runtime::metrics().polls >= 1);
/// # }
/// ```
#[must_use]
pub fn metrics() -> Metrics {
    core::metrics()
}

//! What a core has done so far: counters that cost one plain addition each, read as a snapshot.

use crate::core;

/// One core's counters at one moment. Totals count since the runtime was built.
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
    /// Which core of its runtime it is.
    pub core: usize,
    /// Who services requests: `ring`, `fallback` or `simulated`.
    pub driver: &'static str,
    /// Turns of the core's loop.
    pub ticks: u64,
    /// Turns that lasted 100 ms or more, as when a task blocks. Each is also told as a warning.
    pub stalls: u64,
    /// System calls that submit or wait.
    pub enters: u64,
    /// SQEs taken by the kernel (requests taken up, for the other drivers).
    pub submitted: u64,
    /// CQEs reaped (replies, for the other drivers).
    pub completed: u64,
    /// Times the CQ overflowed. Nothing is lost by it, but a larger one would be cheaper.
    pub overflows: u64,
    /// Requests that had to queue behind a full SQ.
    pub queue_full: u64,
    /// Ops whose reply has not come, or has not been read.
    pub in_flight: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Polls of tasks.
    pub polls: u64,
    /// Tasks woken by other threads.
    pub remote_wakes: u64,
    /// Tasks that [`spawn_on`](crate::spawn_on) brought from other cores.
    pub remote_spawns: u64,
    /// Timers that have not fired.
    pub timers: usize,
    /// Buffers of the core's own that transfers of lent memory have now.
    pub buffers: usize,
    /// Threads of the blocking pool.
    pub pool_threads: usize,
    /// Jobs that wait for a thread of the pool.
    pub pool_queued: usize,
    /// Jobs that the pool has run.
    pub pool_jobs: u64,
}

/// The counters of the core that this is called on. Those of all: `on_each_core(|| async { metrics() })`.
///
/// What it tells of the blocking pool is the same on each, since they share it.
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

//! Clocks, and who runs where.

use std::io;
use std::time::Duration;

use runtime::{Builder, Choice, Runtime};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The processor of whoever is measured.
pub const SERVER: usize = 0;
/// The processor of whoever makes work for it.
pub const CLIENT: usize = 1;

/// How long this thread has used a processor, the kernel's part included. `CLOCK_THREAD_CPUTIME_ID`.
pub fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Keeps this thread on the processor `wanted` of those that it may use, by their order. With fewer than that it stays
/// free.
pub fn stay_on(wanted: usize) {
    // Where the scheduler may not be asked, it decides.
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let mut usable = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    if let Some(cpu) = usable.nth(wanted) {
        let mut only = CpuSet::new();
        only.set(cpu);
        let _stays_free = sched_setaffinity(None, &only);
    }
}

/// Our runtime on its ring, whatever the environment says.
///
/// # Errors
///
/// [`Builder::build`]'s.
pub fn gimmal() -> io::Result<Runtime> {
    Builder::new().driver(Choice::Ring).ignore_environment().build()
}

/// Our runtime without a ring.
///
/// # Errors
///
/// [`Builder::build`]'s.
pub fn gimmal_fallback() -> io::Result<Runtime> {
    Builder::new().driver(Choice::Fallback).ignore_environment().build()
}

/// tokio on one thread.
///
/// # Errors
///
/// As its builder.
pub fn tokio() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

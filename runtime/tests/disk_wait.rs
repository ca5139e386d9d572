//! An idle core is not counted as waiting for a disk (iowait): health checks read that count.

use std::fs;

use runtime::testing::{Driver, builder, is_here, skipped};
use runtime::{probe, spawn_blocking};

/// More than the other programs of this machine have waiting for a disk at the quietest of many moments.
const CORES: usize = 12;
const MOMENTS: usize = 1_000;

/// How many threads of this machine wait for a disk, by the kernel's count.
fn blocked() -> usize {
    let told = fs::read_to_string("/proc/stat").expect("procfs is mounted");
    let count = told.lines().find_map(|line| line.strip_prefix("procs_blocked "));
    count.expect("each kernel tells it").trim().parse().expect("a number")
}

/// Major and minor.
fn version(kernel: &str) -> (u32, u32) {
    let mut numbers = kernel.split(['.', '-']).map_while(|number| number.parse().ok());
    (numbers.next().expect("a number"), numbers.next().unwrap_or(0))
}

/// Each core has a request in flight while it is parked: the one that hears of wakes.
/// Catches: a ring that waits without `IORING_ENTER_NO_IOWAIT`.
#[test]
fn cores_that_are_idle_on_a_ring_wait_for_no_disk() {
    if !is_here(Driver::Ring, "what an idle core is counted as") {
        return;
    }
    let kernel = probe().kernel;
    if version(&kernel) < (6, 15) {
        return skipped(format_args!("kernel {kernel} counts each wait of a ring as one for a disk"));
    }
    let runtime = builder(Driver::Ring).cores(CORES).build().unwrap();
    let least = runtime.block_on(async {
        // In the first half they may still be on their way to where they wait.
        let look = || (0..MOMENTS).map(|_moment| blocked()).skip(MOMENTS / 2).min().expect("many moments");
        spawn_blocking(look).await.unwrap()
    });
    assert!(least < CORES / 2, "never fewer than {least} threads wait for a disk, beside {CORES} idle cores");
}

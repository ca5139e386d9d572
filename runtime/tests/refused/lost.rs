//! A ring that the kernel refuses to enter any more, because a filter was installed later: the error names the cause,
//! and what is in flight is leaked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::bounded;
use crate::child;
use crate::counted::Counted;
use crate::denied;
use runtime::fd::SharedFd;
use runtime::op::Nop;
use runtime::op::file::{Position, Read};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::sleep;
use runtime::{metrics, spawn, submit, yield_now};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::{ClockId, clock_gettime};

/// A second is promised; the machine may be busy besides.
const END_MAX: Duration = Duration::from_secs(2);

const LIMIT: Duration = Duration::from_secs(30);

/// Runs `with` on a runtime that has a read in flight, whose ring answers `errno` from then on. A filter stays, so all
/// of it is in a process of its own.
fn after_losing_the_ring(test: &str, errno: i32, with: fn(runtime::Runtime, Arc<AtomicUsize>)) {
    if !is_here(Driver::Ring, test) {
        return;
    }
    child::in_a_child(
        test,
        &format!("errno {errno}"),
        |_command| {},
        || {
            bounded::within(LIMIT, "life without a ring", move || lose_the_ring(errno, with));
        },
    );
}

fn lose_the_ring(errno: i32, with: fn(runtime::Runtime, Arc<AtomicUsize>)) {
    let runtime = builder(Driver::Ring).build().unwrap();
    let freed = Arc::new(AtomicUsize::new(0));
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let buf = Counted([0; 8], freed.clone());
    runtime.block_on(async {
        drop(spawn(submit(Read { fd: SharedFd::new(reader), buf, position: Position::Cursor })));
        let before = metrics().submitted;
        while metrics().in_flight == 0 || metrics().submitted == before {
            yield_now().await;
        }
    });
    denied::deny(&[libc::SYS_io_uring_enter], errno);
    with(runtime, freed);
    drop(writer);
}

/// Catches: an error of the kernel that is taken for «nothing came»; an end that frees what the kernel has.
#[test]
fn losing_the_ring_panics_with_the_cause_and_leaks_what_the_kernel_has() {
    after_losing_the_ring(
        "lost::losing_the_ring_panics_with_the_cause_and_leaks_what_the_kernel_has",
        libc::EFAULT,
        |runtime, freed| {
            let lost = catch_unwind(AssertUnwindSafe(|| runtime.block_on(submit(Nop))));
            let words = *lost.expect_err("no ring serves it").downcast::<String>().unwrap();
            assert!(
                words.starts_with("the ring driver of this core is lost: io_uring_enter(2): Bad address"),
                "{words}"
            );
            let began = Instant::now();
            drop(runtime);
            assert!(began.elapsed() < END_MAX, "{:?}", began.elapsed());
            assert_eq!(freed.load(Ordering::Relaxed), 0, "the kernel may still read into it");
        },
    );
}

/// Catches: EAGAIN or EBUSY that ends the program; one that is asked again without a pause, or until it takes all that
/// is queued while timers and tasks wait; an end that waits for better times.
#[test]
fn a_kernel_that_is_short_of_memory_is_waited_for_without_spinning_and_not_at_the_end() {
    let test = "lost::a_kernel_that_is_short_of_memory_is_waited_for_without_spinning_and_not_at_the_end";
    for errno in [libc::EAGAIN, libc::EBUSY] {
        after_losing_the_ring(test, errno, |runtime, freed| {
            let (began, used) = (Instant::now(), clock_gettime(ClockId::ThreadCPUTime));
            runtime.block_on(async {
                // More than the submission queue takes.
                drop((0..300).map(|_| spawn(submit(Nop))).collect::<Vec<_>>());
                spawn(sleep(Duration::from_millis(100))).await.unwrap();
            });
            drop(runtime);
            let used = clock_gettime(ClockId::ThreadCPUTime) - used;
            assert!(began.elapsed() < END_MAX, "{:?}", began.elapsed());
            assert_eq!(freed.load(Ordering::Relaxed), 0, "the kernel may still read into it");
            assert!(used.tv_sec == 0 && used.tv_nsec < 200_000_000, "{used:?} of CPU in a second of waiting");
        });
    }
}

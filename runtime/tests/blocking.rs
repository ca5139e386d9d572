//! What `spawn_blocking`, and calls that block in the kernel, promise to tasks. Jobs wait at gates, not for time.

#[path = "common/child.rs"]
mod child;
#[path = "common/gate.rs"]
mod gate;

use std::fs::{self, DirEntry, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use gate::Gate;
use runtime::op::Nop;
use runtime::op::path::{Base, Mode, OFlags, Open, OpenHow, ResolveFlags, c_path};
use runtime::testing::{Driver, builder, is_here};
use runtime::time::{Duration, sleep, timeout};
use runtime::{Builder, spawn, spawn_blocking, submit};
use rustix::fs::{CWD, FileType, mknodat};

#[runtime::test(driver = ring)]
async fn spawn_blocking_runs_its_closure_on_another_thread() {
    let here = thread::current().id();
    let there = spawn_blocking(|| thread::current().id()).await.unwrap();
    assert_ne!(here, there);
}

#[runtime::test(driver = fallback)]
async fn a_panic_in_spawn_blocking_is_a_join_error_and_the_core_goes_on() {
    let error = spawn_blocking(|| -> u8 { panic!("in the job") }).await.unwrap_err();
    assert_eq!(error.into_panic().downcast_ref(), Some(&"in the job"));
    assert_eq!(spawn_blocking(|| 7).await.unwrap(), 7);
}

/// Catches: a core that waits or spins for room in the pool.
#[test]
fn a_pool_that_is_stuck_and_full_leaves_the_core_to_timers_and_loses_no_job() {
    let runtime = Builder::new().blocking_threads(2).blocking_queue(8).build().unwrap();
    runtime.block_on(async {
        let gate = Arc::new(Gate::default());
        let jobs: Vec<_> = (0..1000)
            .map(|number| {
                let gate = Arc::clone(&gate);
                spawn_blocking(move || {
                    gate.pass();
                    number
                })
            })
            .collect();
        for _ in 0..5 {
            sleep(Duration::from_millis(1)).await;
        }
        gate.open();
        for (number, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), number);
        }
    });
}

/// Catches: a bound that is handed to the kernel as it is, which refuses it.
#[test]
fn the_bound_on_blocking_threads_may_be_usize_max() {
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "a large bound") {
            let runtime = builder(driver).blocking_threads(usize::MAX).build().unwrap();
            runtime.block_on(async { assert_eq!(spawn_blocking(|| 42).await.unwrap(), 42) });
        }
    }
}

#[test]
fn an_aborted_job_that_has_not_begun_never_begins() {
    let runtime = Builder::new().blocking_threads(1).blocking_queue(8).build().unwrap();
    runtime.block_on(async {
        let (gate, ran) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
        let at_gate = Arc::clone(&gate);
        let first = spawn_blocking(move || at_gate.pass());
        let count = Arc::clone(&ran);
        let second = spawn_blocking(move || count.fetch_add(1, Ordering::SeqCst));
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        gate.open();
        first.await.unwrap();
        spawn_blocking(|| ()).await.unwrap(); // comes after where the second was
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_job_whose_handle_is_dropped_runs_all_the_same() {
    let runtime = Builder::new().blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let ran = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ran);
        drop(spawn_blocking(move || count.fetch_add(1, Ordering::SeqCst)));
        spawn_blocking(|| ()).await.unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}

/// Jobs that have not begun when the runtime ends say «cancelled» to whoever still asks, and are dropped.
#[test]
fn the_end_of_the_runtime_cancels_jobs_that_have_not_begun() {
    let runtime = Builder::new().blocking_threads(1).blocking_queue(1).build().unwrap();
    let gate = Arc::new(Gate::default());
    let witness = Arc::new(());
    let handles = runtime.block_on(async {
        let at_gate = Arc::clone(&gate);
        let running = spawn_blocking(move || at_gate.pass());
        let later: Vec<_> = (0..3)
            .map(|_| {
                let witness = Arc::clone(&witness);
                spawn_blocking(move || drop(witness))
            })
            .collect();
        drop(running);
        later
    });
    let opener = thread::spawn({
        let gate = Arc::clone(&gate);
        move || gate.open()
    });
    drop(runtime);
    opener.join().unwrap();
    assert_eq!(Arc::strong_count(&witness), 1, "what the jobs captured is dropped");
    let next = Builder::new().build().unwrap();
    next.block_on(async {
        for handle in handles {
            assert!(handle.await.unwrap_err().is_cancelled());
        }
    });
}

/// Opens of a FIFO wait, inside the kernel, for who opens its other end. Each takes a thread: the kernel's for a ring,
/// or the pool's.
///
/// Catches: a ring whose kernel threads have the kernel's own bound (on machines of up to 15 processors), or none.
#[test]
fn calls_that_block_hold_up_others_only_when_they_have_all_threads_and_take_no_more_of_them() {
    let test = "calls_that_block_hold_up_others_only_when_they_have_all_threads_and_take_no_more_of_them";
    for driver in [Driver::Ring, Driver::Fallback] {
        if is_here(driver, "calls that block in the kernel") {
            for (opens, threads) in [(63, 64), (100, 4)] {
                // The threads are counted, so they must be the first.
                let case = format!("{driver:?} {opens}");
                child::in_a_child(test, &case, |_command| {}, || block_in_the_kernel(driver, opens, threads));
            }
        }
    }
}

fn block_in_the_kernel(driver: Driver, opens: usize, threads: usize) {
    let fifo = std::env::temp_dir().join(format!("gimmal-blocking-fifo-{}", std::process::id()));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let runtime = builder(driver).blocking_threads(threads).build().unwrap();
    let story = async {
        let waiting: Vec<_> = (0..opens).map(|_| spawn(submit(open(&fifo)))).collect();
        let taken = opens.min(threads);
        while threads_of(driver) < taken {
            sleep(Duration::from_millis(1)).await;
        }
        if opens < threads {
            submit(open("/dev/null".as_ref())).await.unwrap();
        } else {
            submit(Nop).await.unwrap();
            assert_eq!(threads_of(driver), taken, "{driver:?}");
        }
        let _other_end = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        for opened in waiting {
            opened.await.unwrap().unwrap();
        }
    };
    runtime.block_on(timeout(Duration::from_secs(20), story)).expect("others are not held up");
    drop(runtime);
    fs::remove_file(&fifo).unwrap();
}

/// Where a file may be made, a ring does not try to open it without waiting.
fn open(path: &Path) -> Open {
    let how = OpenHow::new(OFlags::RDONLY | OFlags::CREATE, Mode::RUSR, ResolveFlags::empty());
    Open { base: Base::Current, path: c_path(path).unwrap(), how }
}

/// How many threads there are for what this thread asks of `driver` and may block.
fn threads_of(driver: Driver) -> usize {
    let name = match driver {
        Driver::Ring => format!("iou-wrk-{}", rustix::thread::gettid().as_raw_nonzero()),
        _ => "gimmal-blocking".to_owned(),
    };
    let threads = fs::read_dir("/proc/self/task").expect("procfs is mounted");
    let is_one = |thread: io::Result<DirEntry>| {
        let comm = fs::read_to_string(thread.ok()?.path().join("comm")).ok()?;
        comm.trim_end().starts_with(&name).then_some(())
    };
    threads.filter_map(is_one).count()
}

//! What `spawn_blocking` promises to tasks. Jobs wait at gates, not for time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use runtime::time::{Duration, sleep};
use runtime::{Builder, spawn_blocking};

/// Jobs wait here until it opens.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

#[runtime::test(driver = ring)]
async fn the_result_comes_from_another_thread() {
    let here = thread::current().id();
    let there = spawn_blocking(|| thread::current().id()).await.unwrap();
    assert_ne!(here, there);
}

#[runtime::test(driver = fallback)]
async fn a_panic_is_a_join_error_and_the_core_lives() {
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
fn the_end_of_the_runtime_cancels_what_has_not_begun() {
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

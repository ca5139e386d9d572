//! The end of a runtime with several cores: bounded in time, complete, and with its errors reported.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use runtime::fd::SharedFd;
use runtime::op::file::{Position, Read};
use runtime::testing::{Driver, builder, is_here};
use runtime::{JoinHandle, core_id, metrics, on_each_core, spawn, spawn_on, submit, time, yield_now};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::gate::Gate;
use crate::{TEST_MAX, bounded, on_each_driver};

/// The promise: a second. The machine may be busy besides.
const END_MAX: Duration = Duration::from_secs(2);

struct Tells(mpsc::Sender<(usize, ThreadId)>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send((core_id(), thread::current().id())).unwrap();
    }
}

/// Catches: an end that forgets the other cores' tasks, drops them on the wrong thread, or does not join the threads.
#[test]
fn tasks_that_wait_on_all_cores_are_dropped_each_by_its_own() {
    on_each_driver("pending everywhere", |builder| {
        let runtime = builder.cores(3).build().unwrap();
        let (told, tells) = mpsc::channel();
        let (homes, handles) = runtime.block_on(async {
            let mut homes = Vec::new();
            for home in on_each_core(|| async { (core_id(), thread::current().id()) }) {
                homes.push(home.await.unwrap());
            }
            let begun = Arc::new(AtomicUsize::new(0));
            let begins = begun.clone();
            let handles = on_each_core(move || async move {
                let _tells = Tells(told);
                begins.fetch_add(1, Ordering::Relaxed);
                time::sleep_until(time::now() + Duration::from_secs(3600)).await;
            });
            while begun.load(Ordering::Relaxed) < 3 {
                runtime::yield_now().await;
            }
            (homes, handles)
        });
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
        let mut found: Vec<_> = tells.try_iter().collect();
        found.sort_by_key(|(core, _)| *core);
        assert_eq!(found, homes);
        for handle in handles {
            assert!(is_cancelled(handle), "its runtime has outlived it");
        }
    });
}

/// Awaits a handle, of which nothing is missing any more.
fn is_cancelled<T: Send + 'static>(handle: JoinHandle<T>) -> bool {
    assert!(handle.is_finished());
    let other = builder(Driver::Simulated).build().unwrap();
    other.block_on(handle).is_err_and(|error| error.is_cancelled())
}

/// Whose drop sends a task to the other core, which may have ended.
struct SendsOn {
    dropped: Arc<AtomicUsize>,
    handles: mpsc::Sender<JoinHandle<()>>,
}

impl Drop for SendsOn {
    fn drop(&mut self) {
        // Otherwise the two cores would send each other tasks until both have ended.
        if self.dropped.fetch_add(1, Ordering::Relaxed) < 100 {
            let again = SendsOn { dropped: self.dropped.clone(), handles: self.handles.clone() };
            let task = spawn_on(1 - core_id(), move || async move {
                let _again = again;
                pending().await
            });
            self.handles.send(task).unwrap();
        }
    }
}

/// A core that ends sends to one that has ended, or is about to: the closure is dropped, somewhere, and the handle says
/// so.
///
/// Catches: a parcel that is dropped silently when the inbox is closed; one that comes between the last look at the
/// tasks and the closing of the inbox.
#[test]
fn what_is_sent_to_a_core_that_has_ended_is_cancelled() {
    on_each_driver("sent at the end", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let (handles, sent) = mpsc::channel();
        let sends_on = SendsOn { dropped: dropped.clone(), handles };
        runtime.block_on(async move {
            let begun = Arc::new(AtomicUsize::new(0));
            let begins = begun.clone();
            let _waits = spawn_on(1, move || async move {
                let _sends_on = sends_on;
                begins.store(1, Ordering::Relaxed);
                pending::<()>().await
            });
            while begun.load(Ordering::Relaxed) == 0 {
                runtime::yield_now().await;
            }
        });
        drop(runtime);
        let handles: Vec<_> = sent.into_iter().collect();
        assert!(!handles.is_empty());
        assert_eq!(dropped.load(Ordering::Relaxed), handles.len() + 1, "each closure was dropped, once");
        for handle in handles {
            assert!(is_cancelled(handle));
        }
    });
}

/// Catches: a join without a bound; a core that leaks what is in flight since it comes to its end too late.
#[test]
fn a_core_whose_task_never_yields_is_left_behind_in_time() {
    let _alone = crate::process::alone();
    for driver in [Driver::Ring, Driver::Fallback] {
        if !is_here(driver, "left behind") {
            continue;
        }
        bounded::within(TEST_MAX, "left behind", move || {
            let before = crate::process::Holdings::now();
            let gate = Arc::new(Gate::default());
            let (entered, has_entered) = mpsc::channel();
            let runtime = builder(driver).cores(2).build().unwrap();
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            let inside = gate.clone();
            let blocks = move || async move {
                let read = Read { fd: SharedFd::new(reader), buf: [0; 8], position: Position::Cursor };
                drop(spawn(submit(read)));
                while metrics().in_flight == 0 {
                    yield_now().await;
                }
                entered.send(()).unwrap();
                inside.pass();
                core_id()
            };
            let mut blocks = Some(blocks);
            let task = runtime.block_on(poll_fn(|_| Poll::Ready(spawn_on(1, blocks.take().unwrap()))));
            has_entered.recv().unwrap();
            let began = Instant::now();
            drop(runtime);
            let took = began.elapsed();
            assert!(took > Duration::from_millis(900) && took < END_MAX, "it took {took:?}");
            assert!(!task.is_finished());
            // When its task is done, the core ends all the same, by itself.
            gate.open();
            let other = builder(Driver::Fallback).build().unwrap();
            assert_eq!(other.block_on(task).unwrap(), 1);
            drop(other);
            // Whose reader waits for it, if it was leaked.
            drop(writer);
            before.assert_unchanged();
        });
    }
}

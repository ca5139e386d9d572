//! What `spawn_on` promises.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::{self, ThreadId};

use runtime::{core_id, cores, metrics, on_each_core, spawn, spawn_on, yield_now};

use crate::on_each_driver;
use crate::polled::poll_once;

/// Whose drop tells on which core of which thread it happened.
struct Tells(mpsc::Sender<(usize, ThreadId)>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send((core_id(), thread::current().id())).unwrap();
    }
}

/// Where a core runs.
async fn whereabouts() -> (usize, ThreadId) {
    (core_id(), thread::current().id())
}

/// The future is none that could be sent. It is made, polled and dropped on the core that was named, and its output
/// comes to the one that asked.
///
/// Catches: a parcel that is sent to core 0 whatever was named; turns on one thread that do not change the current
/// core.
#[test]
fn what_is_sent_to_a_core_runs_there_and_its_output_comes_back() {
    on_each_driver("sent and back", |builder| {
        let runtime = builder.cores(3).build().unwrap();
        let threads: Vec<ThreadId> = runtime.block_on(async {
            let mut threads = Vec::new();
            for core in 0..3 {
                let (told, tells) = mpsc::channel();
                let (found, output) = spawn_on(core, move || async move {
                    let before = Rc::new(Cell::new(whereabouts().await));
                    let _tells = Tells(told);
                    yield_now().await;
                    spawn(async {}).await.unwrap();
                    assert_eq!(before.get(), whereabouts().await);
                    (before.get(), String::from("from there"))
                })
                .await
                .unwrap();
                assert_eq!((found.0, output.as_str()), (core, "from there"));
                assert_eq!(tells.try_recv(), Ok(found), "the future was dropped where it ran");
                threads.push(found.1);
            }
            assert_eq!((core_id(), cores()), (0, 3));
            threads
        });
        let is_simulated = runtime.block_on(async { metrics().driver }) == "simulated";
        assert_eq!(threads[0], thread::current().id());
        assert_eq!(threads[1] == threads[0] && threads[2] == threads[1], is_simulated);
    });
}

/// Catches: an inbox that hands out the newest first.
#[test]
fn what_one_core_sends_to_another_starts_in_the_order_it_was_sent() {
    on_each_driver("order", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        let (started, starts) = mpsc::channel();
        runtime.block_on(async {
            let send = |number| {
                let started = started.clone();
                spawn_on(1, move || async move { started.send(number).unwrap() })
            };
            let handles: Vec<_> = (0..100).map(send).collect();
            for handle in handles {
                handle.await.unwrap();
            }
        });
        assert!(starts.try_iter().eq(0..100));
    });
}

#[test]
fn on_each_core_starts_one_task_a_core_and_each_counts_for_itself() {
    on_each_driver("shards", |builder| {
        let runtime = builder.cores(4).build().unwrap();
        runtime.block_on(async {
            let shards = on_each_core(|| async {
                spawn(async {}).await.unwrap();
                metrics()
            });
            assert_eq!(shards.len(), 4);
            for (core, shard) in shards.into_iter().enumerate() {
                let metrics = shard.await.unwrap();
                assert_eq!(metrics.core, core);
                assert_eq!(metrics.remote_spawns, u64::from(core != 0), "core {core}");
                assert!(metrics.polls >= 2, "core {core} polled {} times", metrics.polls);
            }
        });
    });
}

/// Catches: a `make` that is called outside of what is caught.
#[test]
fn a_panic_on_another_core_is_a_join_error_and_that_core_goes_on() {
    on_each_driver("panics", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        runtime.block_on(async {
            let while_making = spawn_on(1, || {
                if core_id() == 1 {
                    panic!("while making");
                }
                async {}
            });
            let while_running = spawn_on(1, || async { panic!("while running") });
            for (handle, words) in [(while_making, "while making"), (while_running, "while running")] {
                let error = handle.await.unwrap_err();
                assert!(error.is_panic() && error.to_string().contains(words), "{error}");
            }
            assert_eq!(spawn_on(1, || async { core_id() }).await.unwrap(), 1);
        });
    });
}

#[test]
fn spawning_on_a_core_that_does_not_exist_panics_and_names_how_many_there_are() {
    on_each_driver("no such core", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        let result = runtime.block_on(async { catch_unwind(|| spawn_on(2, || async {})).map(drop) });
        let payload = result.unwrap_err();
        let words = payload.downcast_ref::<String>().unwrap();
        assert!(words.contains("no core 2: this runtime has 2"), "{words}");
    });
    assert!(catch_unwind(|| spawn_on(0, || async {})).is_err(), "outside of a runtime");
}

/// Both the future and an output that nobody takes are dropped by their own core.
///
/// Catches: an output that goes with the handle, on whatever thread that is; a goodbye that is overwritten by the
/// spawn.
#[test]
fn a_dropped_handle_detaches_and_the_output_is_dropped_on_the_tasks_core() {
    on_each_driver("detached", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        let (told, tells) = mpsc::channel();
        let there = runtime.block_on(async {
            drop(spawn_on(1, move || async move { Tells(told) }));
            let there = spawn_on(1, whereabouts).await.unwrap();
            // The goodbye may still be on its way; what is sent after it comes after it.
            while tells.try_recv().map(|found| assert_eq!(found, there)).is_err() {
                spawn_on(1, || async {}).await.unwrap();
            }
            there
        });
        assert_eq!(there.0, 1);
    });
}

/// Catches: an abort that is lost with a spawn it overtakes; a task that is aborted without its future being dropped
/// there.
#[test]
fn an_abort_from_another_core_drops_the_future_on_its_own_core() {
    on_each_driver("aborted", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        runtime.block_on(async {
            let there = spawn_on(1, whereabouts).await.unwrap();
            for lets_it_begin in [false, true] {
                let (told, tells) = mpsc::channel();
                let begun = Arc::new(AtomicUsize::new(0));
                let begins = begun.clone();
                let task = spawn_on(1, move || async move {
                    let _tells = Tells(told);
                    begins.store(1, Ordering::Relaxed);
                    pending::<()>().await;
                });
                while lets_it_begin && begun.load(Ordering::Relaxed) == 0 {
                    yield_now().await;
                }
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled());
                // One that never began had nothing to drop but its sender.
                match tells.recv() {
                    Ok(found) => assert_eq!(found, there),
                    Err(mpsc::RecvError) => assert!(!lets_it_begin),
                }
            }
        });
    });
}

/// The handle is on the task's own core before the task is: the two take different ways.
///
/// Catches: `is_queued` left false in a parcel, so that an abort queues a task that its core does not know.
#[test]
fn a_handle_may_be_used_on_the_tasks_core_before_the_task_has_come() {
    on_each_driver("overtaken", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        runtime.block_on(async {
            for round in 0..200 {
                let (sender, handles) = mpsc::channel::<runtime::JoinHandle<u32>>();
                let user = spawn_on(1, move || async move {
                    let mut handle = loop {
                        match handles.try_recv() {
                            Ok(handle) => break handle,
                            Err(_) => yield_now().await,
                        }
                    };
                    match round % 3 {
                        0 => {
                            let early = poll_once(&mut handle).await;
                            handle.abort();
                            let outcome = match early {
                                Poll::Ready(outcome) => outcome,
                                Poll::Pending => handle.await,
                            };
                            assert!(outcome.map_or_else(|error| error.is_cancelled(), |output| output == 7));
                        }
                        1 => drop(handle),
                        _ => assert_eq!(handle.await.unwrap(), 7),
                    }
                });
                sender.send(spawn_on(1, || async { 7 })).unwrap();
                user.await.unwrap();
            }
            assert_eq!(spawn_on(1, || async { metrics().tasks }).await.unwrap(), 1);
        });
    });
}

/// Catches: a waker of another core's task that is taken for one of this core's.
#[test]
fn tasks_on_different_cores_wake_each_other() {
    on_each_driver("ping-pong", |builder| {
        let runtime = builder.cores(3).build().unwrap();
        let round_trips = runtime.block_on(async {
            let mut number = 0_u32;
            for _ in 0..300 {
                // 0 awaits 1, which awaits 2, which awaits 0.
                number = spawn_on(1, move || async move {
                    spawn_on(2, move || async move { spawn_on(0, move || async move { number + 1 }).await.unwrap() })
                        .await
                        .unwrap()
                })
                .await
                .unwrap();
            }
            number
        });
        assert_eq!(round_trips, 300);
    });
}

/// A handle is a future for anybody: one of another runtime, or of none.
#[test]
fn a_handle_is_awaited_on_a_thread_without_a_runtime() {
    on_each_driver("elsewhere", |builder| {
        let runtime = builder.cores(2).build().unwrap();
        let handle = runtime.block_on(poll_fn(|_| Poll::Ready(spawn_on(1, || async { core_id() }))));
        let waiter = thread::spawn(move || {
            let other = runtime::Runtime::new().unwrap();
            other.block_on(handle).unwrap()
        });
        // The simulated core 1 runs only while this thread does.
        while !waiter.is_finished() {
            runtime.block_on(yield_now());
        }
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

/// Catches: a `make` that is leaked with a parcel nobody takes.
#[test]
fn what_was_captured_is_dropped_exactly_once_whatever_happens() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    on_each_driver("captured", |builder| {
        let drops = Arc::new(AtomicUsize::new(0));
        let runtime = builder.cores(2).build().unwrap();
        runtime.block_on(async {
            for number in 0..30 {
                let captured = Counted(drops.clone());
                let handle = spawn_on(number % 2, move || async move {
                    let _captured = captured;
                    match number % 3 {
                        0 => {}
                        1 => yield_now().await,
                        _ => pending().await,
                    }
                });
                if number % 5 == 0 {
                    handle.abort();
                }
                drop(handle);
            }
        });
        assert!(catch_unwind(AssertUnwindSafe(|| drop(runtime))).is_ok());
        assert_eq!(drops.load(Ordering::Relaxed), 30);
    });
}

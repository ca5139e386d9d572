//! Many messages between cores, of which none is lost, and none comes twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::simulated::{Faults, world};
use runtime::{Builder, core_id, metrics, on_each_core, spawn_on, yield_now};

use crate::{on_each_driver, once};

/// Both cores send to each other at the same time, so both sleep and are woken, and both are busy and are not.
///
/// Catches: a push whose failure is not noticed; `prepare_to_park` without its second look; a parcel without its bell.
#[test]
fn of_a_hundred_thousand_messages_between_two_cores_none_is_lost() {
    on_each_driver("messages", |builder| {
        const ROUNDS: u64 = 500;
        const BATCH: u64 = 100;
        let runtime = builder.cores(2).build().unwrap();
        let received = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let counts = received.clone();
        let sent = runtime.block_on(async move {
            let sides = on_each_core(move || async move {
                let there = 1 - core_id();
                let mut answers = 0;
                for round in 0..ROUNDS {
                    let send = |number| {
                        let counts = counts.clone();
                        spawn_on(there, move || async move {
                            counts[core_id()].fetch_add(1, Ordering::Relaxed);
                            if number % 7 == 0 {
                                yield_now().await;
                            }
                            round * BATCH + number
                        })
                    };
                    let handles: Vec<_> = (0..BATCH).map(send).collect();
                    for (number, handle) in (round * BATCH..).zip(handles) {
                        assert_eq!(handle.await.unwrap(), number);
                        answers += 1;
                    }
                }
                answers
            });
            let mut sent = 0;
            for side in sides {
                sent += side.await.unwrap();
            }
            sent
        });
        assert_eq!(sent, 2 * ROUNDS * BATCH);
        for count in &*received {
            assert_eq!(count.load(Ordering::Relaxed), ROUNDS * BATCH);
        }
    });
}

/// Within each of many seeds: messages in all directions, some aborted, some detached, with sleeps in between, and a
/// model of which must have come.
///
/// Catches: a turn that leaves mail behind when it ends; time that goes on while a core has mail.
#[test]
fn within_each_seed_all_messages_arrive_once_and_the_world_comes_to_rest() {
    once("seeds of messages", || {
        for seed in 0..300 {
            let runtime = Builder::new().simulated(seed, Faults::all()).cores(4).build().unwrap();
            let arrived = runtime.block_on(exchange());
            let unique: HashSet<_> = arrived.iter().collect();
            assert_eq!((arrived.len(), unique.len()), (4 * 20, 4 * 20), "seed {seed}");
            let tasks = runtime.block_on(async {
                let cores = on_each_core(|| async { metrics().tasks });
                let mut tasks = 0;
                for core in cores {
                    tasks += core.await.unwrap();
                }
                tasks
            });
            assert_eq!(tasks, 4, "seed {seed}: only those that count are left");
        }
    });
}

async fn exchange() -> Vec<(usize, u64)> {
    let (told, heard) = std::sync::mpsc::channel();
    let sides = on_each_core(move || async move {
        let world = world();
        let mut handles = Vec::new();
        for number in 0..20 {
            let told = told.clone();
            let from = core_id();
            let to = usize::try_from(world.random_u64() % 4).unwrap();
            let pause = std::time::Duration::from_nanos(world.random_u64() % 100_000);
            let handle = spawn_on(to, move || async move {
                assert_eq!(core_id(), to);
                runtime::time::sleep(pause).await;
                told.send((from, number)).unwrap();
            });
            if world.random_u64().is_multiple_of(3) {
                yield_now().await;
            }
            // Whoever is aborted has nothing to tell, so it is not told from.
            let useless = spawn_on(to, std::future::pending::<()>);
            useless.abort();
            handles.push((handle, useless));
        }
        for (handle, useless) in handles {
            handle.await.unwrap();
            assert!(useless.await.unwrap_err().is_cancelled());
        }
    });
    for side in sides {
        side.await.unwrap();
    }
    heard.try_iter().collect()
}

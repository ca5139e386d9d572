//! The same seed replays the same schedule, also with several cores.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runtime::simulated::{Faults, world};
use runtime::{Builder, core_id, metrics, on_each_core, spawn, spawn_on, submit, time, yield_now};

use crate::once;

type Story = Vec<(usize, usize, &'static str, Duration)>;

/// What happened on all cores, in order, with the world's time.
fn story(seed: u64, cores: usize) -> Story {
    let runtime = Builder::new().simulated(seed, Faults::all()).cores(cores).build().unwrap();
    let written = Arc::new(Mutex::new(Story::new()));
    let story = written.clone();
    runtime.block_on(async move {
        let told = on_each_core(move || async move {
            let tell = move |task: usize, what| {
                let mut story = story.lock().unwrap();
                story.push((core_id(), task, what, world().elapsed()));
            };
            let tell = Arc::new(tell);
            let tasks = (0..4).map(|task| {
                let tell = tell.clone();
                spawn(async move {
                    tell(task, "begins");
                    for _ in 0..3 {
                        let _answered = submit(runtime::op::Nop).await;
                        tell(task, "is answered");
                        time::sleep(Duration::from_nanos(world().random_u64() % 50_000)).await;
                        tell(task, "has slept");
                        let next = (core_id() + 1) % runtime::cores();
                        spawn_on(next, || async { yield_now().await }).await.unwrap();
                        tell(task, "has heard back");
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
        for core in told {
            core.await.unwrap();
        }
    });
    Arc::into_inner(written).unwrap().into_inner().unwrap()
}

/// Catches: an order of cores, or a length of turns, that is not drawn from the seed; a loop that reads the real clock.
#[test]
fn the_same_seed_tells_the_same_story_on_two_three_and_four_cores() {
    once("stories", || {
        for cores in 2..=4 {
            for seed in 0..25 {
                let first = story(seed, cores);
                assert_eq!(first.len(), cores * 4 * 10, "{cores} cores, seed {seed}");
                assert_eq!(first, story(seed, cores), "{cores} cores, seed {seed}");
            }
        }
    });
}

/// Catches: cores that are asked one after the other, in the same order always.
#[test]
fn different_seeds_let_cores_run_in_different_orders() {
    once("orders", || {
        let who_begins = |seed| story(seed, 3).iter().map(|(core, ..)| *core).take(12).collect::<Vec<_>>();
        let orders: std::collections::HashSet<_> = (0..50).map(who_begins).collect();
        assert!(orders.len() > 10, "{} orders in 50 seeds", orders.len());
        // Core 0 sends the others off, so it has a start.
        for first in 1..3 {
            let is_first = |order: &Vec<usize>| order.iter().find(|core| **core != 0) == Some(&first);
            assert!(orders.iter().any(is_first), "core {first} is never the first that was sent off");
        }
    });
}

/// A core that computes for long in real time computes for no time in a world where that does not pass.
///
/// Catches: a turn that ends when 200 us of real time are over.
#[test]
fn a_slow_machine_tells_the_same_story_as_a_fast_one() {
    fn story(spin: Duration) -> (u64, Duration) {
        let runtime = Builder::new().simulated(5, Faults::none()).build().unwrap();
        runtime.block_on(async move {
            let tasks: Vec<_> = (0..100).map(|_| spawn(compute(spin))).collect();
            for task in tasks {
                task.await.unwrap();
            }
            (metrics().ticks, world().elapsed())
        })
    }
    once("fast and slow", || {
        assert_eq!(story(Duration::ZERO), story(Duration::from_micros(40)));
    });
}

async fn compute(spin: Duration) {
    for _ in 0..3 {
        let began = Instant::now();
        while began.elapsed() < spin {
            std::hint::spin_loop();
        }
        yield_now().await;
    }
}

/// Time is the world's, so a core that only waits must not let it go on under one that works.
///
/// Catches: `ahead` that asks only the core that waits.
#[test]
fn an_hour_of_sleeps_on_several_cores_passes_at_once_and_at_the_same_time() {
    once("an hour", || {
        for seed in 0..50 {
            let runtime = Builder::new().simulated(seed, Faults::none()).cores(3).build().unwrap();
            runtime.block_on(async {
                let began = world().elapsed();
                let ends = on_each_core(|| async {
                    for _ in 0..60 {
                        time::sleep(Duration::from_secs(60)).await;
                        yield_now().await;
                    }
                    world().elapsed()
                });
                for end in ends {
                    let took = end.await.unwrap() - began;
                    let hour = Duration::from_secs(3600);
                    assert!(took >= hour && took < hour + Duration::from_millis(1), "seed {seed}: {took:?}");
                }
            });
        }
    });
}

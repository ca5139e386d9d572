//! Random programs in the simulated world, with all faults on: whatever is dropped, aborted, timed out or forgotten,
//! nothing is lost, doubled or left.

mod bare;
mod desk;
mod dice;
mod errands;
mod fates;
mod holding;
mod incoming;
mod matrix;
mod outgoing;
mod parcels;
mod program;
mod script;
mod sheet;
mod stage;
mod talk;
mod verdict;
mod watched;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use holding::Holding;
use matrix::Matrix;
use script::Script;

#[global_allocator]
static ALLOCATOR: Holding = Holding;

/// So many programs are run unless `GIMMAL_SEEDS` says otherwise.
const SEEDS: u64 = 400;

/// From so many on, each cell of the matrix that can be must have been reached.
const SEEDS_FOR_ALL_CELLS: u64 = 10_000;

/// One program takes milliseconds. If one takes so long, it spins.
const PROGRAM_MAX: Duration = Duration::from_secs(60);

/// Catches: an op that is freed before its last reply, or never; a reply that is lost, doubled or given to another op; a byte
/// that goes with its future; a task, timer or buffer that nobody wakes, fires or gives back.
#[test]
fn whatever_the_kernel_does_and_whoever_goes_nothing_is_lost_doubled_or_left() {
    if let Some(seed) = number("GIMMAL_SEED") {
        let mut worker = Worker::default();
        println!("{:#?}", Script::draw(seed));
        worker.warm_up();
        return worker.run(seed);
    }
    let began = Instant::now();
    let seeds = number("GIMMAL_SEEDS").unwrap_or(SEEDS);
    let matrix = run_all(seeds);
    println!("{seeds} programs in {:?}", began.elapsed());
    matrix.print();
    if seeds >= SEEDS_FOR_ALL_CELLS {
        assert_eq!(matrix.missed(), [""; 0], "cells that can be, and were not reached");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value}")))
}

/// Runs the programs of the seeds from 0 up, on a thread for each processor.
fn run_all(seeds: u64) -> Matrix {
    let shared = Shared::default();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let beats: Vec<Beat> = (0..workers).map(|_| Beat::default()).collect();
    let (done, is_done) = channel();
    thread::scope(|scope| {
        for beat in &beats {
            let (shared, done) = (&shared, done.clone());
            scope.spawn(move || work(seeds, shared, beat, &done));
        }
        drop(done);
        let matrix = gather(&is_done, &beats);
        assert!(!shared.has_failed.load(Ordering::Relaxed), "a program failed: see above");
        matrix
    })
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    has_failed: AtomicBool,
}

/// No seed: the worker is done.
const NONE: u64 = u64::MAX;

/// What a worker is at.
#[derive(Default)]
struct Beat {
    seed: AtomicU64,
    /// How many programs it has begun.
    begun: AtomicU64,
}

fn work(seeds: u64, shared: &Shared, beat: &Beat, done: &Sender<Matrix>) {
    let mut worker = Worker::default();
    worker.warm_up();
    while !shared.has_failed.load(Ordering::Relaxed) {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            break;
        }
        beat.seed.store(seed, Ordering::Relaxed);
        beat.begun.fetch_add(1, Ordering::Relaxed);
        if catch_unwind(AssertUnwindSafe(|| worker.run(seed))).is_err() {
            shared.has_failed.store(true, Ordering::Relaxed);
        }
    }
    beat.seed.store(NONE, Ordering::Relaxed);
    // Whoever gathers waits for all.
    let _gathered = done.send(worker.matrix);
}

/// Adds up what the workers bring, and ends the process if one of them spins.
fn gather(is_done: &Receiver<Matrix>, beats: &[Beat]) -> Matrix {
    let mut matrix = Matrix::default();
    let mut seen: Vec<(u64, Instant)> = beats.iter().map(|_| (0, Instant::now())).collect();
    loop {
        match is_done.recv_timeout(Duration::from_secs(1)) {
            Ok(part) => matrix.merge(&part),
            Err(RecvTimeoutError::Disconnected) => return matrix,
            Err(RecvTimeoutError::Timeout) => {}
        }
        for (beat, (begun, since)) in beats.iter().zip(&mut seen) {
            let now = beat.begun.load(Ordering::Relaxed);
            if std::mem::replace(begun, now) != now {
                *since = Instant::now();
            }
            let seed = beat.seed.load(Ordering::Relaxed);
            if since.elapsed() > PROGRAM_MAX && seed != NONE {
                eprintln!("the program of seed {seed} does not end; {}", replay(seed));
                std::process::abort();
            }
        }
    }
}

/// Runs programs on its thread, one after the other.
#[derive(Default)]
struct Worker {
    matrix: Matrix,
}

impl Worker {
    /// What a thread allocates once and keeps is no leak of a program's.
    fn warm_up(&self) {
        drop(program::run(0));
    }

    fn run(&mut self, seed: u64) {
        let failing = Failing(seed);
        let run = program::run(seed);
        assert!(run.complaints.is_empty(), "seed {seed}, {} steps:\n  {}", run.steps, run.complaints.join("\n  "));
        std::mem::forget(failing);
        self.matrix.add(&run.cells);
    }
}

/// Prints, when a program fails, what it was and how to run it again.
struct Failing(u64);

impl Drop for Failing {
    fn drop(&mut self) {
        eprintln!("{:?}\nseed {} failed; {}", Script::draw(self.0), self.0, replay(self.0));
    }
}

fn replay(seed: u64) -> String {
    format!("to replay it: GIMMAL_SEED={seed} cargo test -p gimmal-runtime --test random")
}

//! Random programs in the simulated world, with all faults on: whatever is dropped, aborted, timed out or forgotten,
//! nothing is lost, doubled or left.
//!
//! ```text
//!  seed ─► script (plain data) ─► tasks on net, fs and bare ops, on one to three cores ─► the runtime goes, perhaps in the middle
//!                                    │ what each side sent, wrote, synced, was told       │ requests, descriptors, memory
//!                                    ▼                                                    ▼
//!                                  models: incoming, outgoing, sheet, book, flows, strangers ───► verdict
//! ```
//!
//! After each program: every op was lent once, answered once and dropped once; the kernel was lent nothing that it has
//! not answered; no slot, descriptor, buffer, timer, task or byte of memory is left; what arrived, and what files hold
//! now and after a power cut, is what the models allow; nobody outside believes in a connection that is gone.
//!
//! A failing seed prints its script and the line that replays it: `GIMMAL_SEED` runs one, `GIMMAL_SEEDS` so many.
//!
//! # What it has been seen to find
//!
//! `mutations/` holds these as patches; `.ci/mutations` applies each to a copy and expects the programs to notice
//! within 1,000 seeds. The seeds below are the first that did, give or take what runs beside them.
//!
//! | mutation | seed | what was noticed |
//! | --- | --- | --- |
//! | slots: a dropped op's slot is freed at once | 0 | a reply under a key that nobody has |
//! | slots: the last reply of a dropped op frees it without `abandon` | 1 | the next in line waits for ever |
//! | slots: the last of many replies wakes nobody | 1 | the reader waits for ever |
//! | slots: a dropped write is cancelled like a read | 9 | bytes of a dropped write are missing outside |
//! | held: a cell is not given back | 0 | memory is left |
//! | held: a cell is given back while the kernel has it | 0 | another op's request lies in it |
//! | teardown: what would go on is not cancelled | 37 | a request is never answered |
//! | teardown: nobody waits for the last replies | 0 | a request is never answered |
//! | teardown: ops whose futures were forgotten are left out | 0 | a descriptor is left |
//! | abandon: a dropped receive's bytes are not parked | 3 | a byte is not what was sent |
//! | abandon: a dropped send that came back short ends there | 16 | bytes of a dropped write are missing outside |
//! | abandon: a dropped read at the cursor is not undone | 23 | a byte is not what the file holds |
//! | abandon: a dropped write to a file that came back short ends there | 73 | what was synced is not on the disk |
//! | re-arm: an accept in flight goes with its future | 0 | an op is left that nobody knows |
//! | re-arm: an accept that was interrupted is not asked again | 3 | EINTR, which no caller should see |
//! | re-arm: an op polled by another task wakes the first | 1 | tasks wait for ever |
//! | re-arm: a turn that is given up is not passed on | 15 | the next in line waits for ever |
//! | cursor: direct I/O is left to the kernel | 0 | a byte is not what the file holds |
//! | cursor: a seek waits for nobody | 29 | a write went elsewhere |

mod bare;
mod book;
#[path = "../common/canary.rs"]
mod canary;
mod desk;
mod dice;
mod errands;
mod fates;
mod flows;
mod holding;
mod incoming;
mod matrix;
mod ops;
mod outgoing;
mod parcels;
mod program;
mod script;
mod sheet;
mod stage;
mod strangers;
mod talk;
mod verdict;
mod watched;

use std::io::Write;
use std::ops::Range;
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

/// Each so many'th program is run twice, and must do the same: otherwise no failure could be replayed.
const REPLAYED: u64 = 20;

/// One program takes milliseconds. If one takes so long, it spins.
const PROGRAM_MAX: Duration = Duration::from_secs(30);

/// Catches: the mutations that the head of this file lists.
#[test]
fn whatever_the_kernel_does_and_whoever_goes_nothing_is_lost_doubled_or_left() {
    if let Some(seed) = number("GIMMAL_SEED") {
        let mut worker = Worker::default();
        println!("{:#?}", Script::draw(seed));
        worker.warm_up();
        return worker.run(seed);
    }
    let began = Instant::now();
    let seeds = seeds();
    let matrix = run_all(seeds.clone());
    println!("the programs of seeds {seeds:?} in {:?}", began.elapsed());
    matrix.print();
    if seeds.end - seeds.start >= SEEDS_FOR_ALL_CELLS {
        assert_eq!(matrix.missed(), [""; 0], "cells that can be, and were not reached");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value}")))
}

/// As `#[runtime::test]` reads them: how many, or from which up to which.
fn seeds() -> Range<u64> {
    let Ok(wanted) = std::env::var("GIMMAL_SEEDS") else { return 0..SEEDS };
    let range = match wanted.split_once("..") {
        Some((from, to)) => from.parse().ok().zip(to.parse().ok()).map(|(from, to)| from..to),
        None => wanted.parse().ok().map(|many| 0..many),
    };
    range.unwrap_or_else(|| panic!("GIMMAL_SEEDS={wanted}: it is how many seeds, or a range such as 1000..6000"))
}

/// Runs the programs of these seeds, on a thread for each processor.
fn run_all(seeds: Range<u64>) -> Matrix {
    let shared = Shared { next: AtomicU64::new(seeds.start), has_failed: AtomicBool::new(false) };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let beats: Vec<Beat> = (0..workers).map(|_| Beat::default()).collect();
    let (done, is_done) = channel();
    thread::scope(|scope| {
        for beat in &beats {
            let (shared, done) = (&shared, done.clone());
            let end = seeds.end;
            scope.spawn(move || work(end, shared, beat, &done));
        }
        drop(done);
        let matrix = gather(&is_done, &beats);
        assert!(!shared.has_failed.load(Ordering::Relaxed), "a program failed: see above");
        matrix
    })
}

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

fn work(end: u64, shared: &Shared, beat: &Beat, done: &Sender<Matrix>) {
    let mut worker = Worker::default();
    worker.warm_up();
    while !shared.has_failed.load(Ordering::Relaxed) {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
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
                // Past the harness, which would keep it for a report that never comes.
                let mut stderr = std::io::stderr();
                let _unheard = writeln!(stderr, "seed {seed} does not end; {}", replay(seed));
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
        let failing = Failing(0);
        drop(program::run(0));
        std::mem::forget(failing);
    }

    fn run(&mut self, seed: u64) {
        let failing = Failing(seed);
        let run = program::run(seed);
        assert!(run.complaints.is_empty(), "seed {seed}, {} steps:\n  {}", run.steps, run.complaints.join("\n  "));
        if seed.is_multiple_of(REPLAYED) {
            let again = program::run(seed);
            assert!(
                (again.steps, &again.cells) == (run.steps, &run.cells),
                "seed {seed} is not the same program twice"
            );
        }
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

//! Tasks without I/O: made and joined, and taking turns.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use crate::hand::queue::{Queue, Yield};
use crate::harness::{Contender, Row, Target};
use crate::machine::{self, thread_cpu};

/// So many tasks live at once.
const BATCH: u64 = 1000;

pub fn rows() -> Vec<Row> {
    let spawn = Row {
        name: "spawn and join, 1,000 at once",
        unit: "thread CPU a task",
        ops: 1_000_000,
        contenders: vec![
            Contender::new("gimmal", spawn_gimmal),
            Contender::new("tokio", spawn_tokio),
            Contender::new("hand queue of boxes", spawn_hand),
        ],
        targets: vec![Target::nanoseconds("gimmal", 50.0)],
    };
    let yields = Row {
        name: "yield, two tasks in turn",
        unit: "thread CPU a yield",
        ops: 2_000_000,
        contenders: vec![
            Contender::new("gimmal", yield_gimmal),
            Contender::new("tokio", yield_tokio),
            Contender::new("hand queue of boxes", yield_hand),
        ],
        targets: vec![Target::nanoseconds("gimmal", 25.0)],
    };
    vec![spawn, yields]
}

fn spawn_gimmal(ops: u64) -> io::Result<Duration> {
    machine::gimmal()?.block_on(async {
        let mut handles = Vec::with_capacity(BATCH as usize);
        let start = thread_cpu();
        for batch in 0..ops.div_ceil(BATCH) {
            handles.extend((0..batch_len(ops, batch)).map(|task| runtime::spawn(async move { task })));
            for handle in handles.drain(..) {
                std::hint::black_box(handle.await?);
            }
        }
        Ok(thread_cpu() - start)
    })
}

fn spawn_tokio(ops: u64) -> io::Result<Duration> {
    machine::tokio()?.block_on(async {
        let mut handles = Vec::with_capacity(BATCH as usize);
        let start = thread_cpu();
        for batch in 0..ops.div_ceil(BATCH) {
            handles.extend((0..batch_len(ops, batch)).map(|task| tokio::spawn(async move { task })));
            for handle in handles.drain(..) {
                std::hint::black_box(handle.await?);
            }
        }
        Ok(thread_cpu() - start)
    })
}

fn spawn_hand(ops: u64) -> io::Result<Duration> {
    let outputs: Vec<Cell<u64>> = (0..BATCH).map(|_| Cell::new(0)).collect();
    let mut queue = Queue::default();
    let start = thread_cpu();
    for batch in 0..ops.div_ceil(BATCH) {
        for (task, output) in (0..batch_len(ops, batch)).zip(&outputs) {
            queue.push(async move { output.set(task) });
        }
        queue.run();
        outputs.iter().for_each(|output| std::hint::black_box(output).set(0));
    }
    Ok(thread_cpu() - start)
}

/// The last batch may be smaller.
fn batch_len(ops: u64, batch: u64) -> u64 {
    BATCH.min(ops - batch * BATCH)
}

fn yield_gimmal(ops: u64) -> io::Result<Duration> {
    let yields = move || async move {
        for _ in 0..ops / 2 {
            runtime::yield_now().await;
        }
    };
    machine::gimmal()?.block_on(async {
        let start = thread_cpu();
        let (one, other) = (runtime::spawn(yields()), runtime::spawn(yields()));
        one.await?;
        other.await?;
        Ok(thread_cpu() - start)
    })
}

fn yield_tokio(ops: u64) -> io::Result<Duration> {
    let yields = move || async move {
        for _ in 0..ops / 2 {
            tokio::task::yield_now().await;
        }
    };
    machine::tokio()?.block_on(async {
        let start = thread_cpu();
        let (one, other) = (tokio::spawn(yields()), tokio::spawn(yields()));
        one.await?;
        other.await?;
        Ok(thread_cpu() - start)
    })
}

fn yield_hand(ops: u64) -> io::Result<Duration> {
    let yields = || async {
        for _ in 0..ops / 2 {
            Yield::default().await;
        }
    };
    let mut queue = Queue::default();
    queue.push(yields());
    queue.push(yields());
    let start = thread_cpu();
    queue.run();
    Ok(thread_cpu() - start)
}

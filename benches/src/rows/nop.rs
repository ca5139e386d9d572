//! An op that does nothing: what is left is what an op costs.

use std::io;
use std::time::Duration;

use runtime::op::Nop;
use runtime::{spawn, submit};

use crate::hand;
use crate::harness::{Contender, Row, Target};
use crate::machine::{self, thread_cpu};

const OPS: u64 = 1_000_000;

pub fn rows() -> Vec<Row> {
    vec![row("nop, 64 in flight", 64, 1.5), row("nop, 1 in flight", 1, 1.25)]
}

fn row(name: &'static str, in_flight: u64, at_most: f64) -> Row {
    Row {
        name,
        unit: "thread CPU an op",
        ops: OPS,
        contenders: vec![
            Contender::new("gimmal", move |ops| gimmal(ops, in_flight)),
            Contender::new("hand ring", move |ops| hand::ring::nops(ops, in_flight)),
        ],
        targets: vec![Target::ratio("gimmal", at_most, &["hand ring"])],
    }
}

/// `ops` of them, by `in_flight` tasks.
pub fn gimmal(ops: u64, in_flight: u64) -> io::Result<Duration> {
    machine::gimmal()?.block_on(async {
        let start = thread_cpu();
        let tasks: Vec<_> = (0..in_flight)
            .map(|_| {
                spawn(async move {
                    for _ in 0..ops / in_flight {
                        submit(Nop).await?;
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(thread_cpu() - start)
    })
}

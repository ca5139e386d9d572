//! A time limit that is set on something pending, and given up: what a request with a limit pays.
//!
//! Another timer is due before, as in any server. (Without one tokio would wake itself for each.)

use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::harness::{Contender, Row, Target};
use crate::machine::{self, thread_cpu};

const LIMIT: Duration = Duration::from_secs(30);

pub fn rows() -> Vec<Row> {
    vec![Row {
        name: "timeout, made and cancelled",
        unit: "thread CPU a timeout",
        ops: 1_000_000,
        contenders: vec![
            Contender::new("gimmal", gimmal),
            Contender::new("tokio", tokio),
            Contender::new("hand clock and tree", hand),
        ],
        targets: vec![Target::nanoseconds("gimmal", 80.0)],
    }]
}

fn gimmal(ops: u64) -> io::Result<Duration> {
    machine::gimmal()?.block_on(async {
        let mut earlier = pin!(runtime::time::sleep(LIMIT / 2));
        poll_once(earlier.as_mut()).await;
        let start = thread_cpu();
        for _ in 0..ops {
            poll_once(pin!(runtime::time::timeout(LIMIT, pending::<()>()))).await;
        }
        Ok(thread_cpu() - start)
    })
}

fn tokio(ops: u64) -> io::Result<Duration> {
    machine::tokio()?.block_on(async {
        let mut earlier = pin!(tokio::time::sleep(LIMIT / 2));
        poll_once(earlier.as_mut()).await;
        let start = thread_cpu();
        for _ in 0..ops {
            poll_once(pin!(tokio::time::timeout(LIMIT, pending::<()>()))).await;
        }
        Ok(thread_cpu() - start)
    })
}

/// The clock, and a tree of deadlines.
fn hand(ops: u64) -> io::Result<Duration> {
    let mut deadlines = BTreeMap::new();
    let start = thread_cpu();
    for op in 0..ops {
        let deadline = (Instant::now() + LIMIT, op);
        deadlines.insert(deadline, ());
        std::hint::black_box(&mut deadlines).remove(&deadline);
    }
    Ok(thread_cpu() - start)
}

async fn poll_once(mut future: Pin<&mut impl Future>) {
    poll_fn(|context| {
        std::hint::black_box(future.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

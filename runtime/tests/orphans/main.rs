//! What becomes of an op whose future goes: each op, in each state of its life, on each driver.
//!
//! In every cell: the op is dropped exactly once, and not before its last reply; memory that it gave back is never
//! written to; no descriptor and no thread is left; nothing is in flight and no timer set; what was sent to it is still
//! there or was taken whole, what it had to send went out whole or not at all, and nobody who connected is left in the
//! lurch.
//!
//! The tables are printed; a cell that cannot be says why below its table.

#[path = "../common/bounded.rs"]
mod bounded;
#[path = "../common/canary.rs"]
mod canary;
mod cells;
#[path = "../common/polled.rs"]
mod polled;
#[path = "../common/process.rs"]
mod process;
mod scenes;
mod sources;
mod watched;
mod worlds;

use std::collections::BTreeMap;
use std::time::Duration;

use cells::State;
use runtime::testing::{Driver, is_here};
use scenes::Row;

/// A cell takes milliseconds; the end of a runtime may take a second.
const CELL_MAX: Duration = Duration::from_secs(30);

/// Catches: `Slots::orphan` that frees the op at once; an `orphan` that does not cancel; an `abandon` that does not
/// run, or forgets the descriptor it is given; `drain` that leaves out ops whose future was forgotten.
#[test]
fn an_op_is_released_once_by_its_last_reply_on_the_ring() {
    print_table(Driver::Ring);
}

/// Catches: a cancel that is not heard while a request waits for epoll; a pool thread's answer that is dropped.
#[test]
fn an_op_is_released_once_by_its_last_reply_on_the_fallback() {
    print_table(Driver::Fallback);
}

/// Catches: what the ring's test does, without luck: here the answers come as late as they can.
#[test]
fn an_op_is_released_once_by_its_last_reply_in_the_simulated_world() {
    print_table(Driver::Simulated);
}

fn print_table(driver: Driver) {
    // Looking for a ring opens one, too.
    let _alone = process::alone();
    if !is_here(driver, "the matrix of orphans") {
        return;
    }
    let mut reasons = BTreeMap::new();
    let mut table = String::new();
    for row in Row::ALL {
        table += &format!("{:18}", format!("{row:?}"));
        for state in State::ALL {
            let cell = format!("{row:?}, {state:?}, {driver:?}");
            let what = cell.clone();
            let ran = bounded::within(CELL_MAX, &cell, move || {
                println!("{what}");
                cells::run(row, state, driver)
            });
            table += &format!("{:16}", if ran.is_ok() { "ran" } else { "-" });
            if let Err(reason) = ran {
                reasons.entry(reason).or_insert_with(Vec::new).push(format!("{row:?}/{state:?}"));
            }
        }
        table += "\n";
    }
    let head: String = State::ALL.iter().map(|state| format!("{:16}", format!("{state:?}"))).collect();
    println!("\n{:18}{head}\n{table}", format!("{driver:?}"));
    for (reason, cells) in reasons {
        println!("  no {}: {reason}", cells.join(", "));
    }
}

/// Catches: an op that is added without a row here.
#[test]
fn every_op_of_the_runtime_has_a_row() {
    // It opens the sources, and the others count descriptors.
    let _alone = process::alone();
    let rows: Vec<&str> = Row::ALL.into_iter().filter_map(Row::op).collect();
    let missing: Vec<String> = sources::ops().into_iter().filter(|op| !rows.contains(&op.as_str())).collect();
    assert_eq!(missing, [""; 0], "set a scene for each of them in scenes.rs");
    for (index, row) in Row::ALL.into_iter().enumerate() {
        assert_eq!(row as usize, index, "{row:?} stands twice, or another row is left out");
    }
}

//! Every op, with the same inputs, good and bad, on all three drivers: the results are the same, up to what the man
//! page leaves open, which each op's row states as a relation.
//!
//! A scenario is a program of ops that tells what each of them returned. It runs on the ring, on the fallback and in
//! simulated worlds of several seeds, and the stories must be equal line by line. Run with `--nocapture` to see the
//! table.
//!
//! | to … | look in |
//! | --- | --- |
//! | **add an op** | the file of its family here: a function that asks for it, and a `row!` with its name |
//! | see how drivers are compared | `table.rs` |
//! | find descriptors and connections of every kind | `scene.rs` |

mod addressed;
#[path = "../common/child.rs"]
mod child;
mod connect;
mod datagrams;
#[path = "../common/descriptors.rs"]
mod descriptors;
mod exhausted;
mod file;
mod names;
mod path;
mod pipes;
mod plain;
mod ready;
mod scene;
mod shown;
mod sources;
mod stream;
mod table;
mod unix;
mod unix_datagrams;

use std::collections::BTreeSet;

use runtime::Feature;
use runtime::testing::skipped;
use table::{Row, Variant, Without, compare};

fn rows() -> Vec<Row> {
    let families =
        [plain::rows(), file::rows(), path::rows(), ready::rows(), names::rows(), connect::rows(), stream::rows()];
    families.into_iter().flatten().collect()
}

/// So many worlds each scenario plays in: what a kernel may do in this order or that, the drivers agree on all the
/// same.
const SEEDS: u64 = 3;

/// Catches, each tried: a file opened without close-on-exec (`Open`); a position that a ring is given as the cursor
/// (`Read`, `Write`, `Open`); a sync that a ring answers without doing it (`Fsync`); connections of a ring's multishot
/// accept that leak into other programs (`AcceptMany`); in the fallback, «not yet» taken for a count of 0 (`Recv`,
/// `Accept`, `Connect`), MSG_DONTWAIT that waits and MSG_WAITALL that is content with less (`Recv`), readiness that
/// tells what was asked for instead of what came (`Poll`, `PollMany`); in the simulated kernel, a reset where the end
/// should be (`Recv`, `Close`), another error for an offset out of range (`Read`, `Write`, `try_read`), an append at
/// the place it was told (`Write`), a length refused (`Truncate`), an address given out twice (`bind`), a close that
/// the far side never hears of (all that has two sides).
#[test]
fn every_op_gives_the_same_results_on_all_drivers() {
    let mut drivers = Vec::new();
    match Variant::Ring(Without::Nothing).build() {
        Ok(_runtime) => drivers.push(Variant::Ring(Without::Nothing)),
        Err(why) => skipped(format_args!("the ring, so the fallback is what others are compared with: {why}")),
    }
    drivers.push(Variant::Fallback);
    drivers.extend((0..SEEDS).map(|seed| Variant::Simulated { seed }));
    let report = compare(&rows(), &drivers);
    println!("{report}");
    assert!(report.differences.is_empty(), "{}", report.differences.join("\n"));
}

/// Optional features of newer kernels change how fast a ring is, never what it answers.
#[test]
fn a_ring_without_any_newer_feature_gives_the_same_results() {
    let full = Variant::Ring(Without::Nothing);
    if let Err(why) = full.build() {
        skipped(format_args!("no ring here, so nothing can be hidden from it: {why}"));
        return;
    }
    let hidden = Feature::ALL.into_iter().map(Without::One).chain([Without::All]).map(Variant::Ring);
    let drivers: Vec<Variant> = std::iter::once(full).chain(hidden).collect();
    let report = compare(&rows(), &drivers);
    println!("{report}");
    assert!(report.differences.is_empty(), "{}", report.differences.join("\n"));
}

/// Catches: an op that somebody adds without asking whether the drivers agree on it.
#[test]
fn every_op_has_a_row() {
    let there: BTreeSet<String> = sources::ops();
    let rows = rows();
    let told: BTreeSet<String> = rows.iter().map(|row| row.op.to_owned()).collect();
    assert_eq!(told.len(), rows.len(), "an op has two rows: put their scenarios into one");
    for op in &there {
        assert!(
            told.contains(op),
            "{op} is in no row: ask for it in the file of its family in runtime/tests/drivers_agree/, good and bad, and \
             add `row!(\"{op}\": …)` to that file's rows()"
        );
    }
    for op in &told {
        assert!(there.contains(op), "the row {op} is about an op that the runtime does not have: take it out");
    }
    assert!(rows.iter().all(|row| !row.scenarios.is_empty()), "a row without a scenario shows nothing");
}

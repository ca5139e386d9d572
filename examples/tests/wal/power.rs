//! The log in a simulated world whose power goes at any step: while records are written, synced, read back, cut off.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use gimmal_examples::wal::Log;
use runtime::simulated::{Fault, Faults, World, world};
use runtime::time::sleep;

use crate::model::{Model, Record};

const PATH: &str = "/tmp/journal";

/// What the lives of one world came to.
#[derive(Debug, Default)]
struct Tally {
    /// Openings that failed: the power went in the middle of recovery, or the disk was full or broken.
    failed_openings: u64,
    /// Logs that failed by themselves, and were opened anew on the same machine.
    failed_logs: u64,
    /// Power cuts that left something torn behind the last record.
    torn: u64,
    /// Records that survived although nobody had acknowledged them.
    unacknowledged: u64,
}

/// One seed's world: so many power cuts, each at a step of its own, and after each the log is opened and checked. The
/// disk is full or broken now and then.
///
/// 1,000 seeds of 10 cuts are 10,000. Catches, each seen to fail: an acknowledgement before the sync, or before it
/// returns; no sum, or one that is not looked at; a directory that is not synced; a torn tail that is not cut off, or
/// cut off and not synced; a failed sync that is asked again; a last group that is not written again.
#[runtime::test(driver = simulated, seeds = 1000)]
async fn no_acknowledged_record_is_lost_over_10_000_power_cuts() {
    let mut model = Model::default();
    lives(&mut model, 10).await;
    assert!(model.acknowledged_in_all() > 0, "nothing was ever acknowledged");
}

/// Catches: a world so kind that the promise above costs nothing.
#[test]
fn power_cuts_tear_records_and_fail_logs_and_openings() {
    let mut sum = Tally::default();
    let mut acknowledged = 0;
    for seed in 0..80 {
        let runtime = runtime::Builder::new().simulated(seed, Faults::none()).build().expect("a world needs nothing");
        let mut model = Model::default();
        let tally = runtime.block_on(lives(&mut model, 10));
        acknowledged += model.acknowledged_in_all();
        sum.failed_openings += tally.failed_openings;
        sum.failed_logs += tally.failed_logs;
        sum.torn += tally.torn;
        sum.unacknowledged += tally.unacknowledged;
    }
    println!("800 power cuts: {acknowledged} records acknowledged, {sum:?}");
    assert!(acknowledged > 1_500, "{acknowledged}");
    assert!(sum.failed_openings > 200 && sum.failed_logs > 40, "{sum:?}");
    assert!(sum.torn > 30 && sum.unacknowledged > 80, "{sum:?}");
}

/// The second of three records is torn, and whatever opening that does, the disk or the power fails under it once.
/// Catches: a cut that is made in memory, fails to reach the disk, and is not made again.
#[test]
fn wherever_an_opening_fails_the_next_one_repairs_the_log() {
    for fault in [Fault::IoError, Fault::NoSpace, Fault::PowerCut] {
        for seed in 0..30 {
            for step in 1..40 {
                let runtime = runtime::Builder::new().simulated(seed, Faults::none()).build();
                runtime.expect("a world needs nothing").block_on(async {
                    let found = fail_while_opening(fault, step).await.expect("nothing else fails");
                    let expected = [vec![b'a'; 496], vec![b'd'; 496]];
                    assert!(found == expected, "{fault:?} at step {step}, seed {seed}: {} records", found.len());
                });
            }
        }
    }
}

async fn fail_while_opening(fault: Fault, step: u64) -> io::Result<Vec<Vec<u8>>> {
    let world = world();
    let log = Log::open(PATH, |_, _| {}).await?;
    for letter in [b'a', b'b', b'c'] {
        log.append(&[letter; 496]).await?;
    }
    let file = fs::OpenOptions::new().write(true).open(PATH).await?;
    file.write_all_at(b"torn", 16 + 512 + 100).await?;
    file.sync_all().await?;

    world.set_faults(Faults::none().at_step(world.steps() + step, fault));
    let _failed_or_not = Log::open(PATH, |_, _| {}).await;
    world.set_faults(Faults::none());
    let mut found = 0;
    let log = Log::open(PATH, |_, _| found += 1).await?;
    assert_eq!((found, log.append(&[b'd'; 496]).await?), (1, 2));
    world.power_cut();
    let mut records = Vec::new();
    Log::open(PATH, |_, bytes| records.push(bytes.to_vec())).await?;
    Ok(records)
}

async fn lives(model: &mut Model, cuts: u64) -> Tally {
    let world = world();
    let mut tally = Tally::default();
    while world.power_cuts() < cuts {
        // One time in four the disk breaks often, and one in four the power goes, while the log is opened.
        let disturbed = faults(if one_in_four(&world) { 0.05 } else { 0.002 });
        world.set_faults(if one_in_four(&world) { with_power_cut(disturbed, &world) } else { disturbed });
        let Some(log) = open_and_check(&world, model, &mut tally).await else {
            tally.failed_openings += 1;
            continue;
        };
        let before = world.power_cuts();
        world.set_faults(with_power_cut(faults(0.005), &world));
        write_until_it_fails(&world, log, model).await;
        tally.failed_logs += u64::from(world.power_cuts() == before);
    }
    world.set_faults(Faults::none());
    open_and_check(&world, model, &mut tally).await.expect("nothing goes wrong any more");
    tally
}

fn one_in_four(world: &World) -> bool {
    world.random_u64().is_multiple_of(4)
}

/// What the kernel may do on the best of days, and a disk that is full or broken so often.
fn faults(broken: f64) -> Faults {
    Faults::ordinary().with(Fault::IoError, broken).with(Fault::NoSpace, broken)
}

fn with_power_cut(faults: Faults, world: &World) -> Faults {
    // Often soon, so that one group's ruins are not yet all written over when the next comes.
    let steps_max = if one_in_four(world) { 60 } else { 12 };
    faults.at_step(world.steps() + 1 + world.random_u64() % steps_max, Fault::PowerCut)
}

async fn open_and_check(world: &World, model: &mut Model, tally: &mut Tally) -> Option<Log> {
    let len = || world.files().first().map_or(0, |file| file.contents.len());
    let len_before = len();
    let mut found = Vec::new();
    let log = Log::open(PATH, |_, bytes| found.push(Record(bytes.to_vec()))).await.ok()?;
    tally.torn += u64::from(len_before > len());
    tally.unacknowledged += u64::try_from(model.check(found)).expect("few");
    Some(log)
}

/// A few tasks append, each what the world draws, until the log or the power fails.
async fn write_until_it_fails(world: &World, log: Log, model: &mut Model) {
    let told = Rc::new(RefCell::new(std::mem::take(model)));
    let writers: Vec<_> = (0..1 + world.random_u64() % 8)
        .map(|_| {
            let (world, log, told) = (world.clone(), log.clone(), told.clone());
            runtime::spawn(async move {
                loop {
                    let bytes = record(&world);
                    told.borrow_mut().append(bytes.clone());
                    match log.append(&bytes).await {
                        Ok(number) => told.borrow_mut().acknowledge(number),
                        Err(_) => return,
                    }
                    sleep(Duration::from_micros(world.random_u64() % 300)).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }
    *model = told.take();
}

/// Few lengths, so that what is written over a torn tail often ends where an old record begins.
fn record(world: &World) -> Vec<u8> {
    let len = [0, 240, 496, 496][usize::try_from(world.random_u64() % 4).expect("small")];
    let mut bytes = world.random_u64().to_string().into_bytes();
    bytes.resize(len, b'.');
    bytes
}

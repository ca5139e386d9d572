//! The built program is killed, with SIGKILL, while it appends: what it had said is durable is there when it is started
//! again.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use runtime::testing::{Driver, is_here};

use crate::model::{Model, Record};
use crate::random::Random;

const PROGRAM: &str = env!("CARGO_BIN_EXE_log");

/// Then it begins anew, so that its creation is interrupted too, and reading it takes no time.
const LIVES_OF_A_JOURNAL: u64 = 10;

/// Catches: an acknowledgement before the write.
#[test]
fn no_acknowledged_record_is_lost_when_the_program_is_killed_200_times_on_the_ring() {
    if is_here(Driver::Ring, "the log that is killed") {
        kill_and_check("ring", 200);
    }
}

#[test]
fn no_acknowledged_record_is_lost_when_the_program_is_killed_on_the_fallback() {
    kill_and_check("fallback", 40);
}

fn kill_and_check(driver: &'static str, kills: u64) {
    let seed = std::env::var("GIMMAL_SEED").ok().map_or(1, |seed| seed.parse().expect("GIMMAL_SEED is a number"));
    println!("the moments are drawn from GIMMAL_SEED={seed}");
    let (journal, mut random) = (Journal::new(driver), Random(seed));
    let mut model = Model::default();
    let (mut acknowledged, mut unacknowledged, mut early) = (0, 0, 0);
    for life in 0..kills {
        if life % LIVES_OF_A_JOURNAL == 0 {
            acknowledged += std::mem::take(&mut model).acknowledged_in_all();
            journal.remove();
        }
        let said = live_and_die(driver, journal.path(), life, &mut random, &mut model);
        early += u64::from(said == 0);
        unacknowledged += model.check(print(driver, journal.path()));
    }
    acknowledged += model.acknowledged_in_all();
    println!(
        "{kills} kills on the {driver}: {acknowledged} acknowledged and kept, {unacknowledged} more kept, {early} before the \
         first word"
    );
    assert!(acknowledged > kills * 10, "{acknowledged} acknowledged");
    assert!(early > 0 && early < kills / 2, "{early} of {kills} were killed before they said anything");
}

/// Starts the program, kills it when it has said as much as is drawn, and a moment later. Returns how much it said.
fn live_and_die(driver: &str, journal: &Path, life: u64, random: &mut Random, model: &mut Model) -> u64 {
    let mut program = start(driver, journal);
    let mut input = program.stdin.take().expect("it is piped");
    let output = read_numbers(&mut program);
    let lines: Vec<String> = (0..200)
        .map(|index| format!("{life}.{index} {}", "x".repeat([0, 30, 700, 5_000][random.len_below(4)])))
        .collect();
    let text = lines.join("\n") + "\n";
    lines.into_iter().for_each(|line| model.append(line.into_bytes()));
    // Whoever is killed reads no more, so this one ends by itself.
    let writer = std::thread::spawn(move || drop(input.write_all(text.as_bytes()).map(|()| input)));

    // Every fourth dies as it starts.
    let words = if random.below(4) == 0 { 0 } else { random.len_below(200) };
    let moment = Duration::from_micros(random.below(3_000));
    let mut numbers: Vec<u64> = output.iter().take(words).collect();
    let heard = Instant::now();
    while heard.elapsed() < moment {
        std::hint::spin_loop();
    }
    program.kill().expect("it is our child");
    program.wait().expect("it is our child");
    writer.join().expect("no panic");
    // What it said before it died counts, also if nobody had listened yet.
    numbers.extend(output.iter());
    numbers.iter().for_each(|&number| model.acknowledge(number));
    numbers.len() as u64
}

fn start(driver: &str, journal: &Path) -> Child {
    let mut program = Command::new(PROGRAM);
    program.arg(journal).env("GIMMAL_DRIVER", driver).stdin(Stdio::piped()).stdout(Stdio::piped());
    program.spawn().expect("it was built with this test")
}

/// The numbers that it prints, until it dies. A number without the end of its line was not said.
fn read_numbers(program: &mut Child) -> Receiver<u64> {
    let mut output = BufReader::new(program.stdout.take().expect("it is piped"));
    let (said, numbers) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
            let number = line.trim_end().parse().expect("a number a line");
            if said.send(number).is_err() {
                return;
            }
            line.clear();
        }
    });
    numbers
}

/// What the program finds when it is started again.
fn print(driver: &str, journal: &Path) -> Vec<Record> {
    let mut program = Command::new(PROGRAM);
    program.arg("--print").arg(journal).env("GIMMAL_DRIVER", driver).stdout(Stdio::piped()).stdin(Stdio::null());
    let mut program = program.spawn().expect("it was built with this test");
    let mut printed = Vec::new();
    program.stdout.take().expect("it is piped").read_to_end(&mut printed).expect("a pipe can be read");
    assert!(program.wait().expect("it is our child").success(), "it cannot open its journal any more");
    let records = printed.split_inclusive(|&byte| byte == b'\n').zip(1..);
    let record = |(line, number): (&[u8], u64)| {
        let line = line.strip_suffix(b"\n").expect("each line has an end");
        let record = line.strip_prefix(format!("{number}\t").as_bytes()).expect("each has its number");
        Record(record.to_vec())
    };
    records.map(record).collect()
}

/// The file goes with this.
struct Journal(PathBuf);

impl Journal {
    fn new(name: &str) -> Journal {
        let path = std::env::temp_dir().join(format!("gimmal-log-{name}-{}", std::process::id()));
        let journal = Journal(path);
        journal.remove();
        journal
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn remove(&self) {
        let _not_there_yet = std::fs::remove_file(&self.0);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.remove();
    }
}

//! Measures Gimmal against the same loops written by hand, and against tokio.
//!
//! ```sh
//! cargo run --release -p gimmal-benches                          # all rows, 7 rounds: two minutes
//! cargo run --release -p gimmal-benches -- echo nop --rounds 15  # rows whose name contains one of the words
//! cargo run --release -p gimmal-benches -- instructions          # user instructions an op, by callgrind
//! ```
//!
//! **How it is measured.** In each round every contender runs once, one after the other; what is printed is the median
//! of the rounds, and the median of the ratios within a round. So other work on the machine and the moods of its clock
//! hit all alike. Ratios carry over to other machines, nanoseconds do not. Most rows count CPU time of the thread that
//! does the work, the kernel's part included: on a busy machine that means something, time on the wall does not.
//!
//! **What for.** Each row has its targets, and says whether they are met. Nothing here fails because of one: a machine
//! that is busy proves nothing. Run it alone.
//!
//! | to … | look in |
//! | --- | --- |
//! | add a row, change a target | `rows/` |
//! | see the floors, the loops written by hand | `hand/` |
//! | see how rounds and ratios are made | `harness.rs` |
//! | see who asks the echo servers | `load.rs` |
//! | count instructions | `instructions.rs` |

#![deny(unsafe_code)]

use std::env;
use std::io;
use std::process::ExitCode;

use crate::harness::{Effort, Verdict};

mod hand;
mod harness;
mod instructions;
mod load;
mod machine;
mod rows;

const USAGE: &str = "usage: gimmal-benches [instructions] [word of a row's name]… [--rounds N] [--tiny] [--list]";

/// `--tiny` does so much less: to see that everything works.
const TINY: u64 = 1000;

struct Arguments {
    words: Vec<String>,
    effort: Effort,
    lists: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, rest)) if first == instructions::COMMAND => {
            parse(rest).and_then(|rest| instructions::count(&rest.words, rest.effort))
        }
        Some((first, rest)) if first == instructions::SUBJECT => instructions::be_counted(rest),
        _ => parse(&arguments).and_then(|arguments| measure(&arguments)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gimmal-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> io::Result<Arguments> {
    let mut parsed = Arguments { words: Vec::new(), effort: Effort { rounds: 7, divisor: 1 }, lists: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => {
                let rounds = arguments.next().and_then(|rounds| rounds.parse().ok()).filter(|&rounds| rounds > 0);
                parsed.effort.rounds = rounds.ok_or_else(|| io::Error::other(USAGE))?;
            }
            "--tiny" => parsed.effort.divisor = TINY,
            "--list" => parsed.lists = true,
            option if option.starts_with('-') => return Err(io::Error::other(USAGE)),
            word => parsed.words.push(word.to_owned()),
        }
    }
    Ok(parsed)
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    let mut rows = rows::all()?;
    let is_asked = |name: &str| arguments.words.is_empty() || arguments.words.iter().any(|word| name.contains(word));
    rows.retain(|row| is_asked(row.name));
    if arguments.lists {
        rows.iter().for_each(|row| println!("{}", row.name));
        return Ok(());
    }
    println!("{}", runtime::probe());
    let mut all = Verdict::default();
    for row in &rows {
        let verdict = row.measure(arguments.effort)?;
        all.met += verdict.met;
        all.missed.extend(verdict.missed);
    }
    println!("\n{} targets met, {} missed", all.met, all.missed.len());
    all.missed.iter().for_each(|missed| println!("    missed  {missed}"));
    Ok(())
}

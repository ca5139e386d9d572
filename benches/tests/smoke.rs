//! The measurements run: each row, each contender, each count of instructions, a little of it. Nothing here is timed.

use std::process::{Command, Output};

use runtime::testing::{Driver, is_here};

fn benches(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_gimmal-benches")).args(arguments).output().expect("it is built, so it starts");
    let (told, said) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{arguments:?}: {status}\n{told}\n{said}");
    told.into_owned()
}

/// The number before ` ns` at the end of a contender's line.
fn nanoseconds(line: &str) -> Option<f64> {
    line.split(" ns").next()?.split_whitespace().last()?.parse().ok()
}

#[test]
fn every_row_measures_all_its_contenders_and_judges_its_targets() {
    if !is_here(Driver::Ring, "loops on rings written by hand") {
        return;
    }
    let rows = benches(&["--list"]);
    let told = benches(&["--tiny", "--rounds", "1"]);
    assert_eq!(rows.lines().count(), 10, "{rows}");
    for row in rows.lines() {
        let (_, of_row) = told.split_once(&format!("\n{row}  (")).unwrap_or_else(|| panic!("no row {row} in\n{told}"));
        let lines: Vec<&str> = of_row.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        let (targets, contenders): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.contains("    target  "));
        assert!(contenders.len() >= 2, "{row} compares nothing:\n{told}");
        for contender in contenders {
            assert!(nanoseconds(contender).is_some_and(|taken| taken > 0.0), "{row}: {contender}");
        }
        for target in targets {
            assert!(target.ends_with(": met") || target.ends_with(": MISSED"), "{row}: {target}");
        }
    }
    let judged = told.lines().filter(|line| line.contains("    target  ")).count();
    let counts = told.lines().find(|line| line.contains(" targets met, ")).expect("a line that counts");
    let counted: usize = counts.split_whitespace().filter_map(|word| word.parse::<usize>().ok()).sum();
    assert_eq!(counted, judged, "{told}");
}

/// Catches: a file of pages that only the last row keeps.
#[test]
fn a_row_runs_without_the_others() {
    if !is_here(Driver::Ring, "one loop on a ring written by hand") {
        return;
    }
    let told = benches(&["cached read of 4 KiB, 64", "--tiny", "--rounds", "1"]);
    assert!(told.contains("pread") && !told.contains("TCP echo"), "{told}");
}

#[test]
fn words_choose_rows() {
    let rows = benches(&["--list", "nop", "yield"]);
    assert!(
        rows.lines().count() == 3 && rows.lines().all(|row| row.contains("nop") || row.contains("yield")),
        "{rows}"
    );
}

#[test]
fn instructions_are_counted_or_it_is_said_why_not() {
    if !is_here(Driver::Ring, "counting a ring's instructions") {
        return;
    }
    let told = benches(&["instructions", "--tiny"]);
    if told.starts_with("skipped: ") {
        println!("{told}");
        return;
    }
    let counted: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(counted.len(), 9, "{told}");
    for line in counted {
        let (before, after) = line.split_once("budget").unwrap_or_else(|| panic!("no budget in {line}"));
        let count = before.split_whitespace().last().and_then(|count| count.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count > 0), "{line}");
        assert!(after.ends_with("met") || after.ends_with("MISSED"), "{line}");
    }
}

//! Words that nobody should meet in a finished source.

use crate::source::{Finding, Source};

/// Code that stands for code.
pub fn no_unfinished_code(sources: &[Source]) -> Vec<Finding> {
    let words = ["todo!", "unimplemented!", "dbg!", "allow(dead_code)", "expect(dead_code)"];
    find(sources, &words, |source| &source.code, "finish it, or take it out")
}

/// Notes about what is missing belong in the tracker, where somebody looks for them.
pub fn no_unfinished_notes(sources: &[Source]) -> Vec<Finding> {
    let words = ["TODO", "FIXME", "XXX", "HACK"];
    find(sources, &words, |source| &source.comments, "do it, or write it where work is planned")
}

/// The commit that brings the better way removes the old one, so nothing needs a number to be told from it.
pub fn no_names_of_a_second_try(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (position, name) in source.names() {
            if name.ends_with("_2") || name.to_lowercase().contains("legacy") {
                let message = format!("`{name}` tells of two ways to do one thing: keep one, under the plain name");
                findings.push(source.finding(position, message));
            }
        }
    }
    findings
}

/// `as _` converts to whatever fits, also when what fits changes.
pub fn no_casts_to_a_guess(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for position in Source::positions(&source.code, "as _") {
            if !is_import(&source.code[..position]) {
                findings
                    .push(source.finding(position, "`as _` hides a conversion: name the type, or use From or TryFrom"));
            }
        }
    }
    findings
}

/// Whether the statement that `before` ends in is a `use`, where `as _` brings in a trait without a name for it.
fn is_import(before: &str) -> bool {
    let statement = &before[before.rfind(';').map_or(0, |at| at + 1)..];
    statement.lines().any(|line| line.trim_start().starts_with("use ") || line.contains(" use "))
}

fn find(sources: &[Source], words: &[&str], view: fn(&Source) -> &str, what_to_do: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for word in words {
            for position in Source::positions(view(source), word) {
                findings.push(source.finding(position, format!("`{word}`: {what_to_do}")));
            }
        }
    }
    findings
}

#[cfg(test)]
fn lines(rule: crate::Rule, text: &str) -> Vec<usize> {
    rule(&[Source::new("a.rs", text.to_owned())]).iter().map(|finding| finding.line).collect()
}

#[test]
fn unfinished_code_is_found() {
    let text = "fn f() { todo!() }\nfn g() { unimplemented!(\"g\"); }\n#[allow(dead_code)]\nfn h() { dbg!(1); }";
    let mut found = lines(no_unfinished_code, text);
    found.sort();
    assert_eq!(found, [1, 2, 3, 4]);
    assert_eq!(lines(no_unfinished_code, "let name = \"todo!\"; // no todo!\nmy_dbg!(1);"), []);
}

#[test]
fn unfinished_notes_are_found() {
    assert_eq!(lines(no_unfinished_notes, "// TODO: all\n/// FIXME\nfn f() {} /* XXX */"), [1, 2, 3]);
    assert_eq!(lines(no_unfinished_notes, "const TODO: u8 = 1; // XXXII"), []);
}

#[test]
fn names_of_a_second_try_are_found() {
    assert_eq!(
        lines(no_names_of_a_second_try, "fn read_2() {}\nfn x() { legacy_read() }\nstruct LegacyRing;"),
        [1, 2, 3]
    );
    assert_eq!(lines(no_names_of_a_second_try, "let x_256 = f_22(); // legacy"), []);
}

#[test]
fn casts_to_a_guess_are_found() {
    assert_eq!(lines(no_casts_to_a_guess, "use std::io::Write as _;\nf(len as _);\nlet x = y as _\n;"), [2, 3]);
    let imports = "pub use a::B as _;\nuse std::{\n    fmt::Write as _,\n    io::Read as _,\n};\nlet n = m as _x;";
    assert_eq!(lines(no_casts_to_a_guess, imports), []);
}

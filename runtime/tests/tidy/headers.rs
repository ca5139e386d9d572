//! A reader who opens a file learns first what it is for.

use crate::source::{Finding, Source};

/// Each Rust file begins with its documentation.
pub fn files_begin_with_their_purpose(sources: &[Source]) -> Vec<Finding> {
    let rust = sources.iter().filter(|source| source.is_rust());
    rust.filter(|source| !says_something(&source.text))
        .map(|source| source.finding(0, "the first line is not `//! …`: say there what the file is for"))
        .collect()
}

fn says_something(text: &str) -> bool {
    text.strip_prefix("//! ").and_then(|rest| rest.lines().next()).is_some_and(|line| !line.trim().is_empty())
}

#[test]
fn a_file_without_a_header_is_found() {
    let found = |text: &str| files_begin_with_their_purpose(&[Source::new("a.rs", text.to_owned())]).len();
    assert_eq!(found("//! The life of an op.\n"), 0);
    for text in ["", "use std::io;\n//! Late.", "//!\n//! Second line.", "//! \n", "// Not documentation.\n"] {
        assert_eq!(found(text), 1, "{text:?}");
    }
}

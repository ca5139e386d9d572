//! rustfmt leaves comments as wide as they were typed.

use crate::source::{Finding, Source};

/// Columns of a line of a comment. rustfmt has the same bound for code.
const COLUMNS_MAX: usize = 120;

/// Sentences of comments are broken where code is. Drawings, examples and tables are as wide as they must be, and so is
/// what points at a column of the line above it.
pub fn comments_are_as_narrow_as_code(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let mut is_fenced = false;
        let mut begins = 0;
        for line in source.text.split_inclusive('\n') {
            let words = words(line);
            is_fenced = words.is_some_and(|words| is_fenced ^ words.trim_start().starts_with("```"));
            let is_sentence = words.is_some_and(|words| !words.starts_with(['|', ' ']));
            if is_sentence && !is_fenced && line.trim_end().chars().count() > COLUMNS_MAX {
                findings.push(source.finding(begins, "a comment of more than 120 columns: break the line"));
            }
            begins += line.len();
        }
    }
    findings
}

/// What a line that is nothing but a comment says.
fn words(line: &str) -> Option<&str> {
    let comment = line.trim().strip_prefix("//")?.trim_start_matches(['/', '!']);
    Some(comment.strip_prefix(' ').unwrap_or(comment))
}

#[test]
fn a_wide_comment_is_found_unless_it_is_drawn() {
    let wide = "w".repeat(COLUMNS_MAX);
    let found = |text: String| comments_are_as_narrow_as_code(&[Source::new("a.rs", text)]).len();
    assert_eq!(found(format!("/// {wide}\n    // {wide}\n//! {wide}")), 3);
    assert_eq!(found(format!("//! ```text\n//! {wide}\n//! ```\n//! {wide}")), 1);
    assert_eq!(found(format!("/// | {wide} |\n//    ^ {wide}\nlet {wide} = 1;")), 0);
    assert_eq!(found(format!("// {}", "w".repeat(COLUMNS_MAX - 3))), 0);
}

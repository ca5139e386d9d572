//! Long files and functions hide what they are about.

use crate::source::{Finding, Source, name_at};

const FILE_LINES_MAX: usize = 600;

const FUNCTION_LINES_MAX: usize = 70;

/// A function that is longer for a good reason: its file, its name, and how many lines it has now. The number may only
/// go down, and at `FUNCTION_LINES_MAX` the entry goes.
type LongFunction = (&'static str, &'static str, usize);

const LONG_FUNCTIONS: &[LongFunction] = &[];

/// No Rust file has more than `FILE_LINES_MAX` lines.
pub fn files_are_short(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            let message =
                format!("{lines} lines, {FILE_LINES_MAX} are enough: find the second idea, and give it a file");
            findings.push(Finding { path: source.path.clone(), line: FILE_LINES_MAX + 1, message });
        }
    }
    findings
}

/// No function has more than `FUNCTION_LINES_MAX` lines.
pub fn functions_are_short(sources: &[Source]) -> Vec<Finding> {
    check(sources, LONG_FUNCTIONS)
}

fn check(sources: &[Source], allowed: &[LongFunction]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; allowed.len()];
    for source in sources {
        for function in functions(source) {
            let is_it = |(path, name, _): &LongFunction| *path == source.path && *name == function.name;
            let exception = allowed.iter().position(is_it);
            let lines_max = exception.map_or(FUNCTION_LINES_MAX, |index| allowed[index].2);
            if let Some(index) = exception {
                used[index] |= function.lines == lines_max && lines_max > FUNCTION_LINES_MAX;
            }
            if function.lines > lines_max {
                let message = format!(
                    "fn {} has {} lines, {lines_max} are enough: give a part of it a name of its own",
                    function.name, function.lines
                );
                findings.push(source.finding(function.position, message));
            }
        }
    }
    for ((path, name, lines), _) in allowed.iter().zip(used).filter(|(_, used)| !used) {
        let message = format!("fn {name} in {path} is no longer {lines} lines long: lower the number, or take it off");
        findings.push(Finding::of_an_exception("sizes.rs", message));
    }
    findings
}

struct Function<'a> {
    name: &'a str,
    /// Where its `fn` stands.
    position: usize,
    /// From `fn` to the closing brace.
    lines: usize,
}

/// The functions with a body, those in other functions too.
fn functions(source: &Source) -> Vec<Function<'_>> {
    let mut functions = Vec::new();
    for position in Source::positions(&source.code, "fn") {
        let after = &source.code[position + 2..];
        let name = name_at(after, after.len() - after.trim_start().len());
        // The type of a function pointer has no name.
        if !name.is_empty()
            && let Some(body) = body(after)
        {
            let lines = 1 + after[..body.end].matches('\n').count();
            functions.push(Function { name, position, lines });
        }
    }
    functions
}

/// From the first opening brace outside of parentheses and brackets to the one that closes it.
fn body(code: &str) -> Option<std::ops::Range<usize>> {
    let (mut nesting, mut start) = (0_usize, None);
    for (at, character) in code.char_indices() {
        match character {
            '{' if nesting == 0 && start.is_none() => (start, nesting) = (Some(at), 1),
            '{' | '(' | '[' => nesting += 1,
            '}' | ')' | ']' => nesting = nesting.checked_sub(1)?,
            // A trait's function without a body. Semicolons in `[u8; 4]` are nested.
            ';' if nesting == 0 => return None,
            _ => {}
        }
        if let Some(start) = start.filter(|_| nesting == 0) {
            return Some(start..at + 1);
        }
    }
    None
}

#[test]
fn a_long_file_is_found() {
    let found = |lines: usize| files_are_short(&[Source::new("a.rs", "\n".repeat(lines))]).len();
    assert_eq!(found(FILE_LINES_MAX), 0);
    assert_eq!(found(FILE_LINES_MAX + 1), 1);
}

#[test]
fn functions_are_measured_from_their_name_to_their_last_brace() {
    let text = "trait T {\n    fn none(&self, four: [u8; 4]);\n    fn two(f: fn(u8) -> u8) {\n    }\n}\n\
                fn four<F>(_: F)\nwhere F: Fn() -> [u8; 2] {\n    { \"}\" };\n}\n";
    let source = Source::new("a.rs", text.to_owned());
    let measured: Vec<_> = functions(&source).iter().map(|function| (function.name, function.lines)).collect();
    assert_eq!(measured, [("two", 2), ("four", 4)]);
}

#[test]
fn a_long_function_is_found_and_its_exception_only_shrinks() {
    let function = |lines: usize| [Source::new("a.rs", format!("fn f() {{{}}}", "\n".repeat(lines - 1)))];
    assert_eq!(check(&function(FUNCTION_LINES_MAX), &[]).len(), 0);
    assert_eq!(check(&function(FUNCTION_LINES_MAX + 1), &[]).len(), 1);
    assert_eq!(check(&function(80), &[("a.rs", "f", 80)]).len(), 0);
    assert_eq!(check(&function(81), &[("a.rs", "f", 80)]).len(), 2);
    assert_eq!(check(&function(79), &[("a.rs", "f", 80)]).len(), 1);
    assert_eq!(check(&function(70), &[("a.rs", "f", 70)]).len(), 1);
}

//! Programs that must not compile, and what the compiler must say of them.
//!
//! They are built by a cargo of their own. In them, a comment line that starts with `^` tells the error that the
//! compiler must show for the line above it: how it begins, and by the place of the `^`, its column. Errors that are
//! missing, elsewhere, worded otherwise or not told there all fail the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An error's line, column and words.
type Told = (usize, usize, String);

/// Checks `tests/wrong_uses/<name>.rs` of the package under test, which may use that package and nothing else.
pub fn check(name: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong_uses").join(format!("{name}.rs"));
    let program = fs::read_to_string(source).expect("the wrong uses are in the checkout");
    let expected = expected_errors(&program);
    assert!(!expected.is_empty(), "{name}.rs tells no errors");

    let (shown, output) = errors_shown(name, &program);
    let is = |(line, column, begins): &Told, shown: &Told| {
        (*line, *column) == (shown.0, shown.1) && shown.2.starts_with(begins)
    };
    let missing: Vec<_> = expected.iter().filter(|told| !shown.iter().any(|shown| is(told, shown))).collect();
    let surplus: Vec<_> = shown.iter().filter(|shown| !expected.iter().any(|told| is(told, shown))).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "in {name}.rs\nmissing: {missing:#?}\nsurplus: {surplus:#?}\nthe compiler said:\n{output}"
    );
}

fn expected_errors(program: &str) -> BTreeSet<Told> {
    let mut errors = BTreeSet::new();
    let mut code_line = 0;
    for (index, line) in program.lines().enumerate() {
        match line.trim_start_matches(['/', ' ']).strip_prefix('^') {
            Some(message) if line.trim_start().starts_with("//") => {
                let column = line.find('^').expect("just seen") + 1;
                errors.insert((code_line, column, message.trim().to_owned()));
            }
            _ => code_line = index + 1,
        }
    }
    errors
}

/// Builds `program` against this package and collects what the compiler calls errors, beside all it said.
fn errors_shown(name: &str, program: &str) -> (BTreeSet<Told>, String) {
    let output = cargo_check(&package(name, program));
    // The last error only counts the others, and has no place.
    let shown = output.lines().filter_map(|line| {
        let (place, message) = line.split_once(": error")?;
        let (_code, message) = message.split_once(": ")?;
        let mut place = place.rsplit(':').map(str::parse);
        let (column, line) = (place.next()?.ok()?, place.next()?.ok()?);
        Some((line, column, message.to_owned()))
    });
    (shown.collect(), output)
}

/// A package with `program` as its one binary, in the folder that cargo keeps for tests.
fn package(name: &str, program: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong_uses").join(name);
    let (own, here) = (env!("CARGO_PKG_NAME"), env!("CARGO_MANIFEST_DIR"));
    // By the name that programs use, which the runtime's packages have shorter.
    let used_as = if own == "gimmal-macros" { own } else { own.trim_start_matches("gimmal-") };
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\n{used_as} = {{ package = \"{own}\", path = {here:?} }}\n\
         [workspace]\n"
    );
    // The versions that were built already, so that nothing needs to be fetched.
    let lock = Path::new(here).join("../Cargo.lock");
    fs::create_dir_all(&folder).expect("cargo's folder for tests can be written");
    fs::copy(lock, folder.join("Cargo.lock")).expect("the workspace has a lock file");
    fs::create_dir_all(folder.join("src")).expect("cargo's folder for tests can be written");
    fs::write(folder.join("Cargo.toml"), manifest).expect("cargo's folder for tests can be written");
    fs::write(folder.join("src/main.rs"), program).expect("cargo's folder for tests can be written");
    folder
}

fn cargo_check(folder: &Path) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong_uses/target");
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--message-format", "short", "--target-dir"])
        .arg(target)
        .current_dir(folder)
        // A sanitizer's flags are for the tests, not for the attributes, which the compiler loads into itself.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs, since it ran this test");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "a program with mistakes was built:\n{said}");
    said
}

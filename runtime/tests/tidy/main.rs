//! What the compiler does not keep, kept by reading the sources.
//!
//! Each rule is a function from the files of the workspace to what it finds wrong, and a test that it holds here.
//! Beside each rule stand tests that it is broken by what it forbids, so that a rule that finds nothing is known to
//! look.
//!
//! The lists of exceptions only shrink: an exception that is not needed any more is a finding too.

mod headers;
mod layers;
mod sizes;
mod sleeps;
mod source;
mod traces;
mod unsafety;
mod widths;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use source::{Finding, Source};

#[test]
fn unsafe_stands_only_where_the_design_has_it() {
    keep(&[unsafety::unsafe_only_where_allowed]);
}

#[test]
fn modules_use_what_lies_below_them() {
    keep(&[layers::arrows_point_down]);
}

#[test]
fn drivers_service_requests_without_looking_into_them() {
    keep(&[layers::drivers_do_not_look_into_requests]);
}

#[test]
fn net_and_fs_stand_on_the_runtime_as_any_user_would() {
    keep(&[layers::net_and_fs_depend_on_little, layers::net_and_fs_use_no_hidden_names]);
}

#[test]
fn no_file_has_words_of_unfinished_work() {
    keep(&[words::no_unfinished_code, words::no_unfinished_notes, words::no_names_of_a_second_try]);
}

#[test]
fn no_cast_leaves_its_type_to_be_guessed() {
    keep(&[words::no_casts_to_a_guess]);
}

#[test]
fn files_and_functions_are_short() {
    keep(&[sizes::files_are_short, sizes::functions_are_short]);
}

#[test]
fn comments_fit_beside_code() {
    keep(&[widths::comments_are_as_narrow_as_code]);
}

#[test]
fn every_file_says_what_it_is() {
    keep(&[headers::files_begin_with_their_purpose]);
}

#[test]
fn tests_wait_for_events_and_do_not_sleep() {
    keep(&[sleeps::tests_do_not_sleep]);
}

#[test]
fn no_file_names_a_build_machine_or_another_registry() {
    keep(&[traces::no_folders_of_a_build_machine, traces::packages_come_from_the_public_registry]);
}

/// A rule: what is wrong in `sources`, which are all files of the workspace, in the order of their paths.
type Rule = fn(sources: &[Source]) -> Vec<Finding>;

#[track_caller]
fn keep(rules: &[Rule]) {
    let findings = rules.iter().flat_map(|rule| rule(workspace()));
    let told: String = findings.map(|finding| format!("  {finding}\n")).collect();
    assert!(told.is_empty(), "\n{told}");
}

/// Read once for all rules.
fn workspace() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_workspace)
}

/// The text files of the workspace, also those that are not committed yet.
fn read_workspace() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.ends_with(".git") {
                continue;
            }
            if path.is_dir() {
                // Cargo marks the folder that it builds in by this file.
                if !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(&root).expect("it was found there");
                sources.push(Source::new(&path.to_string_lossy(), text));
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    let own = "runtime/tests/tidy/main.rs";
    assert!(sources.iter().any(|source| source.path == own), "{} is not the workspace", root.display());
    sources
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

//! `unsafe` stands in few files, which are read with care; everywhere else it is somebody's mistake.

use crate::source::{Finding, Source};

/// Where `unsafe` may stand: the runtime's files that speak with the kernel about memory or lay out tasks, and those
/// tests and measurements that must do what no safe interface does.
const ALLOWED: &[&str] = &[
    // The floor that ours is measured against is the bare ring, whose interface is unsafe. One file has all its loops.
    "benches/src/hand/ring.rs",
    "runtime/src/driver/ring.rs",
    "runtime/src/fork.rs",
    "runtime/src/inflight/held.rs",
    "runtime/src/task/cell.rs",
    "runtime/src/task/cell/block.rs",
    "runtime/src/task/cell/handle.rs",
    "runtime/src/task/cell/parcel.rs",
    // The run queue, which runs through the cells.
    "runtime/src/task/cell/queue.rs",
    "runtime/src/task/cell/shared.rs",
    "runtime/src/task/cell/waker.rs",
    // An allocator that counts is unsafe by its trait.
    "runtime/tests/common/counting.rs",
    // No safe interface forks.
    "runtime/tests/common/forked.rs",
    // No safe interface installs a handler that lets system calls fail.
    "runtime/tests/common/interrupting.rs",
    // A waker whose clone panics has no safe constructor.
    "runtime/tests/foreign_wakers.rs",
    "runtime/tests/random/holding.rs",
];

/// I1 of the design. `from_raw_fd` is unsafe by std's word, and parity with std wants it in `net` and `fs`.
pub fn unsafe_only_where_allowed(sources: &[Source]) -> Vec<Finding> {
    check(sources, ALLOWED)
}

fn check(sources: &[Source], allowed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; allowed.len()];
    for source in sources.iter().filter(|source| source.is_rust()) {
        let mut positions = Source::positions(&source.code, "unsafe");
        positions.retain(|&position| !is_from_raw_fd(source, position));
        let Some(&first) = positions.first() else {
            continue;
        };
        match allowed.iter().position(|path| *path == source.path) {
            Some(place) => used[place] = true,
            None => findings.push(source.finding(
                first,
                format!(
                    "`unsafe` ({} in all) in a file that may have none: find a safe way (rustix, Fd, Held), or argue for \
                     the file in runtime/tests/tidy/unsafety.rs",
                    positions.len()
                ),
            )),
        }
    }
    for (path, _) in allowed.iter().zip(used).filter(|(_, used)| !used) {
        let message = format!("nothing in {path} is unsafe any more: take it off the list");
        findings.push(Finding::of_an_exception("unsafety.rs", message));
    }
    findings
}

/// Whether the line is part of an `impl FromRawFd` of a handle.
fn is_from_raw_fd(source: &Source, position: usize) -> bool {
    let line = source.code[position..].lines().next().unwrap_or_default();
    ["net", "fs"].contains(&source.package()) && source.is_library() && line.contains("from_raw_fd(")
}

#[test]
fn unsafe_in_any_other_file_is_found() {
    let sources = [
        Source::new("a/src/allowed.rs", "unsafe fn f() {}".to_owned()),
        Source::new("a/src/other.rs", "#![deny(unsafe_code)]\n// unsafe\nfn g() { unsafe { f() } }".to_owned()),
    ];
    let findings = check(&sources, &["a/src/allowed.rs"]);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].to_string().starts_with("a/src/other.rs:3: `unsafe`"), "{findings:?}");
}

#[test]
fn a_file_that_needs_its_leave_no_more_is_found() {
    let sources = [Source::new("a/src/ring.rs", "fn f() {}".to_owned())];
    let findings = check(&sources, &["a/src/ring.rs"]);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].message.contains("a/src/ring.rs"), "{findings:?}");
}

#[test]
fn only_handles_of_net_and_fs_are_made_of_raw_descriptors() {
    let text = "unsafe fn from_raw_fd(fd: RawFd) -> Self { unsafe { OwnedFd::from_raw_fd(fd) }.into() }";
    assert_eq!(check(&[Source::new("fs/src/file.rs", text.to_owned())], &[]).len(), 0);
    assert_eq!(check(&[Source::new("fs/tests/file.rs", text.to_owned())], &[]).len(), 1);
    assert_eq!(check(&[Source::new("runtime/src/fd.rs", text.to_owned())], &[]).len(), 1);
}

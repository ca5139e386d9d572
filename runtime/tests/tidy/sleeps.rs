//! A test that sleeps hopes that the machine is fast enough; on a busy one it fails, and elsewhere it is slow.

use crate::source::{Finding, Source};

/// Tests of sleeping itself, and tests that something does *not* happen for a while, where there is nothing to wait
/// for.
const ALLOWED: &[&str] = &[
    // That a pool stays full, and that a listener out of descriptors does not spin: nothing happens to wait for.
    "runtime/tests/blocking.rs",
    "runtime/tests/fallback.rs",
    // That nothing happens while all wait.
    "net/tests/idle.rs",
    // That the time of a peer is over, of which the system tells nobody who has no handle.
    "net/tests/tcp/stalled.rs",
    // That time passes beside who is always ready, under signals, and while the kernel takes nothing.
    "runtime/tests/fair.rs",
    "runtime/tests/refused/lost.rs",
    "runtime/tests/interrupted.rs",
    // That the kernel gives memory back, of which it tells nobody.
    "runtime/tests/refused/limits.rs",
    // A row of its matrix is a sleep.
    "runtime/tests/orphans/scenes.rs",
    // On the simulated clock, which jumps.
    "examples/tests/locks/main.rs",
    "examples/tests/locks/story.rs",
    "examples/tests/wal/power.rs",
    "runtime/tests/cores/messages.rs",
    "runtime/tests/cores/same_story.rs",
    "runtime/tests/random/fates.rs",
    "runtime/tests/simulated.rs",
    // A timer is among what a watchdog has to list.
    "runtime/tests/watchdog.rs",
    // These are about sleeping.
    "runtime/tests/time.rs",
    // That a wait of 150 ms is no stall.
    "runtime/tests/logging.rs",
];

/// No test calls a function `sleep`.
pub fn tests_do_not_sleep(sources: &[Source]) -> Vec<Finding> {
    check(sources, ALLOWED)
}

fn check(sources: &[Source], allowed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; allowed.len()];
    for source in sources.iter().filter(|source| source.is_rust() && source.path.contains("/tests/")) {
        for position in Source::positions(&source.code, "sleep(") {
            match allowed.iter().position(|path| *path == source.path) {
                Some(place) => used[place] = true,
                None => findings.push(source.finding(
                    position,
                    "a test sleeps: wait for the event itself (a channel, a barrier, the simulated clock), or argue for \
                     the file in runtime/tests/tidy/sleeps.rs",
                )),
            }
        }
    }
    for (path, _) in allowed.iter().zip(used).filter(|(_, used)| !used) {
        let message = format!("{path} sleeps no more: take it off the list");
        findings.push(Finding::of_an_exception("sleeps.rs", message));
    }
    findings
}

#[test]
fn a_sleep_in_a_test_is_found() {
    let sleeps = "fn f() {\n    thread::sleep(MS); runtime::sleep(MS).await;\n}";
    let found = |path: &str, allowed: &[&str]| check(&[Source::new(path, sleeps.to_owned())], allowed).len();
    assert_eq!(found("runtime/tests/a.rs", &[]), 2);
    assert_eq!(found("runtime/src/a.rs", &[]), 0);
    assert_eq!(found("runtime/tests/a.rs", &["runtime/tests/a.rs"]), 0);
    assert_eq!(found("runtime/src/a.rs", &["runtime/tests/a.rs"]), 1);
    assert_eq!(check(&[Source::new("runtime/tests/a.rs", "no_sleep(); // sleep(1)".to_owned())], &[]).len(), 0);
}

//! A test that hangs is ended by its watchdog, which prints what everybody waits for.

use std::future::pending;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use runtime::fd::SharedFd;
use runtime::op::ready::{Interest, Poll};
use runtime::testing::{Driver, is_here};
use runtime::time::sleep;
use runtime::{spawn, submit};

/// Waits for a socket that nobody writes to, beside a task and a timer.
async fn hang() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let _task = spawn(async {
        sleep(Duration::from_secs(3600)).await;
    });
    let fd = SharedFd::new(std::os::fd::OwnedFd::from(ours));
    submit(Poll { fd, interest: Interest::READABLE }).await.unwrap();
}

#[runtime::test(driver = ring, watchdog = 1)]
#[ignore = "it fails: another test runs it"]
async fn hangs_on_a_ring() {
    hang().await;
}

#[runtime::test(driver = fallback, watchdog = 1)]
#[ignore = "it fails: another test runs it"]
async fn hangs_on_the_fallback() {
    hang().await;
}

/// Time flies there, and never ends.
#[runtime::test(driver = simulated, watchdog = 1)]
#[ignore = "it fails: another test runs it"]
async fn hangs_in_a_simulated_world() {
    let _task = spawn(pending::<()>());
    loop {
        sleep(Duration::from_secs(1)).await;
    }
}

/// Runs one of the tests above, and asserts that its output has all of `parts`.
#[track_caller]
fn barks(name: &str, parts: &[&str]) {
    let mut test = Command::new(std::env::current_exe().expect("a test knows its program"));
    let output = test.args(["--exact", name, "--include-ignored"]).output().expect("a program that runs can be run");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it did not fail:\n{told}");
    for part in parts {
        assert!(told.contains(part), "no «{part}» in:\n{told}");
    }
}

/// A core that waits in its driver is reached, and one that is never idle; ops, tasks and timers are in the dump.
#[test]
fn a_test_that_hangs_fails_with_what_it_waits_for() {
    let everything = ["watchdog: it takes too long", "Poll (waiting)", "tasks: 1 alive, 0 ready", "timers: 1"];
    if is_here(Driver::Ring, "a test that hangs on a ring") {
        barks("hangs_on_a_ring", &everything);
    }
    barks("hangs_on_the_fallback", &everything);
    barks("hangs_in_a_simulated_world", &["watchdog: it takes too long", "tasks: 1 alive", "timers: "]);
}

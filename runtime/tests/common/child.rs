//! A test in a process of its own: for limits, filters and an environment that a whole process shares.

use std::env;
use std::process::Command;
use std::thread;

/// The variable that tells a child which case of its test it runs. Nobody else has it.
pub const CASE: &str = "GIMMAL_TEST_CASE";

/// Runs `body`, the case `case` of the test `test`, in a child process: this very test, told so by the environment.
///
/// `prepare` runs before the child starts, on a thread of its own, so that the child inherits what it does to that
/// thread. Overrides of the runtime's settings that were meant for the parent do not reach the child.
///
/// # Panics
///
/// If the child fails, or runs something else.
#[track_caller]
pub fn in_a_child(test: &str, case: &str, prepare: impl FnOnce(&mut Command) + Send, body: impl FnOnce()) {
    if let Some(wanted) = env::var_os(CASE) {
        if wanted == case {
            body();
            println!("ran {case}");
        }
        return;
    }
    let mut command = Command::new(env::current_exe().expect("a test knows its program"));
    command.args(["--exact", test, "--nocapture"]).env(CASE, case);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIMMAL_")) {
        if name != CASE {
            command.env_remove(name);
        }
    }
    let started = thread::scope(|scope| {
        let child = scope.spawn(|| {
            prepare(&mut command);
            command.output()
        });
        child.join().expect("what comes before the child does not panic")
    });
    let child = started.expect("a program that runs can be run");
    let (told, failed) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success(), "{test}, {case}: {}\n{told}\n{failed}", child.status);
    assert!(told.contains(&format!("ran {case}")), "no test is called {test}: {told}");
}

//! What must end in time, does, or the test says what did not.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Runs `act` on a thread of its own, which has no runtime yet, and returns what it returns.
///
/// # Panics
///
/// If `act` does, with the same payload; and when `limit` is over, which leaves the thread behind.
#[track_caller]
pub fn within<T: Send + 'static>(limit: Duration, what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = channel();
    let thread = thread::Builder::new().name(what.to_owned());
    let running = thread.spawn(move || {
        let output = act();
        // Whoever waited may have given up.
        let _gave_up = done.send(());
        output
    });
    let running = running.expect("a thread for the test");
    match is_done.recv_timeout(limit) {
        Ok(()) | Err(RecvTimeoutError::Disconnected) => running.join().unwrap_or_else(|payload| resume_unwind(payload)),
        Err(RecvTimeoutError::Timeout) => panic!("{what} has not ended within {limit:?}"),
    }
}

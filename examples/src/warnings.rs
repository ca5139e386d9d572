//! What the runtime warns of, where whoever runs a server sees it.
//!
//! The runtime tells through `tracing` what no error says: that it serves without io_uring and why, that a task keeps
//! its core, that a completion queue overflows, what it leaks at its end. Without a subscriber nobody hears of it.

use std::io;

use tracing_subscriber::filter::LevelFilter;

/// Prints warnings and errors to standard error, a line each, from now on. Call it before the runtime is built, which
/// has something to say already: so not in the body of `#[runtime::main]`, but around it.
pub fn to_stderr() {
    // Whoever is first in the process has it: a test harness, say.
    let _has_one = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(io::stderr)
        .with_ansi(false)
        .compact()
        .try_init();
}

//! Says what this machine offers to a runtime, and what helps where something is missing.
//!
//! Run it where a program is slower than it should be, or does not start: `cargo run --release --bin doctor`, in the
//! very container, with the very user. Its status is 0 where io_uring serves, 1 where epoll and threads do instead, and
//! 2 where no runtime starts at all.

use std::process::ExitCode;

fn main() -> ExitCode {
    let probe = runtime::probe();
    println!("{probe}");
    for cure in &probe.cures {
        println!("cure       {cure}");
    }
    match probe.driver {
        "ring" => ExitCode::SUCCESS,
        "fallback" => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    }
}

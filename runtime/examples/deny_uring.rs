//! Runs a command without io_uring, as a container would: `deny_uring eperm|enosys|enter COMMAND…`.
//!
//! ```text
//! cargo run -p gimmal-runtime --example deny_uring -- eperm cargo test --workspace
//! ```

#[path = "../tests/common/denied.rs"]
mod denied;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use denied::Denial;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let denial = Denial::ALL.into_iter().find(|denial| *denial.to_string() == *name);
    let (Some(denial), Some(command)) = (denial, arguments.next()) else {
        eprintln!("usage: deny_uring eperm|enosys|enter COMMAND [ARGUMENT]…");
        return ExitCode::from(2);
    };
    denial.install();
    let error = Command::new(&command).args(arguments).exec();
    eprintln!("deny_uring: {}: {error}", command.display());
    ExitCode::FAILURE
}

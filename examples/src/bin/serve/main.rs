//! Serves the files of a directory over HTTP/1.1.
//!
//! Run it: `cargo run --release -- --log some/directory`, then open <http://127.0.0.1:8080>. Its counterpart is any
//! browser, or `curl -r 0-99 http://127.0.0.1:8080/file`.
//!
//! ```text
//!  main ─► server: who is connected, how it stops
//!            └► connection: requests and responses ─► input ─► request: what was asked
//!                 ├► site: what there is ─► path, the first fence; fs::Dir, the second
//!                 ├► stamp, range: which bytes of it ─► response: the head
//!                 └► body: the bytes, a chunk at a time
//! ```

mod arguments;
mod body;
#[cfg(test)]
mod chance;
mod chunk;
mod connection;
mod content_type;
mod http_date;
mod input;
mod journal;
mod listing;
mod log;
mod path;
mod percent;
mod range;
mod request;
mod response;
mod server;
mod site;
mod stamp;
mod status;

use std::io::{self, Write};
use std::process::{ExitCode, Termination};
use std::rc::Rc;

use runtime::signal::ctrl_c;
use runtime::time::timeout;
use rustix::io::Errno;

use arguments::{Arguments, Settings};
use connection::Site;
use journal::Journal;
use server::{GRACE, Server};

/// What the shell says of a program that ctrl-c has ended: 128 and the number of SIGINT.
const ENDED_BY_CTRL_C: i32 = 130;

fn main() -> impl Termination {
    gimmal_examples::warnings::to_stderr();
    start()
}

#[runtime::main]
async fn start() -> ExitCode {
    let settings = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Arguments::Help) => {
            print!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Ok(Arguments::Serve(settings)) => settings,
        Err(message) => {
            eprintln!("serve: {message}");
            return ExitCode::from(2);
        }
    };
    match serve(&settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("serve: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until ctrl-c, and as much longer as responses in flight are given.
async fn serve(settings: &Settings) -> Result<(), String> {
    let root = fs::Dir::open(&settings.root).await.map_err(|error| about_root(settings, &error))?;
    let journal = match settings.log {
        true => Some(Journal::to_stdout().map_err(|error| format!("cannot log to standard output: {error}"))?),
        false => None,
    };
    let mut interrupted = ctrl_c().map_err(|error| match cure_for_exhaustion(&error) {
        Some(cure) => format!("cannot wait for ctrl-c: {error}: {cure}"),
        None => format!("cannot wait for ctrl-c: {error}"),
    })?;
    let site = Rc::new(Site::new(root, journal.clone()));
    let server = Server::start(settings.address, site).await.map_err(|error| about_address(settings, &error))?;
    let address = server.local_addr().map_err(|error| format!("cannot tell where it listens: {error}"))?;
    // Who started it without a terminal may have closed this. It serves all the same.
    let _closed = writeln!(io::stdout(), "serving {} at http://{address}", settings.root.display());

    (&mut interrupted).await.map_err(|error| format!("cannot wait for ctrl-c: {error}"))?;
    drop(runtime::spawn(async move {
        // If that fails there is only the wait for the end, which is short.
        if interrupted.await.is_ok() {
            std::process::exit(ENDED_BY_CTRL_C);
        }
    }));
    let stopped = server.stop().await;
    if let Some(journal) = journal {
        // Who has stopped reading the log does not keep the program.
        let _unread = timeout(GRACE, journal.flush()).await;
    }
    stopped.map_err(|error| format!("cannot close the listener: {error}"))
}

/// What failed, why, and what helps.
fn about_root(settings: &Settings, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::NotFound => "there is no such directory; name one that exists",
        io::ErrorKind::NotADirectory => "it is a file; name the directory that it is in",
        io::ErrorKind::PermissionDenied => "this user may not enter it; let it, or run as one who may",
        _ => cure_for_exhaustion(error).unwrap_or("name another directory"),
    };
    format!("cannot serve {}: {error}: {cure}", settings.root.display())
}

/// What failed, why, and what helps.
fn about_address(settings: &Settings, error: &io::Error) -> String {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; end it, or take a free port with --addr 127.0.0.1:0"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; 127.0.0.1 is always there, 0.0.0.0 is all"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 are for root; take a higher one with --addr",
        _ => cure_for_exhaustion(error).unwrap_or("take another address with --addr"),
    };
    format!("cannot listen on {}: {error}: {cure}", settings.address)
}

/// What helps where it is not the request that is wrong.
fn cure_for_exhaustion(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some("this program may open too few files at once; `ulimit -n` allows more"),
        Errno::NFILE => Some("the whole machine has too many files open; close some, or raise the sysctl fs.file-max"),
        _ => None,
    }
}

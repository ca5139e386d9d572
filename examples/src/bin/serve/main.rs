//! Serves the files of a directory over HTTP/1.1.
//!
//! Run it: `cargo run --release -- --log some/directory`, then open <http://127.0.0.1:8080>. Its counterpart is any browser,
//! or `curl -r 0-99 http://127.0.0.1:8080/file`.

mod arguments;
#[cfg(test)]
mod chance;
#[cfg(test)]
mod content_type;
#[cfg(test)]
mod http_date;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod log;
#[cfg(test)]
mod path;
#[cfg(test)]
mod percent;
#[cfg(test)]
mod range;
#[cfg(test)]
mod request;
#[cfg(test)]
mod response;
#[cfg(test)]
mod stamp;
#[cfg(test)]
mod status;

use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Arguments::Help) => {
            print!("{}", arguments::USAGE);
            ExitCode::SUCCESS
        }
        Ok(Arguments::Serve(settings)) => {
            eprintln!("serve: {settings:?}: serving waits for the runtime");
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("serve: {message}");
            ExitCode::from(2)
        }
    }
}

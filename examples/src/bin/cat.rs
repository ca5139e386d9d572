//! Writes files, one after the other, to standard output.
//!
//! Run it: `cargo run --release --bin cat -- Cargo.toml`. Its counterpart is a pipe: `… | cat - footer.txt | …`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::rc::Rc;

use fs::File;
use runtime::JoinHandle;
use runtime::buf::pool::{Piece, piece};
use runtime::buf::{BufError, IoBuf};

const USAGE: &str = "\
Writes files, one after the other, to standard output.

usage: cat [FILE]...

  FILE    a file; - is standard input, and so is no FILE at all
  --help  print this and end

What can't be read is named on standard error and left out; the exit status is then 1.
";

/// How much is read at once. The next is read while this much is written, so it is held twice.
const PIECE_LEN: usize = 128 * 1024;

#[runtime::main]
async fn main() -> ExitCode {
    let mut names: Vec<OsString> = std::env::args_os().skip(1).collect();
    if names.iter().any(|name| name == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if let Some(option) = names.iter().find(|name| name.len() > 1 && name.as_encoded_bytes().starts_with(b"-")) {
        eprintln!("cat: unknown option {}; a file of that name is written ./{0}", option.display());
        return ExitCode::from(2);
    }
    if names.is_empty() {
        names.push("-".into());
    }
    match concatenate(&names).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A reader that has seen enough is no failure to be told about.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("cat: standard output: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all could be read.
///
/// # Errors
///
/// Standard output's, which ends it all.
async fn concatenate(names: &[OsString]) -> io::Result<bool> {
    let out = taken_over(io::stdout().as_fd())?;
    let mut all_were_read = true;
    for name in names {
        match pour(name, &out).await {
            Ok(()) => {}
            Err(Failure::Reading(error)) => {
                eprintln!("cat: {}: {error}", name.display());
                all_were_read = false;
            }
            Err(Failure::Writing(error)) => return Err(error),
        }
    }
    Ok(all_were_read)
}

enum Failure {
    Reading(io::Error),
    Writing(io::Error),
}

async fn pour(name: &OsStr, out: &File) -> Result<(), Failure> {
    let file = Rc::new(open(name, out).await.map_err(Failure::Reading)?);
    let mut next = read_ahead(&file);
    loop {
        let read = next.await.map_err(io::Error::from).flatten();
        let (received, piece) = read.map_err(Failure::Reading)?;
        if received == 0 {
            return Ok(());
        }
        next = read_ahead(&file);
        out.write_all_owned(piece.slice(..received)).await.map_err(|error| Failure::Writing(error.into()))?;
    }
}

async fn open(name: &OsStr, out: &File) -> io::Result<File> {
    let file = if name == "-" { taken_over(io::stdin().as_fd())? } else { File::open(name).await? };
    let (from, to) = (file.metadata().await?, out.metadata().await?);
    if to.is_file() && (from.dev(), from.ino()) == (to.dev(), to.ino()) && from.len() > 0 {
        return Err(io::Error::other("it is standard output too, and would be read without end"));
    }
    Ok(file)
}

/// A descriptor of our own for the same open file, so that closing it closes nobody else's.
fn taken_over(fd: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(fd.try_clone_to_owned()?))
}

/// Reads the next piece in a task of its own, which goes on while the one before is written.
fn read_ahead(file: &Rc<File>) -> JoinHandle<io::Result<(usize, Piece)>> {
    let file = file.clone();
    runtime::spawn(async move {
        loop {
            match file.read_owned(piece(PIECE_LEN).await).await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|error: BufError<Piece>| error.into()),
            }
        }
    })
}

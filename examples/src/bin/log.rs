//! Keeps lines: reads them from standard input, appends each to a [write-ahead log](gimmal_examples::wal), and prints
//! its number when it is there to stay.
//!
//! ```sh
//! some-program | cargo run --release --bin log -- journal
//! cargo run --release --bin log -- --print journal
//! ```

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use gimmal_examples::wal::{Log, RECORD_BYTES_MAX};

const USAGE: &str =
    "usage: log FILE            appends the lines of standard input, and prints the number of each when it is durable
       log --print FILE    prints the records: number, a tab, the line";

#[runtime::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match &arguments[..] {
        [flag, path] if flag == "--print" => print(Path::new(path)).await,
        [path] if !path.to_string_lossy().starts_with('-') => append(Path::new(path)).await,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("log: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn print(path: &Path) -> io::Result<()> {
    let mut out = Vec::new();
    Log::open(path, |number, bytes| {
        out.extend_from_slice(format!("{number}\t").as_bytes());
        out.extend_from_slice(bytes);
        out.push(b'\n');
    })
    .await?;
    io::stdout().write_all(&out)
}

async fn append(path: &Path) -> io::Result<()> {
    let log = Log::open(path, |_, _| {}).await?;
    let (input, output) = (open_again(io::stdin())?, open_again(io::stdout())?);
    let (mut unread, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let (n, buf) = input.read_owned(chunk).await?;
        chunk = buf;
        unread.extend_from_slice(&chunk[..n]);
        if n == 0 && !unread.is_empty() {
            unread.push(b'\n');
        }
        // While these become durable, what comes next waits in the pipe, and goes along with the next group.
        let numbers = append_lines(&log, &mut unread).await?;
        if !numbers.is_empty() {
            output.write_all(numbers.as_bytes()).await?;
        }
        if n == 0 {
            return Ok(());
        }
        if unread.len() > RECORD_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a line is longer than {RECORD_BYTES_MAX}"),
            ));
        }
    }
}

/// Appends the whole lines at the start of `unread`, and returns their numbers, a line each.
async fn append_lines(log: &Log, unread: &mut Vec<u8>) -> io::Result<String> {
    let Some(end) = unread.iter().rposition(|&byte| byte == b'\n') else { return Ok(String::new()) };
    let lines: Vec<_> = unread[..end].split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    unread.drain(..=end);
    let append = |line: Vec<u8>| {
        let log = log.clone();
        runtime::spawn(async move { log.append(&line).await })
    };
    let appends: Vec<_> = lines.into_iter().map(append).collect();
    let mut numbers = String::new();
    for append in appends {
        numbers += &format!("{}\n", append.await.expect("an append does not panic")?);
    }
    Ok(numbers)
}

/// A standard stream as a file of its own.
fn open_again(stream: impl AsFd) -> io::Result<fs::File> {
    Ok(fs::File::from(stream.as_fd().try_clone_to_owned()?))
}

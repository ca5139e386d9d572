//! Copies a file.
//!
//! Run it: `cargo run --release --bin copy -- Cargo.lock /tmp/Cargo.lock`. Its counterpart is `cmp`.
//!
//! Several lanes share the file: each takes the next piece that nobody has, reads it, and writes it to the same place,
//! so reads and writes of different pieces are in flight together, in one ring, on one thread.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use fs::{File, Metadata, OpenOptions};
use runtime::JoinHandle;
use runtime::buf::pool::piece;
use runtime::buf::{BufResult, IoBuf};

const USAGE: &str = "\
Copies a file.

usage: copy SOURCE DESTINATION

  SOURCE       a regular file
  DESTINATION  the file to write: created if it is not there, with the source's permissions, and replaced if it is
  --help       print this and end

When it fails it says why, and leaves what has been copied by then.
";

/// How many pieces are on their way at once.
const LANES: usize = 8;
const PIECE_LEN: usize = 128 * 1024;

#[runtime::main]
async fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let [source, destination] = &arguments[..] else {
        eprintln!("copy: wants a source and a destination, and got {} names\n\n{USAGE}", arguments.len());
        return ExitCode::from(2);
    };
    match copy(Path::new(source), Path::new(destination)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("copy: {}: {}", failure.path.display(), failure.error);
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, and with which of the two files.
struct Failure {
    path: PathBuf,
    error: io::Error,
}

async fn copy(source: &Path, destination: &Path) -> Result<(), Failure> {
    let reading = |error: io::Error| Failure { path: source.to_owned(), error };
    let writing = |error: io::Error| Failure { path: destination.to_owned(), error };

    let from = File::open(source).await.map_err(reading)?;
    let metadata = from.metadata().await.map_err(reading)?;
    check_source(&metadata).map_err(reading)?;
    let to = create(destination, &metadata).await.map_err(writing)?;

    let job = Rc::new(Job::new(from, to, metadata.len()));
    let lanes: Vec<_> = (0..job.lanes()).map(|_| runtime::spawn(job.clone().lane())).collect();
    let finished = finish(lanes).await;
    finished.map_err(|error| match error {
        Error::Reading(error) => reading(error),
        Error::Writing(error) => writing(error),
    })?;
    let job = Rc::into_inner(job).expect("the lanes have ended");
    // Some file systems say only now that there was no room.
    job.to.close().await.map_err(writing)
}

fn check_source(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory: one file is copied at a time"));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is no regular file: `cat` can read it from its start",
        ));
    }
    Ok(())
}

/// Opens the destination, and empties it once it is known not to be the source.
async fn create(destination: &Path, source: &Metadata) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let to = options.write(true).create(true).mode(source.mode() & 0o777).open(destination).await?;
    let metadata = to.metadata().await?;
    if (metadata.dev(), metadata.ino()) == (source.dev(), source.ino()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is the source itself, which is left as it is"));
    }
    if metadata.is_file() && metadata.len() > 0 {
        to.set_len(0).await?;
    }
    Ok(to)
}

/// Waits for all lanes, also after one has failed: none may write when the answer is known. The first failure is the
/// answer.
async fn finish(lanes: Vec<JoinHandle<Result<(), Error>>>) -> Result<(), Error> {
    let mut finished = Ok(());
    for lane in lanes {
        let ended = lane.await.unwrap_or_else(|panicked| Err(Error::Reading(panicked.into())));
        finished = finished.and(ended);
    }
    finished
}

enum Error {
    Reading(io::Error),
    Writing(io::Error),
}

/// What the lanes share.
struct Job {
    from: File,
    to: File,
    /// None if the file does not tell it: those of /proc say 0, and must be read to their end.
    length: Option<u64>,
    /// Where the next piece begins that no lane has taken.
    next: Cell<u64>,
    has_failed: Cell<bool>,
}

impl Job {
    fn new(from: File, to: File, length: u64) -> Job {
        let length = (length > 0).then_some(length);
        Job { from, to, length, next: Cell::new(0), has_failed: Cell::new(false) }
    }

    /// Without a length a lane learns of the end by reading it, so no other may be ahead of it.
    fn lanes(&self) -> usize {
        if self.length.is_some() { LANES } else { 1 }
    }

    async fn lane(self: Rc<Self>) -> Result<(), Error> {
        let copied = self.copy_pieces().await;
        if copied.is_err() {
            self.has_failed.set(true);
        }
        copied
    }

    async fn copy_pieces(&self) -> Result<(), Error> {
        loop {
            let offset = self.next.get();
            let left = self.length.map_or(u64::MAX, |length| length.saturating_sub(offset));
            let wanted = usize::try_from(left).unwrap_or(PIECE_LEN).min(PIECE_LEN);
            if wanted == 0 || self.has_failed.get() {
                return Ok(());
            }
            if self.length.is_some() {
                self.next.set(offset + wanted as u64);
            }

            let (read, buf) = fill(&self.from, piece(PIECE_LEN).await, wanted, offset).await.map_err(Error::Reading)?;
            if read < wanted && self.length.is_some() {
                let shorter = io::Error::new(io::ErrorKind::UnexpectedEof, "became shorter while it was copied");
                return Err(Error::Reading(shorter));
            }
            let written = self.to.write_all_at_owned(buf.slice(..read), offset).await;
            written.map_err(|error| Error::Writing(error.into()))?;

            if self.length.is_none() {
                if read < wanted {
                    return Ok(());
                }
                self.next.set(offset + read as u64);
            }
        }
    }
}

/// Reads until `wanted` bytes are there, or the file ends.
async fn fill<B: runtime::buf::IoBufMut>(
    file: &File,
    mut buf: B,
    wanted: usize,
    offset: u64,
) -> io::Result<(usize, B)> {
    let mut filled = 0;
    while filled < wanted {
        let read: BufResult<usize, _> = file.read_at_owned(buf.slice(filled..wanted), offset + filled as u64).await;
        match read {
            Ok((0, rest)) => return Ok((filled, rest.into_inner())),
            Ok((count, rest)) => {
                filled += count;
                buf = rest.into_inner();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => buf = error.into_buf().into_inner(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((filled, buf))
}

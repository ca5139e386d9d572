//! What there is below the root at the path of a request: a file, a directory's page, another address, or nothing.
//!
//! The second fence stands here: all is opened through [`fs::Dir`], where the kernel itself refuses a path or a
//! symbolic link that leads out. See [`path`](crate::path) for the first.

use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::content_type;
use crate::listing::{self, ENTRIES_MAX, Entry};
use crate::path::SafePath;
use crate::stamp::Stamp;
use crate::status::Status;

/// What is shown of a directory that has it.
const INDEX: &str = "index.html";

/// What the answer to a request is made of.
#[derive(Debug)]
pub enum Found {
    /// A regular file, open.
    File { file: fs::File, stamp: Stamp, content_type: &'static str },
    /// The HTML page of a directory without an index.
    Listing(Vec<u8>),
    /// A directory that was asked for without a slash: where to ask.
    Elsewhere(Vec<u8>),
}

/// Looks for what `target`, of a request line, names below `root`.
///
/// # Errors
///
/// The status to answer with. Whatever lies outside is [`Status::NotFound`], as if there were nothing: to say more
/// would tell what there is.
pub async fn find(root: &fs::Dir, target: &str) -> Result<Found, Status> {
    let path = SafePath::from_target(target)?;
    match open(root, path.as_path()).await? {
        Opened::File { file, stamp } if !path.ends_with_slash() => {
            Ok(Found::File { file, stamp, content_type: content_type::of(path.as_bytes()) })
        }
        Opened::Directory if !path.ends_with_slash() => Ok(Found::Elsewhere(path.directory_url(target))),
        Opened::Directory => find_in_directory(root, &path).await,
        Opened::File { .. } | Opened::Other => Err(Status::NotFound),
    }
}

async fn find_in_directory(root: &fs::Dir, path: &SafePath) -> Result<Found, Status> {
    match open(root, &path.as_path().join(INDEX)).await {
        Ok(Opened::File { file, stamp }) => {
            Ok(Found::File { file, stamp, content_type: content_type::of(INDEX.as_bytes()) })
        }
        Err(status) if status != Status::NotFound => Err(status),
        Ok(_) | Err(_) => list(root, path).await.map(Found::Listing).map_err(|error| status_of(&error)),
    }
}

/// What a path led to.
enum Opened {
    File {
        file: fs::File,
        stamp: Stamp,
    },
    Directory,
    /// A device, a pipe, a socket: nothing with a length to promise.
    Other,
}

async fn open(root: &fs::Dir, path: &Path) -> Result<Opened, Status> {
    // Until it is known to be a file: the open of a pipe would wait for a writer, that of a terminal would take it
    // over.
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    let opened = async {
        let file = root.open_file_with(path, &options).await?;
        let metadata = file.metadata().await?;
        if metadata.is_dir() {
            return Ok(Opened::Directory);
        }
        if !metadata.is_file() {
            return Ok(Opened::Other);
        }
        // A file system that cannot tell what is in memory, such as Docker's overlay, takes the flag for «never wait»:
        // a read through the ring would fail with EAGAIN.
        rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
        let stamp = Stamp::new(metadata.len(), metadata.modified()?, metadata.ino());
        Ok(Opened::File { file, stamp })
    };
    opened.await.map_err(|error: io::Error| status_of(&error))
}

async fn list(root: &fs::Dir, path: &SafePath) -> io::Result<Vec<u8>> {
    let mut directory = root.read_dir(path.as_path()).await?;
    let mut entries = Vec::new();
    // One more than is shown, so that the page can say that there are more.
    while entries.len() <= ENTRIES_MAX
        && let Some(entry) = directory.next().await
    {
        let entry = entry?;
        let is_directory = entry.file_type().await.is_ok_and(|kind| kind.is_dir());
        entries.push(Entry { name: entry.file_name().into_encoded_bytes(), is_directory });
    }
    Ok(listing::page(path.as_bytes(), entries))
}

/// How a client is told that something could not be opened. What it cannot change by asking otherwise is our trouble.
fn status_of(error: &io::Error) -> Status {
    match Errno::from_io_error(error) {
        // XDEV and LOOP: the kernel refused to be led out. NXIO: a socket, or a device that is not there.
        Some(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::ACCESS
            | Errno::PERM
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::NODEV
            | Errno::INVAL,
        ) => Status::NotFound,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::AGAIN) => Status::Unavailable,
        _ => Status::InternalError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_and_what_is_not_there_look_the_same() {
        for errno in [Errno::NOENT, Errno::XDEV, Errno::LOOP, Errno::ACCESS, Errno::NOTDIR] {
            assert_eq!(status_of(&errno.into()), Status::NotFound, "{errno:?}");
        }
        assert_eq!(status_of(&Errno::MFILE.into()), Status::Unavailable);
        assert_eq!(status_of(&Errno::IO.into()), Status::InternalError);
        assert_eq!(status_of(&io::Error::other("no number")), Status::InternalError);
    }
}

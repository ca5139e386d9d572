//! Opening a log after whatever happened: find its end, cut off what is torn, make the rest durable.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::record::{HEAD_BYTES, Head};
use super::{GROUP_BYTES_MAX, RECORD_BYTES_MAX};

/// What the file starts with, so that a path mistyped does not cost its file.
const MAGIC: [u8; 16] = *b"gimmal log 1\n\0\0\0";

/// A log as it was found.
pub struct Recovered {
    pub file: fs::File,
    /// Where the last record ends.
    pub end: u64,
    pub records: u64,
}

/// Opens or creates the file, and leaves it with whole records only, all of them durable.
pub async fn recover(path: &Path, visit: impl FnMut(u64, &[u8])) -> io::Result<Recovered> {
    let file = fs::OpenOptions::new().read(true).write(true).create(true).open(path).await?;
    if !has_begun(&file, path).await? {
        file.write_all_at(&MAGIC, 0).await?;
    }
    // Each time: whoever created it may have died before this.
    sync_directory_of(path).await?;

    let (end, records) = read_records(&file, visit).await?;
    let len = file.metadata().await?.len();
    if len.saturating_sub(end) > GROUP_BYTES_MAX as u64 {
        let words = format!(
            "{} is damaged at byte {end}: the {} bytes behind it are more than a crash can tear, which is one group of at \
             most {GROUP_BYTES_MAX}; restore it, or cut it there to lose them",
            path.display(),
            len - end,
        );
        return Err(io::Error::new(ErrorKind::InvalidData, words));
    }
    // Also if it is that long already: an earlier cut may have failed after it was made in memory.
    file.set_len(end).await?;
    write_last_group_again(&file, end).await?;
    file.sync_all().await?;
    Ok(Recovered { file, end, records })
}

/// Whether the file is a log. One that is empty, or was created by a program that died at once, is not yet.
async fn has_begun(file: &fs::File, path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    while start.len() <= MAGIC.len() {
        let mut more = [0; MAGIC.len() + 1];
        let missing = more.len() - start.len();
        match file.read_at(&mut more[..missing], start.len() as u64).await {
            Ok(0) => break,
            Ok(n) => start.extend_from_slice(&more[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if start.starts_with(&MAGIC) {
        return Ok(true);
    }
    // Nothing follows before an opening has synced it; until then a power cut leaves any part of it, and zeros for the
    // rest.
    let is_part = start.iter().zip(&MAGIC).all(|(&found, &written)| found == written || found == 0);
    if start.len() <= MAGIC.len() && is_part {
        return Ok(false);
    }
    Err(io::Error::new(ErrorKind::InvalidData, format!("{} is no log, and is left as it is", path.display())))
}

/// The file's name is durable only when this was done.
async fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent).await?.sync_all().await
}

/// Reads as far as records are whole. Returns where they end, and how many they are.
async fn read_records(file: &fs::File, mut visit: impl FnMut(u64, &[u8])) -> io::Result<(u64, u64)> {
    let (mut end, mut records) = (MAGIC.len() as u64, 0);
    let mut bytes = Vec::new();
    loop {
        let mut head = [0; HEAD_BYTES];
        if !read_whole(file, &mut head, end).await? {
            break;
        }
        let head = Head::decode(head);
        if head.len > RECORD_BYTES_MAX {
            break;
        }
        bytes.resize(head.len, 0);
        if !read_whole(file, &mut bytes, end + HEAD_BYTES as u64).await? || !head.fits(records + 1, &bytes) {
            break;
        }
        records += 1;
        visit(records, &bytes);
        end += (HEAD_BYTES + bytes.len()) as u64;
    }
    Ok((end, records))
}

/// `false`: the file ends before.
async fn read_whole(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buf, offset).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// After a sync that failed, memory shows what the disk does not have, and takes it for written. So what may be of that
/// kind is written once more: the last group at most, since each was synced before the next began, as was the start of
/// the file.
async fn write_last_group_again(file: &fs::File, end: u64) -> io::Result<()> {
    let start = end.saturating_sub(GROUP_BYTES_MAX as u64 + MAGIC.len() as u64);
    let len = usize::try_from(end - start).expect("a group at most");
    let ((), group) = file.read_exact_at_owned(vec![0; len], start).await?;
    file.write_all_at_owned(group, start).await?;
    Ok(())
}

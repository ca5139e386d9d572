//! Direct I/O at the cursor. A ring starts it, the disk answers later, and the kernel moves no cursor then.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use runtime::buf::{IoBuf, Slice};
use rustix::fs::OFlags;

#[macro_use]
#[path = "../../runtime/tests/common/real_drivers.rs"]
mod real_drivers;
#[path = "common/dropped.rs"]
mod dropped;
#[path = "common/folder.rs"]
mod folder;

use dropped::begin_and_drop;
use folder::Folder;

on_ring_and_fallback! {
    the_cursor_moves_as_in_std,
    what_is_read_to_the_end_is_what_std_reads,
    a_file_opened_to_append_ends_where_it_was_written_to,
    a_dropped_call_leaves_the_cursor_where_the_next_one_belongs,
}

const BLOCK: usize = 4096;
const BLOCKS: u8 = 16;

/// Any block is filled with its number.
fn numbered() -> Vec<u8> {
    (0..BLOCKS).flat_map(|number| [number; BLOCK]).collect()
}

/// Memory that a disk can reach.
fn block(number: u8) -> Slice<Vec<u8>> {
    let buf = vec![number; 2 * BLOCK];
    let start = buf.as_ptr().align_offset(BLOCK);
    buf.slice(start..start + BLOCK)
}

async fn open_direct(path: &Path, options: &mut fs::OpenOptions) -> Option<fs::File> {
    std::fs::File::open(path).unwrap().sync_all().unwrap();
    match options.custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path).await {
        Ok(file) => Some(file),
        Err(error) => {
            runtime::testing::skipped(format_args!("{} has no direct I/O: {error}", path.display()));
            None
        }
    }
}

/// Lent and given, by two handles of one open file.
/// Catches: a read that brings the same block each time; writes that all go to the same place.
async fn the_cursor_moves_as_in_std() {
    let folder = Folder::new();
    let path = folder.file("file");
    std::fs::write(&path, numbered()).unwrap();
    let Some(file) = open_direct(&path, fs::OpenOptions::new().read(true).write(true)).await else { return };
    let clone = file.try_clone().unwrap();
    for number in 0..BLOCKS {
        let mut lent = [0; BLOCK];
        let file = if number % 3 == 0 { &clone } else { &file };
        match number % 2 {
            0 => file.read_exact(&mut lent).await.unwrap(),
            _ => lent.copy_from_slice(file.read_exact_owned(block(0)).await.unwrap().1.bytes()),
        }
        assert_eq!(lent, [number; BLOCK]);
        assert_eq!(file.stream_position().await.unwrap(), (usize::from(number) + 1) as u64 * BLOCK as u64);
    }
    assert_eq!(file.read(&mut [0; BLOCK]).await.unwrap(), 0, "the end");

    file.seek(SeekFrom::Start(BLOCK as u64)).await.unwrap();
    for number in 1..BLOCKS {
        match number % 2 {
            0 => file.write_all(&[number + 100; BLOCK]).await.unwrap(),
            _ => drop(clone.write_all_owned(block(number + 100)).await.unwrap()),
        }
    }
    let found = std::fs::read(&path).unwrap();
    assert_eq!(found[..BLOCK], [0; BLOCK]);
    for number in 1..BLOCKS {
        assert_eq!(found[usize::from(number) * BLOCK..][..BLOCK], [number + 100; BLOCK]);
    }
    assert_eq!(found.len(), usize::from(BLOCKS) * BLOCK);
}

/// std's succeeds where the vector's memory happens to suit the disk. Ours is copied, so it always may.
/// Catches: room for a read that is no multiple of a disk's blocks.
async fn what_is_read_to_the_end_is_what_std_reads() {
    let folder = Folder::new();
    for len in [0, 1, 511, 512, 513, 4095, 4096, 4097, 10_000, 262_145, 600_000] {
        let path = folder.file(&len.to_string());
        let contents: Vec<u8> = (0..len).map(|at: u32| at.wrapping_mul(31).to_le_bytes()[1]).collect();
        std::fs::write(&path, &contents).unwrap();
        let Some(file) = open_direct(&path, fs::OpenOptions::new().read(true)).await else { return };
        let mut std = std::fs::File::from(file.as_fd().try_clone_to_owned().unwrap());
        for (start, capacity) in [(0, 0), (0, 5), (0, 4096), (4096, 0), (4096, 5000), (4096, 1 << 20)] {
            let what = format!("{len} bytes from {start} on, into room for {capacity}");
            let (mut ours, mut expected) = (b"kept".to_vec(), b"kept".to_vec());
            ours.reserve_exact(capacity);
            expected.reserve_exact(capacity);
            std.seek(SeekFrom::Start(start)).unwrap();
            let by_std = std.read_to_end(&mut expected);
            let std_end = std.stream_position().unwrap();
            file.seek(SeekFrom::Start(start)).await.unwrap();
            let read = file.read_to_end(&mut ours).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let there = contents.get(usize::try_from(start).unwrap()..).unwrap_or_default();
            assert!(ours == [b"kept", there].concat(), "{what}");
            assert_eq!(read, there.len(), "{what}");
            if let Ok(by_std) = by_std {
                let our_end = file.stream_position().await.unwrap();
                assert_eq!((read, &ours, our_end), (by_std, &expected, std_end), "{what}");
            }
        }
    }
}

/// Catches: a cursor that goes on from where it was, as after a write that does not append.
async fn a_file_opened_to_append_ends_where_it_was_written_to() {
    let folder = Folder::new();
    let path = folder.file("file");
    std::fs::write(&path, numbered()).unwrap();
    let Some(file) = open_direct(&path, fs::OpenOptions::new().read(true).append(true)).await else { return };
    file.read_exact(&mut [0; BLOCK]).await.unwrap();
    file.write_all(&[77; BLOCK]).await.unwrap();
    assert_eq!(file.stream_position().await.unwrap(), (usize::from(BLOCKS) + 1) as u64 * BLOCK as u64);
    assert!(begin_and_drop(file.write_owned(block(78))).is_none());
    assert_eq!(file.stream_position().await.unwrap(), (usize::from(BLOCKS) + 2) as u64 * BLOCK as u64);
    let found = std::fs::read(&path).unwrap();
    assert_eq!(found[usize::from(BLOCKS) * BLOCK..], [[77; BLOCK], [78; BLOCK]].concat());
}

/// Catches: a dropped read that is undone although nothing was done; a dropped write that the next one overwrites.
async fn a_dropped_call_leaves_the_cursor_where_the_next_one_belongs() {
    let folder = Folder::new();
    let path = folder.file("file");
    std::fs::write(&path, numbered()).unwrap();
    let Some(file) = open_direct(&path, fs::OpenOptions::new().read(true).write(true)).await else { return };
    for number in (0..BLOCKS).step_by(2) {
        let at = u64::from(number) * BLOCK as u64;
        assert!(begin_and_drop(file.read(&mut [0; BLOCK])).is_none());
        assert!(begin_and_drop(file.read_owned(block(0))).is_none());
        assert_eq!(file.stream_position().await.unwrap(), at);
        let mut lent = [0; BLOCK];
        file.read_exact(&mut lent).await.unwrap();
        assert_eq!(lent, [number; BLOCK]);
        match number % 4 {
            0 => assert!(begin_and_drop(file.write(&[number + 100; BLOCK])).is_none()),
            _ => assert!(begin_and_drop(file.write_owned(block(number + 100))).is_none()),
        }
        assert_eq!(file.stream_position().await.unwrap(), at + 2 * BLOCK as u64);
    }
    let found = std::fs::read(&path).unwrap();
    for number in (0..BLOCKS).step_by(2) {
        assert_eq!(found[(usize::from(number) + 1) * BLOCK..][..BLOCK], [number + 100; BLOCK]);
    }
}

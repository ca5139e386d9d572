//! Files do what std's do: the same results, the same contents, the same errors.

use std::fmt::Debug;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use runtime::buf::IoBuf;

#[macro_use]
#[path = "../../runtime/tests/common/real_drivers.rs"]
mod real_drivers;
#[path = "common/folder.rs"]
mod folder;
#[path = "../../runtime/tests/common/random.rs"]
mod random;

use folder::Folder;
use random::Random;

on_ring_and_fallback! {
    each_choice_of_options_opens_or_fails_as_in_std,
    random_operations_do_what_std_does,
    metadata_is_the_same_field_by_field,
    a_directory_lists_what_std_lists,
    whole_files_are_what_std_reads_and_writes,
}

/// All 64 choices, on a file that is there and on one that is not.
/// Catches: a creation flag that is not refused with `append`; `truncate` beside `create_new`.
async fn each_choice_of_options_opens_or_fails_as_in_std() {
    let folder = Folder::new();
    for choice in 0..64 {
        for is_there in [false, true] {
            let (ours, std) = (folder.file("ours"), folder.file("std"));
            for path in [&ours, &std] {
                if is_there {
                    std::fs::write(path, b"twelve bytes").unwrap();
                } else if path.exists() {
                    std::fs::remove_file(path).unwrap();
                }
            }
            let chosen = |bit: u32| choice >> bit & 1 == 1;
            let mut std_options = std::fs::OpenOptions::new();
            std_options.read(chosen(0)).write(chosen(1)).append(chosen(2));
            std_options.truncate(chosen(3)).create(chosen(4)).create_new(chosen(5));
            let mut our_options = fs::OpenOptions::new();
            our_options.read(chosen(0)).write(chosen(1)).append(chosen(2));
            our_options.truncate(chosen(3)).create(chosen(4)).create_new(chosen(5));

            let (by_std, by_us) = (std_options.open(&std), our_options.open(&ours).await);
            let what = format!("choice {choice:06b}, existing: {is_there}");
            let opened = same(&what, by_us, by_std);
            assert_eq!(std::fs::read(&ours).ok(), std::fs::read(&std).ok(), "{what}");
            if let Some((ours, mut std)) = opened {
                same(&what, ours.write(b"new").await, std.write(b"new"));
                same(&what, ours.read(&mut [0; 4]).await, std.read(&mut [0; 4]));
            }
            assert_eq!(std::fs::read(&ours).ok(), std::fs::read(&std).ok(), "{what}, after a write");
        }
    }
}

/// 200 operations each, on one open file by two handles, lent and given mixed.
/// Catches: a positional read that moves the cursor; a cursor that is not shared; a short transfer that is taken for
/// whole.
async fn random_operations_do_what_std_does() {
    let folder = Folder::new();
    let only = std::env::var("GIMMAL_SEED").ok().map(|seed| seed.parse().expect("GIMMAL_SEED is a number"));
    for seed in only.map_or(0..60, |seed: u64| seed..seed + 1) {
        println!("GIMMAL_SEED={seed}");
        let mut random = Random(seed);
        let appends = random.below(4) == 0;
        let (ours, std) = (folder.file("ours"), folder.file("std"));
        let mut our_options = fs::OpenOptions::new();
        let ours = our_options.read(true).write(true).append(appends).create(true).truncate(!appends).open(&ours).await;
        let mut std_options = std::fs::OpenOptions::new();
        let std = std_options.read(true).write(true).append(appends).create(true).truncate(!appends).open(&std);
        let (ours, std) = (ours.unwrap(), std.unwrap());
        let ours = [ours.try_clone().unwrap(), ours];
        let std = [std.try_clone().unwrap(), std];
        for step in 0..200 {
            let handle = usize::from(random.below(2) == 1);
            let what = format!("seed {seed}, step {step}");
            step_on_both(&what, &mut random, &ours[handle], &std[handle]).await;
        }
        assert_eq!(
            std::fs::read(folder.file("ours")).unwrap(),
            std::fs::read(folder.file("std")).unwrap(),
            "seed {seed}"
        );
    }
}

fn bytes(random: &mut Random, len_max: u64) -> Vec<u8> {
    (0..random.len_below(len_max + 1)).map(|_| random.below(256).to_le_bytes()[0]).collect()
}

async fn step_on_both(what: &str, random: &mut Random, ours: &fs::File, mut std: &std::fs::File) {
    let offset = random.below(40_000);
    match random.below(12) {
        0..4 => step_at_the_cursor(what, random, ours, std).await,
        4..8 => step_at_an_offset(what, random, ours, std, offset).await,
        8 => {
            same(what, ours.set_len(offset).await, std.set_len(offset));
        }
        9 => {
            let position = match random.below(3) {
                0 => SeekFrom::Start(offset),
                1 => SeekFrom::End(offset.cast_signed() - 20_000),
                _ => SeekFrom::Current(offset.cast_signed() - 20_000),
            };
            same(what, ours.seek(position).await, std.seek(position));
        }
        10 => {
            let (mut a, mut b) = (b"before".to_vec(), b"before".to_vec());
            same(what, ours.read_to_end(&mut a).await, std.read_to_end(&mut b));
            assert_eq!(a, b, "{what}: read_to_end");
        }
        _ => {
            same(what, ours.stream_position().await, std.stream_position());
            assert_eq!(ours.metadata().await.unwrap().len(), std.metadata().unwrap().len(), "{what}");
        }
    }
    let positions = (ours.stream_position().await.unwrap(), std.stream_position().unwrap());
    assert_eq!(positions.0, positions.1, "{what}: the cursor");
}

async fn step_at_the_cursor(what: &str, random: &mut Random, ours: &fs::File, mut std: &std::fs::File) {
    let len = random.below(10_000);
    match random.below(4) {
        0 => {
            let (mut a, mut b) = (vec![0; len as usize], vec![0; len as usize]);
            same(what, ours.read_exact(&mut a).await, std.read_exact(&mut b));
            assert_eq!(a, b, "{what}: read_exact");
        }
        1 => {
            let buf = vec![0; len as usize + 1];
            let mut expected = buf.clone();
            let n = std.read(&mut expected).unwrap();
            let (mut m, mut got) = ours.read_owned(buf).await.unwrap();
            // Only a part may have been in memory; but something was, unless this is the end.
            while 0 < m && m < n {
                let (more, rest) = ours.read_owned(got.slice(m..)).await.unwrap();
                assert!(more > 0, "{what}: an end at {m} of {n}");
                (m, got) = (m + more, rest.into_inner());
            }
            assert_eq!((m, &got[..m]), (n, &expected[..n]), "{what}: read_owned");
        }
        2 => {
            let bytes = bytes(random, 10_000);
            same(what, ours.write_all(&bytes).await, std.write_all(&bytes));
        }
        _ => {
            let bytes = bytes(random, 10_000);
            std.write_all(&bytes).unwrap();
            ours.write_all_owned(bytes).await.unwrap();
        }
    }
}

async fn step_at_an_offset(what: &str, random: &mut Random, ours: &fs::File, std: &std::fs::File, offset: u64) {
    let len = random.below(10_000);
    match random.below(4) {
        0 => {
            let (mut a, mut b) = (vec![0; len as usize], vec![0; len as usize]);
            same(what, ours.read_exact_at(&mut a, offset).await, std.read_exact_at(&mut b, offset));
            assert_eq!(a, b, "{what}: read_exact_at");
        }
        1 => {
            let mut expected = vec![0; len as usize];
            let read = std.read_exact_at(&mut expected, offset);
            let given = ours.read_exact_at_owned(vec![0; len as usize], offset).await;
            let given = given.map(|((), buf)| assert_eq!(buf, expected, "{what}: read_exact_at_owned"));
            same(what, given.map_err(io::Error::from), read);
        }
        2 => {
            let bytes = bytes(random, 10_000);
            same(what, ours.write_all_at(&bytes, offset).await, std.write_all_at(&bytes, offset));
        }
        _ => {
            let bytes = bytes(random, 10_000);
            std.write_all_at(&bytes, offset).unwrap();
            ours.write_all_at_owned(bytes, offset).await.unwrap();
        }
    }
}

/// The same value, or the same error in kind, number and text. Both values are given back.
#[track_caller]
fn same<T: Debug, U: Debug>(what: &str, ours: io::Result<T>, std: io::Result<U>) -> Option<(T, U)> {
    match (ours, std) {
        (Ok(ours), Ok(std)) => {
            // What prints alike is alike, except what holds a descriptor.
            let is_plain = std::any::type_name::<T>() == std::any::type_name::<U>();
            assert!(!is_plain || format!("{ours:?}") == format!("{std:?}"), "{what}: {ours:?} instead of {std:?}");
            Some((ours, std))
        }
        (Err(ours), Err(std)) => {
            let told = |error: &io::Error| (error.kind(), error.raw_os_error(), error.to_string());
            assert_eq!(told(&ours), told(&std), "{what}");
            None
        }
        (ours, std) => panic!("{what}: {ours:?} instead of {std:?}"),
    }
}

/// By path and by descriptor, also of a file whose name has gone.
/// Catches: a stat by path where the descriptor is meant; two fields that are exchanged.
async fn metadata_is_the_same_field_by_field() {
    let folder = Folder::new();
    let file = folder.file("file");
    std::fs::write(&file, vec![1; 70_000]).unwrap();
    std::os::unix::fs::symlink(&file, folder.file("link")).unwrap();
    std::fs::hard_link(&file, folder.file("second name")).unwrap();
    let link = folder.file("link");
    for path in [&*file, &*folder, &*link, Path::new("/dev/null"), Path::new("/proc/self/stat")] {
        let what = path.display().to_string();
        compare(&what, &fs::metadata(path).await.unwrap(), &std::fs::metadata(path).unwrap());
        compare(&what, &fs::symlink_metadata(path).await.unwrap(), &std::fs::symlink_metadata(path).unwrap());
    }

    let open = fs::File::open(&file).await.unwrap();
    let std = std::fs::File::open(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "another one").unwrap();
    compare("without its name", &open.metadata().await.unwrap(), &std.metadata().unwrap());
    assert_eq!(open.metadata().await.unwrap().nlink(), 1);
}

#[track_caller]
fn compare(what: &str, ours: &fs::Metadata, std: &std::fs::Metadata) {
    let numbers = |told: &dyn MetadataExt| {
        [told.dev(), told.ino(), told.nlink(), told.rdev(), told.size(), told.blksize(), told.blocks()]
    };
    let owners = |told: &dyn MetadataExt| [told.mode(), told.uid(), told.gid()];
    let times = |told: &dyn MetadataExt| {
        [told.atime(), told.atime_nsec(), told.mtime(), told.mtime_nsec(), told.ctime(), told.ctime_nsec()]
    };
    assert_eq!(numbers(ours), numbers(std), "{what}");
    assert_eq!(owners(ours), owners(std), "{what}");
    assert_eq!(times(ours), times(std), "{what}");
    assert_eq!(ours.len(), std.len(), "{what}");
    assert_eq!(ours.permissions(), std.permissions(), "{what}");
    assert_eq!(ours.modified().unwrap(), std.modified().unwrap(), "{what}");
    assert_eq!(ours.accessed().unwrap(), std.accessed().unwrap(), "{what}");
    same(what, ours.created(), std.created());
    let (kind, std_kind) = (ours.file_type(), std.file_type());
    assert_eq!(
        [kind.is_dir(), kind.is_file(), kind.is_symlink(), kind.is_fifo(), kind.is_socket(), kind.is_char_device()],
        [
            std_kind.is_dir(),
            std_kind.is_file(),
            std_kind.is_symlink(),
            std_kind.is_fifo(),
            std_kind.is_socket(),
            std_kind.is_char_device()
        ],
        "{what}"
    );
}

/// More entries than one trip to the pool brings, with names that are no UTF-8 and have line breaks.
/// Catches: a batch that ends the directory; `.` and `..` told.
async fn a_directory_lists_what_std_lists() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = Folder::new();
    std::fs::create_dir(folder.file("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.file("link")).unwrap();
    std::fs::write(folder.join(OsStr::from_bytes(b"not \xff utf-8")), "").unwrap();
    std::fs::write(folder.file("line\nbreak"), "").unwrap();
    for number in 0..600 {
        std::fs::write(folder.file(&format!("file {number}")), "").unwrap();
    }
    let mut expected: Vec<_> = std::fs::read_dir(&*folder)
        .unwrap()
        .map(|entry| {
            use std::os::unix::fs::DirEntryExt;
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            (
                entry.path(),
                entry.file_name(),
                entry.ino(),
                kind.is_dir(),
                kind.is_symlink(),
                entry.metadata().unwrap().ino(),
            )
        })
        .collect();
    let mut listed = Vec::new();
    let mut entries = fs::read_dir(&*folder).await.unwrap();
    while let Some(entry) = entries.next().await {
        let entry = entry.unwrap();
        let kind = entry.file_type().await.unwrap();
        let inode = entry.metadata().await.unwrap().ino();
        listed.push((entry.path(), entry.file_name(), entry.ino(), kind.is_dir(), kind.is_symlink(), inode));
    }
    assert!(entries.next().await.is_none(), "the end stays the end");
    expected.sort();
    listed.sort();
    assert_eq!(listed, expected);
}

/// Also files of /proc, which tell no length, and text that is none.
async fn whole_files_are_what_std_reads_and_writes() {
    let folder = Folder::new();
    let path = folder.file("file");
    for len in [0, 1, 31, 32, 33, 8191, 8192, 8193, 262_143, 262_144, 262_145, 3_000_000] {
        let contents: Vec<u8> = (0..len).map(|at: u32| at.wrapping_mul(31).to_le_bytes()[1]).collect();
        fs::write(&path, &contents).await.unwrap();
        assert!(std::fs::read(&path).unwrap() == contents, "write of {len} bytes");
        assert!(fs::read(&path).await.unwrap() == contents, "read of {len} bytes");
        same("text", fs::read_to_string(&path).await, std::fs::read_to_string(&path));
        let mut text = "kept".to_owned();
        let mut std_text = text.clone();
        let read = fs::File::open(&path).await.unwrap().read_to_string(&mut text).await;
        same("text", read, std::fs::File::open(&path).unwrap().read_to_string(&mut std_text));
        assert_eq!(text, std_text);
    }
    assert_eq!(fs::read("/proc/version").await.unwrap(), std::fs::read("/proc/version").unwrap());
    assert_eq!(fs::read("/dev/null").await.unwrap(), b"");
}

//! What fails in std fails here with the same error; and arguments that the kernel would misread never reach it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;

#[macro_use]
#[path = "../../runtime/tests/common/real_drivers.rs"]
mod real_drivers;
#[path = "common/folder.rs"]
mod folder;

use folder::Folder;

on_ring_and_fallback! {
    bad_paths_fail_as_in_std,
    an_offset_that_is_no_offset_is_refused_and_moves_nothing,
    offsets_beyond_four_gibibytes_are_whole,
    empty_transfers_do_nothing_and_empty_given_buffers_are_refused,
    a_transfer_of_nothing_is_refused_as_in_std,
    what_has_no_offsets_is_refused_as_in_std,
    a_mode_and_the_umask_count_as_in_std,
    flags_that_open_ignores_are_ignored,
    a_confined_path_never_leads_out,
}

#[track_caller]
fn same<T, U>(what: &str, ours: io::Result<T>, std: io::Result<U>) {
    let told = |error: io::Error| (error.kind(), error.raw_os_error(), error.to_string());
    assert_eq!(ours.map(drop).map_err(told), std.map(drop).map_err(told), "{what}");
}

/// Catches: a path that is cut at its NUL.
async fn bad_paths_fail_as_in_std() {
    let folder = Folder::new();
    std::fs::write(folder.file("file"), "x").unwrap();
    std::os::unix::fs::symlink("loop", folder.file("loop")).unwrap();
    let deep = "d/".repeat(2500);
    let mut paths: Vec<PathBuf> = vec![PathBuf::new(), "file\0tail".into(), deep.into(), "x".repeat(1 << 20).into()];
    for name in ["absent", "file/below", "loop", "absent/below"] {
        paths.push(folder.file(name));
    }
    for len in [255, 256] {
        paths.push(folder.file(&"n".repeat(len)));
    }
    for path in &paths {
        let what = format!("{:.60}", path.display().to_string());
        same(&what, fs::File::open(path).await, std::fs::File::open(path));
        same(&what, fs::metadata(path).await, std::fs::metadata(path));
        same(&what, fs::symlink_metadata(path).await, std::fs::symlink_metadata(path));
        same(&what, fs::exists(path).await, std::fs::exists(path));
        same(&what, fs::read(path).await, std::fs::read(path));
        same(&what, fs::read_dir(path).await, std::fs::read_dir(path));
    }
    let directory: &Path = &folder;
    same("write a directory", fs::File::create(directory).await, std::fs::File::create(directory));
    same("read a directory", fs::read(directory).await, std::fs::read(directory));
    same("list a file", fs::read_dir(folder.file("file")).await, std::fs::read_dir(folder.file("file")));
    if rustix::process::geteuid().is_root() {
        runtime::testing::skipped(format_args!("root may open what has no permissions"));
    } else {
        let nothing = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        std::fs::set_permissions(folder.file("file"), nothing).unwrap();
        same("no permission", fs::File::open(folder.file("file")).await, std::fs::File::open(folder.file("file")));
    }
}

/// `u64::MAX` would read at the cursor, and move it.
/// Catches: an offset that goes to the kernel unchecked.
async fn an_offset_that_is_no_offset_is_refused_and_moves_nothing() {
    let folder = Folder::new();
    std::fs::write(folder.file("file"), "some text").unwrap();
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).open(folder.file("file")).await.unwrap();
    for offset in [u64::MAX, u64::MAX - 1, 1 << 63] {
        assert_eq!(file.read_at(&mut [0; 4], offset).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(file.write_at(b"oops", offset).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        let refused = file.read_at_owned([0; 4], offset).await.unwrap_err();
        assert_eq!((refused.kind(), refused.into_buf()), (ErrorKind::InvalidInput, [0; 4]));
        let refused = file.write_at_owned(*b"oops", offset).await.unwrap_err();
        assert_eq!((refused.kind(), refused.into_buf()), (ErrorKind::InvalidInput, *b"oops"));
    }
    let largest = i64::MAX.cast_unsigned();
    let std = std::fs::File::open(folder.file("file")).unwrap();
    same("the largest", file.read_at(&mut [0; 4], largest).await, std.read_at(&mut [0; 4], largest));
    let given = file.read_at_owned([0; 4], largest).await.map_err(io::Error::from);
    same("the largest", given, std.read_at(&mut [0; 4], largest));
    assert_eq!(file.stream_position().await.unwrap(), 0);
    assert_eq!(std::fs::read(folder.file("file")).unwrap(), b"some text");
}

/// In a file that is mostly a hole.
/// Catches: an offset that is kept in 32 bits.
async fn offsets_beyond_four_gibibytes_are_whole() {
    let folder = Folder::new();
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).open(folder.file("sparse")).await.unwrap();
    let offsets = [(1 << 31) - 4, (1 << 32) - 4, (1 << 32) + 4, (1 << 40) - 8_u64];
    for offset in offsets {
        file.write_all_at(&offset.to_le_bytes()[..4], offset).await.unwrap();
        file.write_all_at_owned(offset.to_be_bytes()[4..].to_vec(), offset + 4).await.unwrap();
    }
    for offset in offsets {
        let mut lent = [0; 8];
        file.read_exact_at(&mut lent, offset).await.unwrap();
        let ((), given) = file.read_exact_at_owned([0; 8], offset).await.unwrap();
        let expected = [&offset.to_le_bytes()[..4], &offset.to_be_bytes()[4..]].concat();
        assert_eq!((&lent[..], &given[..]), (&*expected, &*expected), "offset {offset}");
    }
}

/// A given buffer without length is a mistake: it has capacity perhaps, and 0 would look like the end.
async fn empty_transfers_do_nothing_and_empty_given_buffers_are_refused() {
    let folder = Folder::new();
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create(true).open(folder.file("file")).await.unwrap();
    assert_eq!(file.read(&mut []).await.unwrap(), 0);
    assert_eq!(file.read_at(&mut [], 0).await.unwrap(), 0);
    assert_eq!(file.write(b"").await.unwrap(), 0);
    assert_eq!(file.write_at(b"", 0).await.unwrap(), 0);
    file.write_all(b"").await.unwrap();
    file.read_exact(&mut []).await.unwrap();
    file.read_exact_owned(Vec::new()).await.unwrap();
    file.write_all_owned(Vec::new()).await.unwrap();
    let refused = file.read_owned(Vec::with_capacity(4096)).await.unwrap_err();
    assert_eq!((refused.kind(), refused.into_buf().capacity()), (ErrorKind::InvalidInput, 4096));
    assert_eq!(file.read_at_owned([0; 0], 0).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(file.metadata().await.unwrap().len(), 0);
}

/// Catches: an empty buffer that is answered without asking whether the file was opened for that, or has offsets.
async fn a_transfer_of_nothing_is_refused_as_in_std() {
    let folder = Folder::new();
    let path = folder.file("file");
    std::fs::write(&path, "x").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let open = |options: &std::fs::OpenOptions| options.open(&path).unwrap();
    let files = [
        ("to read", open(std::fs::OpenOptions::new().read(true))),
        ("to write", open(std::fs::OpenOptions::new().write(true))),
        ("to append", open(std::fs::OpenOptions::new().append(true))),
        ("a path", open(std::fs::OpenOptions::new().read(true).custom_flags(OFlags::PATH.bits().cast_signed()))),
        ("an empty pipe", OwnedFd::from(reader).into()),
        ("a pipe with room", OwnedFd::from(writer).into()),
    ];
    for (what, mut std) in files {
        let ours = fs::File::from_std(std.try_clone().unwrap());
        same(&format!("{what}: read"), ours.read(&mut []).await, std.read(&mut []));
        same(&format!("{what}: read_at"), ours.read_at(&mut [], 0).await, std.read_at(&mut [], 0));
        same(&format!("{what}: write"), ours.write(&[]).await, std.write(&[]));
        same(&format!("{what}: write_at"), ours.write_at(&[], 0).await, std.write_at(&[], 0));
        let given = ours.write_owned(Vec::new()).await.map_err(io::Error::from);
        same(&format!("{what}: write_owned"), given, std.write(&[]));
    }
}

/// A ring takes no heed of the offset of a pipe.
/// Catches: a read at an offset that takes what comes next, for good if it is dropped; a write that is appended.
async fn what_has_no_offsets_is_refused_as_in_std() {
    let (pipe_reader, mut pipe_writer) = std::io::pipe().unwrap();
    let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    pipe_writer.write_all(b"hello").unwrap();
    peer.write_all(b"hello").unwrap();
    let files: [(&str, OwnedFd); 4] = [
        ("a pipe to read", pipe_reader.into()),
        ("a pipe to write", pipe_writer.into()),
        ("a socket", socket.into()),
        ("a text of the kernel's", std::fs::File::open("/proc/self/limits").unwrap().into()),
    ];
    for (what, fd) in files {
        let std = std::fs::File::from(fd);
        let ours = fs::File::from_std(std.try_clone().unwrap());
        let given = ours.read_at_owned([0; 4], 3).await.map(|(n, _buf)| n).map_err(io::Error::from);
        let by_std = std.read_at(&mut [0; 4], 3);
        same(&format!("{what}: read_at_owned"), given, by_std);
        same(&format!("{what}: read_at"), ours.read_at(&mut [0; 4], 3).await, std.read_at(&mut [0; 4], 3));
        let given = ours.write_at_owned("more", 3).await.map(|(n, _buf)| n).map_err(io::Error::from);
        same(&format!("{what}: write_at_owned"), given, std.write_at(b"more", 3));
        same(&format!("{what}: write_at"), ours.write_at(b"more", 3).await, std.write_at(b"more", 3));
        if let "a pipe to read" | "a socket" = what {
            let (n, buf) = ours.read_owned([0; 8]).await.unwrap();
            assert_eq!(&buf[..n], b"hello", "{what}");
        }
    }
}

async fn a_mode_and_the_umask_count_as_in_std() {
    let folder = Folder::new();
    for mode in [0o666, 0o600, 0o755, 0o4755, 0o170_644] {
        let (ours, std) = (folder.file(&format!("ours {mode:o}")), folder.file(&format!("std {mode:o}")));
        fs::OpenOptions::new().write(true).create(true).mode(mode).open(&ours).await.unwrap();
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(&std).unwrap();
        let permissions = |path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&ours), permissions(&std), "{mode:o}");
    }
}

/// openat2(2), which the ring speaks, refuses much that open(2) overlooks.
/// Catches: custom flags and modes that are handed on as they come.
async fn flags_that_open_ignores_are_ignored() {
    let folder = Folder::new();
    std::fs::write(folder.file("file"), "x").unwrap();
    const O_PATH: i32 = 0o10_000_000;
    const O_NONBLOCK: i32 = 0o4000;
    for flags in [1 << 30, 0b11, O_NONBLOCK, O_PATH, O_PATH | O_NONBLOCK] {
        let path = folder.file("file");
        let ours = fs::OpenOptions::new().read(true).custom_flags(flags).open(&path).await;
        let std = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(&path);
        same(&format!("flags {flags:o}"), ours.as_ref().map_err(copy_of), std.as_ref().map_err(copy_of));
        let (ours, std) = (ours.unwrap(), std.unwrap());
        let read = |file| rustix::fs::fcntl_getfl(file).unwrap();
        assert_eq!(read(rustix::fd::AsFd::as_fd(&ours)), read(rustix::fd::AsFd::as_fd(&std)), "{flags:o}");
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    io::Error::from_raw_os_error(error.raw_os_error().unwrap_or_default())
}

/// Catches: a path that is looked at first and opened then; `..` and absolute links that are followed.
async fn a_confined_path_never_leads_out() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.file("root/inner")).unwrap();
    std::fs::write(folder.file("secret"), "outside").unwrap();
    std::fs::write(folder.file("root/inner/page"), "inside").unwrap();
    std::os::unix::fs::symlink("../secret", folder.file("root/up")).unwrap();
    std::os::unix::fs::symlink(folder.file("secret"), folder.file("root/absolute")).unwrap();
    std::os::unix::fs::symlink("inner", folder.file("root/within")).unwrap();

    let root = fs::Dir::open(folder.file("root")).await.unwrap();
    let absolute = folder.file("root/inner/page");
    let outside = ["../secret", "inner/../../secret", "up", "absolute", "/etc/passwd", absolute.to_str().unwrap()];
    for path in outside {
        assert_eq!(root.open_file(path).await.unwrap_err().kind(), ErrorKind::CrossesDevices, "{path}");
        assert_eq!(root.metadata(path).await.unwrap_err().kind(), ErrorKind::CrossesDevices, "{path}");
    }
    assert_eq!(root.read_dir("..").await.unwrap_err().kind(), ErrorKind::CrossesDevices);
    assert_eq!(root.open_dir("..").await.unwrap_err().kind(), ErrorKind::CrossesDevices);
    assert_eq!(root.open_file("").await.unwrap_err().kind(), ErrorKind::NotFound);

    std::fs::rename(folder.file("root"), folder.file("renamed")).unwrap();
    for path in ["inner/page", "within/page", "inner/../inner/page"] {
        let file = root.open_file(path).await.unwrap();
        let (n, text) = file.read_at_owned([0; 16], 0).await.unwrap();
        assert_eq!(&text[..n], b"inside", "{path}");
        assert_eq!(root.metadata(path).await.unwrap().len(), 6, "{path}");
    }
    let mut entries = root.open_dir("inner").await.unwrap().read_dir(".").await.unwrap();
    assert_eq!(entries.next().await.unwrap().unwrap().file_name(), "page");
    assert!(entries.next().await.is_none());
}

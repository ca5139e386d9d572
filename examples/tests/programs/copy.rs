//! `copy`, run as users run it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use crate::folder::{Folder, pattern};
use crate::program::beside_others;

fn copy(source: &Path, destination: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copy")).arg(source).arg(destination).output().unwrap()
}

#[track_caller]
fn assert_copies(source: &Path, destination: &Path) {
    let output = copy(source, destination);
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}

#[track_caller]
fn assert_fails(source: &Path, destination: &Path, words: &str) {
    let output = copy(source, destination);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(words) && complaint.lines().count() == 1, "{complaint}");
}

/// Catches: lanes that take the same piece, or leave one out; a last piece that is written whole.
#[test]
fn files_of_all_lengths_are_copied_byte_for_byte() {
    let _turn = beside_others();
    let folder = Folder::new();
    let destination = folder.path().join("copy");
    for length in [0, 1, 131_071, 131_072, 131_073, 8 * 131_072, 8 * 131_072 + 1, 5_000_000] {
        let source = folder.write("source", pattern(length));
        assert_copies(&source, &destination);
        assert!(fs::read(&destination).unwrap() == pattern(length), "{length} bytes: not the same");
        fs::remove_file(&destination).unwrap();
    }
}

#[test]
fn what_was_there_before_is_gone_and_the_permissions_are_kept() {
    let _turn = beside_others();
    let folder = Folder::new();
    let source = folder.write("source", "short");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o500)).unwrap();
    let (new, old) = (folder.path().join("new"), folder.write("old", pattern(10_000)));
    assert_copies(&source, &new);
    assert_copies(&source, &old);
    assert_eq!(fs::read(&old).unwrap(), b"short");
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o500);
}

#[test]
fn a_file_of_proc_which_tells_no_length_is_copied_to_its_end() {
    let _turn = beside_others();
    let folder = Folder::new();
    let destination = folder.path().join("copy");
    assert_copies(Path::new("/proc/filesystems"), &destination);
    assert_eq!(fs::read(&destination).unwrap(), fs::read("/proc/filesystems").unwrap());
}

/// Catches: a destination that is emptied before it is known not to be the source.
#[test]
fn a_file_is_not_copied_onto_itself() {
    let _turn = beside_others();
    let folder = Folder::new();
    let source = folder.write("source", "content");
    let (link, hard_link) = (folder.path().join("link"), folder.path().join("hard-link"));
    symlink("source", &link).unwrap();
    fs::hard_link(&source, &hard_link).unwrap();
    for itself in [&source, &link, &hard_link] {
        assert_fails(&source, itself, "is the source itself");
        assert_eq!(fs::read(&source).unwrap(), b"content");
    }
}

#[test]
fn an_error_names_the_file_that_it_is_about() {
    let _turn = beside_others();
    let folder = Folder::new();
    let source = folder.write("source", pattern(5_000_000));
    let destination = folder.path().join("copy");
    assert_fails(&folder.path().join("nowhere"), &destination, "nowhere: No such file");
    assert_fails(folder.path(), &destination, "is a directory");
    assert_fails(Path::new("/dev/null"), &destination, "/dev/null: is no regular file");
    assert!(!destination.exists(), "it was created for nothing");
    assert_fails(&source, folder.path(), "Is a directory");
    assert_fails(&source, &folder.path().join("no/such/folder"), "folder: No such file");
    assert_fails(&source, Path::new("/dev/full"), "/dev/full: No space left");
}

#[test]
fn a_wrong_number_of_names_is_answered_by_the_usage() {
    let _turn = beside_others();
    for arguments in [&[][..], &["one"], &["one", "two", "three"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_copy")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8(output.stderr).unwrap().contains("usage: copy SOURCE DESTINATION"));
    }
    let help = Command::new(env!("CARGO_BIN_EXE_copy")).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"Copies a file"));
}

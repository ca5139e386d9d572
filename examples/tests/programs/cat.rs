//! `cat`, run as users run it.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::folder::{Folder, pattern};
use crate::program::beside_others;

/// Runs it in `folder`, with `input` on its standard input.
fn cat(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cat"));
    command.args(arguments).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            // It need not read it.
            let _unread = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}

#[track_caller]
fn assert_wrote(output: &Output, expected: &[u8]) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == expected, "{} bytes, and not the {} expected", output.stdout.len(), expected.len());
}

#[test]
fn files_and_standard_input_come_out_in_the_order_of_their_names() {
    let _turn = beside_others();
    let folder = Folder::new();
    let (small, large, piped) = (b"small\n", pattern(3_000_000), pattern(1_000_003));
    folder.write("small", small);
    folder.write("empty", "");
    folder.write("large", &large);
    assert_wrote(&cat(folder.path(), &["small"], b""), small);
    assert_wrote(&cat(folder.path(), &["large", "empty", "small"], b""), &[&large[..], small].concat());
    assert_wrote(&cat(folder.path(), &["small", "-", "large"], &piped), &[small, &piped[..], &large].concat());
    assert_wrote(&cat(folder.path(), &["-"], &piped), &piped);
    assert_wrote(&cat(folder.path(), &[], &piped), &piped);
    assert_wrote(&cat(folder.path(), &["-", "-"], b"once"), b"once");
}

#[test]
fn a_file_of_proc_which_tells_no_length_is_read_to_its_end() {
    let _turn = beside_others();
    let output = cat(Path::new("/"), &["/proc/self/limits"], b"");
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"Limit") && output.stdout.ends_with(b"\n"));
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_written() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("a", "a");
    folder.write("b", "b");
    let output = cat(folder.path(), &["a", "nowhere", ".", "b"], b"");
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"ab"[..]));
    assert!(complaints.contains("cat: nowhere: No such file") && complaints.contains("cat: .: Is a directory"));
    assert_eq!(complaints.lines().count(), 2, "{complaints}");
}

#[test]
fn a_full_disk_is_named() {
    let _turn = beside_others();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cat"));
    let output = command.arg("/proc/self/limits").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("standard output: No space left"), "{complaint}");
}

/// Catches: a cat that reads what it writes, for ever.
#[test]
fn a_file_that_is_written_to_is_not_read() {
    let _turn = beside_others();
    let folder = Folder::new();
    let path = folder.write("both", "content");
    let out = fs::File::options().append(true).open(&path).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cat"));
    let output = command.arg(&path).stdout(out).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("standard output too"));
    assert_eq!(fs::read(&path).unwrap(), b"content");
}

/// Catches: a cat that goes on without a reader, which ends only with its input, or that complains of it.
#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let _turn = beside_others();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cat"));
    command.arg("/dev/zero").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 1000]).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(1), &b""[..]));
}

#[test]
fn an_option_that_is_none_is_named() {
    let _turn = beside_others();
    let output = cat(Path::new("/"), &["-n"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr).unwrap().contains("unknown option -n; a file of that name is written ./-n")
    );
    assert!(cat(Path::new("/"), &["--help"], b"").stdout.starts_with(b"Writes files"));
}

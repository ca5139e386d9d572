//! How `serve` starts, and what it says when it cannot.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::folder::Folder;
use crate::program::{Program, beside_others, serve};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_serve")).args(arguments).output().unwrap()
}

/// Without what the runtime says of the machine, such as that it denies io_uring.
fn without_warnings(complaints: &str) -> String {
    complaints.lines().filter(|line| !line.contains("WARN runtime::")).map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn assert_refuses(arguments: &[&str], status: i32, words: &[&str]) {
    let output = run(arguments);
    let complaint = without_warnings(&String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    for word in words {
        assert!(complaint.contains(word), "{word:?} is not in {complaint:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_what_helps() {
    let _turn = beside_others();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_refuses(&["--addr", &address, "."], 1, &[&address, "in use", "another program listens there", "--addr"]);
}

#[test]
fn an_address_that_is_nobodys_here_is_named() {
    let _turn = beside_others();
    assert_refuses(&["--addr", "192.0.2.1:80"], 1, &["192.0.2.1:80", "no such address", "127.0.0.1"]);
}

#[test]
fn a_root_that_is_none_is_named_with_what_helps() {
    let _turn = beside_others();
    let folder = Folder::new();
    let file = folder.write("file.txt", "");
    let nowhere = folder.path().join("nowhere");
    assert_refuses(&[nowhere.to_str().unwrap()], 1, &["nowhere", "no such directory", "name one that exists"]);
    assert_refuses(&[file.to_str().unwrap()], 1, &["file.txt", "it is a file", "the directory that it is in"]);
}

/// Each of the descriptors that it opens as it starts is the one too many once.
/// Catches: a refusal that advises to take another directory, or another address.
#[test]
fn too_few_descriptors_are_named_with_what_helps() {
    let _turn = beside_others();
    let folder = Folder::new();
    // With three it could not even load its libraries.
    for descriptors in 4..30 {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &descriptors.to_string()]);
        command.args([env!("CARGO_BIN_EXE_serve"), "--addr", "127.0.0.1:0"]).arg(folder.path());
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let is_serving = line.starts_with("serving ");
        if is_serving {
            server.kill().unwrap();
        }
        let output = server.wait_with_output().unwrap();
        if is_serving {
            assert!(descriptors > 4, "nothing was refused");
            return;
        }
        let complaint = without_warnings(&String::from_utf8(output.stderr).unwrap());
        assert_eq!((output.status.code(), complaint.lines().count()), (Some(1), 1), "{descriptors}: {complaint}");
        for words in ["Too many open files", "ulimit -n"] {
            assert!(complaint.contains(words), "{descriptors}: {words:?} is not in {complaint:?}");
        }
    }
    panic!("it does not start with 29 descriptors");
}

#[test]
fn a_wrong_argument_is_named_and_help_is_help() {
    let _turn = beside_others();
    assert_refuses(&["--verbose"], 2, &["--verbose", "--help"]);
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("usage: serve"));
}

/// Catches: a root that is looked up by its name for each request.
#[test]
fn the_root_stays_the_same_directory_when_it_is_renamed() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("root/file.txt", "text");
    let server = Program::start(serve(&folder.path().join("root"), &[]));
    std::fs::rename(folder.path().join("root"), folder.path().join("elsewhere")).unwrap();
    folder.write("root/file.txt", "another");
    assert_eq!(crate::client::Client::connect(server.address).get("/file.txt").text(), "text");
    server.stop();
}

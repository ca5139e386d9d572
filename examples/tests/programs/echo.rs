//! `echo`, run as users run it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use crate::folder::pattern;
use crate::program::{PATIENCE, Program, beside_others};

fn echo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(arguments);
    command
}

/// Sends it all while it reads what comes back, and closes one side in the end.
pub fn converse(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = Vec::new();
    thread::scope(|scope| {
        let mut sending = &stream;
        scope.spawn(move || {
            sending.write_all(sent).unwrap();
            sending.shutdown(Shutdown::Write).unwrap();
        });
        (&stream).read_to_end(&mut received).unwrap();
    });
    received
}

#[test]
fn all_that_is_sent_comes_back_lent_or_given() {
    let _turn = beside_others();
    for options in [&["--addr", "127.0.0.1:0"][..], &["--addr", "127.0.0.1:0", "--owned"]] {
        let server = Program::start(echo(options));
        thread::scope(|scope| {
            for length in [0, 1, 100, 16 * 1024, 16 * 1024 + 1, 2_000_000] {
                let address = server.address;
                scope.spawn(move || {
                    let sent = pattern(length);
                    assert!(converse(address, &sent) == sent, "{options:?}, {length} bytes: not the same");
                });
            }
        });
        server.stop();
    }
}

#[test]
fn ctrl_c_ends_it_with_clients_connected() {
    let _turn = beside_others();
    let server = Program::start(echo(&["--addr", "127.0.0.1:0"]));
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    server.stop();
}

#[test]
fn an_argument_or_address_that_is_wrong_is_named() {
    let _turn = beside_others();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, status, words) in [
        (&["--addr", &taken][..], 1, "in use"),
        (&["--addr", "here"], 2, "here: not an address"),
        (&["--addr"], 2, "--addr wants"),
        (&["--nonsense"], 2, "--nonsense"),
    ] {
        let output = echo(arguments).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{complaint}");
        assert!(complaint.contains(words), "{complaint}");
    }
    let help = echo(&["--help"]).output().unwrap();
    assert!(help.status.success() && help.stdout.starts_with(b"Sends back"));
}

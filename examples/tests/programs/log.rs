//! What `serve --log` prints.

use crate::client::Client;
use crate::folder::Folder;
use crate::program::{PATIENCE, Program, beside_others, serve};

/// Catches: a line that is cut or mixed with another; one that lets a client write to the terminal.
#[test]
fn each_request_is_a_line_in_the_order_of_the_responses() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("a b.txt", "0123456789");
    let server = Program::start(serve(folder.path(), &["--log"]));
    let mut client = Client::connect(server.address);
    client.get("/a%20b.txt");
    client.ask("HEAD", "/a%20b.txt", &[]);
    client.ask("GET", "/a%20b.txt", &["Range: bytes=2-4"]);
    client.get("/nowhere?query");
    client.ask("DELETE", "/a%20b.txt", &[]);
    client.send("\x1b[2J\r\n\r\n");
    client.receive(false);
    client.expect_end();

    for expected in [
        "GET /a%20b.txt 200 10 ",
        "HEAD /a%20b.txt 200 0 ",
        "GET /a%20b.txt 206 3 ",
        "GET /nowhere?query 404 14 ",
        "DELETE /a%20b.txt 405 23 ",
        "- - 400 16 ",
    ] {
        let line = server.lines.recv_timeout(PATIENCE).unwrap();
        let took = line.strip_prefix(expected).unwrap_or_else(|| panic!("{line:?} instead of {expected:?}"));
        let microseconds = took.strip_suffix("us").and_then(|number| number.parse::<u64>().ok());
        assert!(microseconds.is_some(), "{line}");
    }
    server.stop();
}

/// Catches: a log that is printed although nobody asked for it.
#[test]
fn without_the_option_nothing_is_printed() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("a.txt", "0123456789");
    let server = Program::start(serve(folder.path(), &[]));
    assert_eq!(Client::connect(server.address).get("/a.txt").status, 200);
    server.interrupt();
    // Its standard output is closed by its end, and the channel by that.
    assert!(server.lines.recv_timeout(PATIENCE).is_err());
    assert_eq!(server.wait().0.code(), Some(0));
}

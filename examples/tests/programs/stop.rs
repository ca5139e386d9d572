//! How `serve` ends: gracefully at the first ctrl-c, at once at the second.

use std::fs::File;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::folder::{Folder, pattern};
use crate::program::{PATIENCE, Program, alone, serve};

const REQUEST: &str = "GET /large HTTP/1.1\r\nHost: h\r\n\r\n";

/// More than all socket buffers on the way together take.
const LARGE_LEN: usize = 48 << 20;

/// What a response in flight is given.
const GRACE: Duration = Duration::from_secs(1);

/// A server with a large file, and a client that has begun to read it.
fn reading(folder: &Folder) -> (Program, Client) {
    let server = Program::start(serve(folder.path(), &[]));
    let mut client = Client::connect(server.address);
    client.send(REQUEST);
    assert_eq!(client.receive_head().length(), Some(u64::try_from(LARGE_LEN).unwrap()));
    (server, client)
}

fn with_a_large_file() -> Folder {
    let folder = Folder::new();
    File::create(folder.path().join("large")).unwrap().set_len(u64::try_from(LARGE_LEN).unwrap()).unwrap();
    folder
}

/// Waits until nobody listens any more, which is how a client sees that the signal has arrived.
fn wait_until_it_stops_accepting(server: &Program) {
    let began = Instant::now();
    while TcpStream::connect(server.address).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it still accepts");
        std::thread::yield_now();
    }
}

/// Catches: a stop that cuts all; one that goes on accepting until the last response is out.
#[test]
fn a_response_in_flight_is_finished_and_nobody_is_let_in_meanwhile() {
    let _turn = alone();
    let folder = Folder::new();
    let content = pattern(LARGE_LEN);
    folder.write("large", &content);
    let (mut server, mut client) = reading(&folder);
    server.interrupt();
    wait_until_it_stops_accepting(&server);
    assert!(server.is_running(), "it has ended with a response in flight");

    let mut received = vec![0; LARGE_LEN];
    let mut filled = 0;
    while filled < LARGE_LEN {
        match client.read(&mut received[filled..]).unwrap() {
            0 => panic!("{filled} bytes arrived"),
            count => filled += count,
        }
    }
    assert!(received == content, "not the same");
    client.expect_end();
    let (status, _when) = server.wait();
    assert_eq!(status.code(), Some(0));
}

/// Catches: a stop that waits for the client, for ever; one that does not wait.
#[test]
fn a_client_that_does_not_read_is_cut_after_a_second() {
    let _turn = alone();
    let folder = with_a_large_file();
    let (mut server, mut client) = reading(&folder);
    let mut idle = Client::connect(server.address);
    assert_eq!(idle.ask("HEAD", "/large", &[]).status, 200);
    let began = Instant::now();
    server.interrupt();
    idle.expect_end();
    assert!(server.is_running(), "idle clients are closed only when the others are cut");
    let (status, ended) = server.wait();
    assert_eq!(status.code(), Some(0));
    let took = ended - began;
    assert!(took >= GRACE, "it has ended after {took:?}");
    assert!(took < GRACE * 3, "it has ended after {took:?}");

    // What was on the way arrives, and then there is an end or a reset, but never the whole.
    let (mut buf, mut received) = (vec![0; 1 << 20], 0);
    while let Ok(count @ 1..) = client.read(&mut buf) {
        received += count;
    }
    assert!(received < LARGE_LEN, "all of it has arrived");
}

/// Catches: a second signal that is not heard, or waits for the end of the grace.
#[test]
fn a_second_interrupt_ends_it_at_once() {
    let _turn = alone();
    let folder = with_a_large_file();
    let (server, _client) = reading(&folder);
    let began = Instant::now();
    server.interrupt();
    wait_until_it_stops_accepting(&server);
    server.interrupt();
    let (status, ended) = server.wait();
    assert_eq!(status.code(), Some(130), "as a shell says of a program that ctrl-c has ended");
    assert!(ended - began < GRACE, "it has ended after {:?}", ended - began);
}

/// Catches: idle connections that use up the second that is there for responses.
#[test]
fn idle_clients_keep_nobody_waiting() {
    let _turn = alone();
    let folder = Folder::new();
    folder.write("small", "small");
    let server = Program::start(serve(folder.path(), &[]));
    let mut clients: Vec<_> = (0..10).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients[1..] {
        assert_eq!(client.get("/small").text(), "small");
    }
    // Half a head is no response in flight either.
    clients[1].send("GET /small HT");
    let began = Instant::now();
    server.interrupt();
    let (status, ended) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(ended - began < GRACE, "it has ended after {:?}", ended - began);
}

/// Catches: a log whose last lines are lost; a response that was cut and left no line.
#[test]
fn the_log_tells_of_what_was_cut() {
    let _turn = alone();
    let folder = with_a_large_file();
    let server = Program::start(serve(folder.path(), &["--log"]));
    let mut client = Client::connect(server.address);
    client.send(REQUEST);
    client.receive_head();
    server.interrupt();
    let line = server.lines.recv_timeout(PATIENCE).unwrap();
    let fields: Vec<_> = line.split(' ').collect();
    assert_eq!(fields[..3], ["GET", "/large", "200"], "{line}");
    let sent: usize = fields[3].parse().unwrap();
    assert!(sent > 0 && sent < LARGE_LEN, "{line}");
    assert_eq!(server.wait().0.code(), Some(0));
}

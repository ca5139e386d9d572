//! What `serve` does at its limits: of descriptors, and of clients.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::client::Client;
use crate::folder::Folder;
use crate::program::{Program, alone, beside_others, serve};

/// How long a client may be silent as long as nobody needs its place.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A clock tick of /proc is 10 ms.
const TICK_MS: u64 = 10;

fn with_files() -> Folder {
    let folder = Folder::new();
    folder.write("small", "small");
    // Longer than what the sockets take, so that a client that does not read keeps its response in flight.
    fs::File::create(folder.path().join("large")).unwrap().set_len(64 << 20).unwrap();
    folder
}

/// A client that begins to read a large file, and goes no further.
fn stalled(server: &Program) -> Client {
    let mut client = Client::connect(server.address);
    client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.receive_head().status, 200);
    client
}

/// Lets it open so many descriptors more. Returns how many numbers it might use before.
fn limit_descriptors(pid: Pid, more: usize) -> Rlimit {
    let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).unwrap();
    let open: Vec<u64> = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    // The limit is on numbers, and the lowest that is free comes next.
    let mut free = (0..).filter(|number| !open.contains(number));
    let limit = Rlimit { current: free.nth(more), ..getrlimit(Resource::Nofile) };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap()
}

/// What it has used of the processor, all its threads together, those of the kernel for it too.
fn processor_ms(pid: Pid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    ticks * TICK_MS
}

/// Catches: an accept loop that asks again at once, which takes a whole core; one that ends with the first error.
#[test]
fn without_descriptors_it_waits_without_spinning_and_goes_on_when_there_are_some() {
    let _turn = alone();
    let folder = with_files();
    let server = Program::start(serve(folder.path(), &[]));
    // All descriptors are taken, and none by a client that could be sent away. The last of these two was accepted, and
    // its file opened, under the limit, so that no request made before is in flight.
    let first = stalled(&server);
    let before = limit_descriptors(server.pid(), 2);
    let stalled = [first, stalled(&server)];

    let mut waiting = Client::connect(server.address);
    waiting.send("GET /small HTTP/1.1\r\nHost: h\r\n\r\n");
    let used_before = processor_ms(server.pid());
    assert!(waiting.is_silent_for(Duration::from_secs(2)), "there was a descriptor for it");
    let used = processor_ms(server.pid()) - used_before;
    assert!(used <= 200, "it has used {used} ms of the processor in 2 s of waiting");
    let complaints = server.complaints();
    assert_eq!(complaints.matches("cannot accept").count(), 1, "{complaints}");
    assert!(complaints.contains("Too many open files") && complaints.contains("ulimit -n"), "{complaints}");

    drop(stalled);
    assert_eq!(waiting.receive(false).text(), "small");
    prlimit(Some(server.pid()), Resource::Nofile, before).unwrap();
    assert_eq!(Client::connect(server.address).get("/small").text(), "small");
    server.stop();
}

/// Catches: a server that keeps its idle clients while somebody waits at the door.
#[test]
fn without_descriptors_an_idle_client_makes_room_for_who_waits() {
    let _turn = alone();
    let folder = with_files();
    let server = Program::start(serve(folder.path(), &[]));
    let mut idle = Client::connect(server.address);
    assert_eq!(idle.get("/nowhere").status, 404);
    let before = limit_descriptors(server.pid(), 2);
    let _stalled = stalled(&server);
    let mut waiting = Client::connect(server.address);
    let began = Instant::now();
    idle.expect_end();
    assert!(began.elapsed() < IDLE_MAX / 2, "it was left for its silence, not for the other");
    // What needs no descriptor of its own.
    assert_eq!(waiting.get("/..").status, 404);
    prlimit(Some(server.pid()), Resource::Nofile, before).unwrap();
    server.stop();
}

#[test]
fn a_file_that_there_is_no_descriptor_for_is_unavailable_for_now() {
    let _turn = beside_others();
    let folder = with_files();
    let server = Program::start(serve(folder.path(), &[]));
    let mut client = Client::connect(server.address);
    assert_eq!(client.get("/small").status, 200);
    // Whose answer comes when that file is closed.
    assert_eq!(client.get("/nowhere").status, 404);
    let before = limit_descriptors(server.pid(), 0);
    assert_eq!(client.get("/small").status, 503);
    prlimit(Some(server.pid()), Resource::Nofile, before).unwrap();
    assert_eq!(client.get("/small").status, 200);
    server.stop();
}

/// So few descriptors that it lets in four clients only.
fn small_server(folder: &Folder) -> Program {
    let serve = serve(folder.path(), &[]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    Program::start(limited)
}

/// Catches: a server that lets everybody in; one that sends away whoever came last.
#[test]
fn a_full_server_closes_the_connection_that_was_idle_longest() {
    let _turn = beside_others();
    let folder = with_files();
    let server = small_server(&folder);
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(server.address)).collect();
    for place in [1, 0, 2, 3] {
        assert_eq!(clients[place].get("/small").status, 200);
    }
    // Somebody who was busy a moment ago is not sent away: at first the newcomer is.
    assert_eq!(Client::connect(server.address).receive(false).status, 503);
    assert!(clients[1].is_silent_for(Duration::from_millis(1100)));
    for place in [0, 2, 3] {
        assert_eq!(clients[place].get("/small").status, 200);
    }
    let mut fifth = Client::connect(server.address);
    assert_eq!(fifth.get("/small").status, 200);
    clients[1].expect_end();
    for place in [0, 2, 3] {
        assert_eq!(clients[place].get("/small").status, 200);
    }
    assert_eq!(fifth.get("/small").status, 200);
    server.stop();
}

/// Catches: closing at once, where a reset takes the answer away from a client that has sent its request.
#[test]
fn a_server_whose_connections_are_all_busy_answers_503_to_a_newcomer() {
    let _turn = alone();
    let folder = with_files();
    let server = small_server(&folder);
    let busy: Vec<_> = (0..4).map(|_| stalled(&server)).collect();
    let mut newcomer = Client::connect(server.address);
    let response = newcomer.get("/small");
    assert_eq!((response.status, response.field("Connection")), (503, Some("close")));
    newcomer.expect_end();
    drop(busy);
    server.stop();
}

//! `serve` under load: many clients at once, for a while, and every response right.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::folder::{Folder, pattern};
use crate::program::{Program, alone, is_installed, output, serve};

const CLIENTS: usize = 64;

/// What must come in ten seconds, without optimisation and on any driver.
const RESPONSES_MIN: u64 = 10_000;

const LOADED_FOR: Duration = Duration::from_secs(10);

fn small_file() -> (Folder, Program) {
    let folder = Folder::new();
    folder.write("small.bin", pattern(1000));
    let server = Program::start(serve(folder.path(), &[]));
    (folder, server)
}

/// A thread and a connection a client, each of which looks at every byte. It ends when there have been enough
/// responses.
#[test]
fn ten_thousand_responses_to_64_clients_are_all_right() {
    let _turn = alone();
    let (_folder, server) = small_file();
    let (content, address) = (pattern(1000), server.address);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                for _ in 0..RESPONSES_MIN.div_ceil(64) {
                    let response = client.get("/small.bin");
                    assert_eq!(response.status, 200, "{}", response.head);
                    assert!(response.body == content, "not the same");
                }
            });
        }
    });
    let took = began.elapsed();
    println!("a client of this test's own: {RESPONSES_MIN} responses to {CLIENTS} clients in {took:?}");
    assert!(took < LOADED_FOR, "{RESPONSES_MIN} responses took {took:?}");
    server.stop();
}

/// What `wrk` prints of a run: its total is there always, its errors only if there are some.
#[test]
fn wrk_with_64_clients_for_ten_seconds_sees_ten_thousand_responses_and_no_error() {
    let _turn = alone();
    if !is_installed("wrk") {
        return;
    }
    let (_folder, server) = small_file();
    let url = format!("http://{}/small.bin", server.address);
    let report = String::from_utf8(output("wrk", &["-c64", "-d10s", &url])).unwrap();
    println!("{report}");
    let total = report.lines().find_map(|line| line.split_once(" requests in "));
    let responses: u64 = total.expect("a total").0.trim().parse().unwrap();
    assert!(responses >= RESPONSES_MIN, "{responses} responses");
    assert!(!report.contains("Socket errors"), "{report}");
    assert!(!report.contains("Non-2xx"), "{report}");
    server.stop();
}

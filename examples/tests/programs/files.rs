//! What `serve` does with files: whole, in part, by their head only, or not again.

use std::process::Command;

use crate::client::Client;
use crate::folder::{Folder, pattern};
use crate::program::{Program, beside_others, is_installed, output, serve};

/// Around the length of a chunk, and around the first one, which the head of the response shares.
const LENGTHS: [usize; 10] = [0, 1, 1000, 130_700, 131_071, 131_072, 131_073, 262_144, 400_000, 3_000_000];

fn one_file(content: &[u8]) -> (Folder, Program) {
    let folder = Folder::new();
    folder.write("file.bin", content);
    let program = Program::start(serve(folder.path(), &[]));
    (folder, program)
}

#[test]
fn files_of_all_lengths_arrive_byte_for_byte_over_one_connection() {
    let _turn = beside_others();
    let folder = Folder::new();
    for length in LENGTHS {
        folder.write(&length.to_string(), pattern(length));
    }
    let server = Program::start(serve(folder.path(), &[]));
    let mut client = Client::connect(server.address);
    for length in LENGTHS {
        let response = client.get(&format!("/{length}"));
        assert_eq!(response.status, 200, "{}", response.head);
        assert!(response.body == pattern(length), "{length} bytes: not the same");
    }
    server.stop();
}

#[test]
fn curl_gets_a_file_byte_for_byte_a_range_a_head_and_a_404() {
    let _turn = beside_others();
    if !is_installed("curl") {
        return;
    }
    let content = pattern(3_000_000);
    let (_folder, server) = one_file(&content);
    let url = format!("http://{}/file.bin", server.address);
    let nowhere = format!("http://{}/nowhere", server.address);

    assert!(output("curl", &["-sS", &url]) == content, "the whole file: not the same");
    assert!(output("curl", &["-sS", "-r", "1000-200999", &url]) == content[1000..201_000], "a range: not the same");
    let status = ["-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
    assert_eq!(output("curl", &[&status[..], &["-r", "1000-200999", &url]].concat()), b"206 200000");
    assert_eq!(output("curl", &[&status[..], &["-I", &url]].concat()), b"200 0");
    assert_eq!(output("curl", &[&status[..], &[&nowhere]].concat()), b"404 14");
    let head = String::from_utf8(output("curl", &["-sS", "-I", &url])).unwrap();
    assert!(head.contains("\r\nContent-Length: 3000000\r\n"), "{head}");
    server.stop();
}

#[test]
fn a_range_is_that_part_of_the_file() {
    let _turn = beside_others();
    let content = pattern(400_000);
    let (_folder, server) = one_file(&content);
    let mut client = Client::connect(server.address);
    for (range, part) in [
        ("0-0", 0..1),
        ("0-999", 0..1000),
        ("1000-200999", 1000..201_000),
        ("399999-", 399_999..400_000),
        ("-1", 399_999..400_000),
        ("-300000", 100_000..400_000),
        ("131072-262143", 131_072..262_144),
        ("100-99999999", 100..400_000),
    ] {
        let response = client.ask("GET", "/file.bin", &[&format!("Range: bytes={range}")]);
        assert_eq!(response.status, 206, "{range}: {}", response.head);
        let place = format!("bytes {}-{}/400000", part.start, part.end - 1);
        assert_eq!(response.field("Content-Range"), Some(place.as_str()), "{range}");
        assert!(response.body == content[part], "{range}: not the same");
    }
    let beyond = client.ask("GET", "/file.bin", &["Range: bytes=400000-"]);
    assert_eq!((beyond.status, beyond.field("Content-Range")), (416, Some("bytes */400000")));
    let several = client.ask("GET", "/file.bin", &["Range: bytes=0-1,5-6"]);
    assert_eq!((several.status, several.body == content), (200, true));
    server.stop();
}

/// Catches: a body behind the answer to HEAD, which would be taken for the next response.
#[test]
fn head_tells_the_length_and_sends_nothing() {
    let _turn = beside_others();
    let (_folder, server) = one_file(&pattern(400_000));
    let mut client = Client::connect(server.address);
    let head = client.ask("HEAD", "/file.bin", &[]);
    assert_eq!((head.status, head.length()), (200, Some(400_000)));
    assert_eq!(client.ask("HEAD", "/nowhere", &[]).status, 404);
    assert_eq!(client.ask("HEAD", "/", &[]).status, 200);
    let whole = client.get("/file.bin");
    let without_date = |head: &str| head.lines().filter(|line| !line.starts_with("Date")).collect::<String>();
    assert_eq!(without_date(&whole.head), without_date(&head.head));
    assert_eq!(client.get("/nowhere").text(), "404 Not Found\n");
    server.stop();
}

#[test]
fn a_file_that_the_client_has_is_not_sent_again() {
    let _turn = beside_others();
    let (folder, server) = one_file(b"first");
    let mut client = Client::connect(server.address);
    let first = client.get("/file.bin");
    let (tag, date) = (first.field("ETag").unwrap(), first.field("Last-Modified").unwrap());
    let same_tag = format!("If-None-Match: {tag}");
    for line in [same_tag.as_str(), &format!("If-Modified-Since: {date}")] {
        let response = client.ask("GET", "/file.bin", &[line]);
        assert_eq!(response.status, 304, "{line}");
    }
    let part = client.ask("GET", "/file.bin", &["Range: bytes=1-2", &format!("If-Range: {tag}")]);
    assert_eq!((part.status, part.text()), (206, "ir"));
    let go_on = ["Range: bytes=1-2", &format!("If-Match: {tag}")];
    let part = client.ask("GET", "/file.bin", &go_on);
    assert_eq!((part.status, part.text()), (206, "ir"));

    folder.write("file.bin", b"second");
    let changed = client.ask("GET", "/file.bin", &[&same_tag]);
    assert_eq!((changed.status, changed.text()), (200, "second"));
    let whole = client.ask("GET", "/file.bin", &["Range: bytes=1-2", &format!("If-Range: {tag}")]);
    assert_eq!((whole.status, whole.text()), (200, "second"));
    let another = client.ask("GET", "/file.bin", &go_on);
    assert_eq!((another.status, another.text()), (412, "412 Precondition Failed\n"));
    server.stop();
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let _turn = beside_others();
    let folder = Folder::new();
    for number in 0..10 {
        folder.write(&number.to_string(), format!("this is {number}"));
    }
    let server = Program::start(serve(folder.path(), &[]));
    let mut client = Client::connect(server.address);
    // Far more than a head may have, so that heads lie across the ends of reads.
    let requests: String =
        (0..1000).map(|number| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", number % 10)).collect();
    let (begin, end) = requests.split_at(requests.len() / 2 + 7);
    client.send(begin);
    for number in 0..400 {
        assert_eq!(client.receive(false).text(), format!("this is {}", number % 10));
    }
    client.send(end);
    for number in 400..1000 {
        assert_eq!(client.receive(false).text(), format!("this is {}", number % 10));
    }
    server.stop();
}

#[test]
fn the_connection_is_kept_as_long_as_the_client_wants_it() {
    let _turn = beside_others();
    let (_folder, server) = one_file(b"content");
    let mut client = Client::connect(server.address);
    assert_eq!(client.get("/file.bin").field("Connection"), None);
    let last = client.ask("GET", "/file.bin", &["Connection: close"]);
    assert_eq!((last.field("Connection"), last.text()), (Some("close"), "content"));
    client.expect_end();

    let mut old = Client::connect(server.address);
    old.send("GET /file.bin HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(old.receive(false).field("Connection"), Some("keep-alive"));
    old.send("GET /file.bin HTTP/1.0\r\n\r\n");
    assert_eq!(old.receive(false).field("Connection"), Some("close"));
    old.expect_end();
    server.stop();
}

/// Catches: closing without lingering, where a reset takes the answer away from a client that is still sending.
#[test]
fn what_cannot_be_served_is_refused_and_the_client_hears_of_it() {
    let _turn = beside_others();
    let (_folder, server) = one_file(b"content");
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(10_000));
    let body = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{}", "b".repeat(100_000));
    for (request, status) in [
        ("GET /file.bin HTTP/1.1\r\n\r\n", "400 "),
        ("nonsense\r\n\r\n", "400 "),
        ("GET file.bin HTTP/1.1\r\nHost: h\r\n\r\n", "400 "),
        ("GET /file.bin HTTP/2.0\r\nHost: h\r\n\r\n", "505 "),
        (&long, "431 "),
        (&body, "405 "),
    ] {
        let mut client = Client::connect(server.address);
        client.send(request);
        let response = client.receive(false);
        assert!(response.head.starts_with(&format!("HTTP/1.1 {status}")), "{request:.60}: {}", response.head);
        // All but one of these end the connection; the path that is none is a request that was understood.
        if response.field("Connection") == Some("close") {
            client.expect_end();
        }
    }
    server.stop();
}

/// The same program on each driver, and with a ring and buffers so small that all of them fill up.
#[test]
fn every_driver_serves_the_same() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("file.bin", pattern(400_000));
    let tiny = [("GIMMAL_ENTRIES", "4"), ("GIMMAL_CQ_ENTRIES", "8"), ("GIMMAL_BUFFERS", "4")];
    for environment in [&[][..], &[("GIMMAL_DRIVER", "fallback")], &tiny] {
        let start = |mut command: Command| {
            Program::start({
                command.envs(environment.iter().copied());
                command
            })
        };
        let server = start(serve(folder.path(), &[]));
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(server.address)).collect();
        for client in &mut clients {
            client.send("GET /file.bin HTTP/1.1\r\nHost: h\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        for client in &mut clients {
            assert!(client.receive(false).body == pattern(400_000), "{environment:?}: not the same");
            assert_eq!(client.receive(false).status, 404, "{environment:?}");
            let part = client.ask("GET", "/file.bin", &["Range: bytes=200000-200009"]);
            assert_eq!(part.body, pattern(400_000)[200_000..200_010], "{environment:?}");
        }
        server.stop();
    }
}

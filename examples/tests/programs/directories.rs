//! What `serve` shows of a directory, and of what is neither a directory nor a file.

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::client::Client;
use crate::folder::Folder;
use crate::program::{Program, beside_others, serve};

#[test]
fn an_index_is_shown_instead_of_a_listing() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("index.html", "<p>root");
    folder.write("with/index.html", "<p>with");
    folder.write("without/a & b.txt", "text");
    folder.write("without/below/c.txt", "text");
    let server = Program::start(serve(folder.path(), &[]));
    let mut client = Client::connect(server.address);

    let root = client.get("/");
    assert_eq!((root.text(), root.field("Content-Type")), ("<p>root", Some("text/html; charset=utf-8")));
    assert_eq!(client.get("/with/").text(), "<p>with");
    let listing = client.get("/without/");
    assert_eq!(listing.field("Content-Type"), Some("text/html; charset=utf-8"));
    let links: Vec<_> = listing.text().lines().filter(|line| line.starts_with("<li>")).collect();
    let expected = ["../\">../", "below/\">below/", "a%20%26%20b.txt\">a &amp; b.txt"];
    assert_eq!(links, expected.map(|link| format!("<li><a href=\"{link}</a>")));
    assert_eq!(client.get("/without/a%20%26%20b.txt").text(), "text");
    server.stop();
}

#[test]
fn a_directory_without_its_slash_is_redirected() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("a b/c.txt", "text");
    let server = Program::start(serve(folder.path(), &[]));
    let mut client = Client::connect(server.address);
    let response = client.get("/a%20b?sort=name");
    assert_eq!((response.status, response.field("Location")), (301, Some("/a%20b/?sort=name")));
    assert_eq!(client.get("/a%20b/?sort=name").status, 200);
    // The other way round, a file is no directory.
    assert_eq!(client.get("/a%20b/c.txt/").status, 404);
    assert_eq!(client.get("/a%20b/c.txt/d").status, 404);
    server.stop();
}

/// Catches: an open without `O_NONBLOCK`, which waits for a writer that never comes (on the fallback; the ring's does
/// not).
#[test]
fn a_pipe_in_the_tree_is_not_found_and_holds_nobody_up() {
    let _turn = beside_others();
    let folder = Folder::new();
    folder.write("file.txt", "text");
    for (name, kind) in [("pipe", FileType::Fifo), ("socket", FileType::Socket)] {
        mknodat(CWD, folder.path().join(name), kind, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    for driver in ["auto", "fallback"] {
        let mut command = serve(folder.path(), &[]);
        command.env("GIMMAL_DRIVER", driver);
        let server = Program::start(command);
        let mut client = Client::connect(server.address);
        assert_eq!(client.get("/pipe").status, 404, "{driver}");
        assert_eq!(client.get("/socket").status, 404, "{driver}");
        assert_eq!(client.get("/file.txt").text(), "text", "{driver}");
        server.stop();
    }
}

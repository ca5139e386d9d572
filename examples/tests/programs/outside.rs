//! Nothing outside of its root gets out of `serve`, whatever is asked for and whatever links there are.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::Client;
use crate::folder::Folder;
use crate::program::{Program, beside_others, is_installed, output, serve};

const SECRET: &str = "this must stay where it is";

/// A root with links of all kinds, and secrets around it.
///
/// ```text
///  secret.txt
///  root-of-another/secret.txt
///  root/hello.txt, sub/inner.txt, and the links
/// ```
fn exposed() -> Folder {
    let folder = Folder::new();
    let secret = folder.write("secret.txt", SECRET);
    folder.write("root-of-another/secret.txt", SECRET);
    folder.write("root/hello.txt", "hello");
    folder.write("root/sub/inner.txt", "inner");
    let root = folder.path().join("root");
    for (target, link) in [
        ("../secret.txt", "out"),
        ("sub/../../secret.txt", "out-by-a-detour"),
        ("..", "out-to-a-folder"),
        ("../root-of-another", "out-to-a-neighbour"),
        ("/etc/passwd", "passwd"),
        ("/", "slash"),
        ("/proc/self/root", "magic"),
        ("/proc/self/cwd", "working-folder"),
        ("loop", "loop"),
        ("nowhere", "dangling"),
        ("../../secret.txt", "sub/out-from-below"),
        ("../hello.txt", "sub/up-and-still-inside"),
        ("sub", "sub-by-a-link"),
        ("out", "out-by-two-links"),
        ("hello.txt", "hello-by-a-link"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    symlink(&secret, root.join("out-by-an-absolute-link")).unwrap();
    // An absolute link leads through the real root, which is outside, wherever it ends.
    symlink(root.join("hello.txt"), root.join("inside-by-an-absolute-link")).unwrap();
    folder
}

const CLIMBS: &[&str] = &[
    "/..",
    "/../",
    "/../secret.txt",
    "/../../../../../../etc/passwd",
    "/../root-of-another/secret.txt",
    "/sub/../../secret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e",
    "/%2E%2E/secret.txt",
    "/.%2e/secret.txt",
    "/%2e./secret.txt",
    "/..%2fsecret.txt",
    "/..%2Fsecret.txt",
    "/sub/..%2f..%2fsecret.txt",
    "/%2e%2e%2fsecret.txt",
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..%252fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/..%c0%afsecret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "//etc/passwd",
    "/%2fetc%2fpasswd",
    "/..%00/secret.txt",
    "/hello.txt%00",
    "/hello.txt%00.html",
    "/%00",
    "/../secret.txt%00",
    "http://host/../secret.txt",
    "http://host/%2e%2e/secret.txt",
    "http://host//etc/passwd",
];

/// These would lead to a file inside. That they do not shows that the first fence stands by itself.
const DETOURS: &[&str] = &[
    "/sub/../hello.txt",
    "/sub/%2e%2e/hello.txt",
    "/sub/..%2fhello.txt",
    "/sub%2finner.txt",
    "/./hello.txt",
    "/%2e/hello.txt",
    "//hello.txt",
    "/sub//inner.txt",
    "http://host/sub/../hello.txt",
];

const LINKS: &[&str] = &[
    "/out",
    "/out-by-a-detour",
    "/out-to-a-folder",
    "/out-to-a-folder/",
    "/out-to-a-folder/secret.txt",
    "/out-to-a-folder/root/hello.txt",
    "/out-to-a-neighbour/",
    "/out-to-a-neighbour/secret.txt",
    "/out-by-an-absolute-link",
    "/inside-by-an-absolute-link",
    "/out-by-two-links",
    "/passwd",
    "/slash/",
    "/slash/etc/passwd",
    "/magic/etc/passwd",
    "/working-folder/Cargo.toml",
    "/loop",
    "/dangling",
    "/sub/out-from-below",
    "/sub-by-a-link/out-from-below",
];

/// Asks over a raw socket, so that no client tidies the path up first.
#[track_caller]
fn assert_not_found(server: &Program, method: &str, target: &[u8]) {
    let request = [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"].concat();
    let answer = Client::converse(server.address, &request);
    let (shown, answer) = (target.escape_ascii(), String::from_utf8_lossy(&answer));
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{method} {shown}: {answer}");
    assert!(!answer.contains(SECRET) && !answer.contains("root:") && !answer.contains("hello"), "{shown}: {answer}");
    let body = if method == "HEAD" { "" } else { "404 Not Found\n" };
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body, "{method} {shown}");
}

fn assert_all_not_found(targets: &[&str]) {
    let _turn = beside_others();
    let folder = exposed();
    let server = Program::start(serve(&folder.path().join("root"), &[]));
    for target in targets {
        assert_not_found(&server, "GET", target.as_bytes());
        assert_not_found(&server, "HEAD", target.as_bytes());
    }
    server.stop();
}

/// Catches: both fences gone. Either alone is enough here; the tests below are about one each.
#[test]
fn a_path_that_climbs_is_not_found() {
    assert_all_not_found(CLIMBS);
}

/// Catches: a `SafePath` that lets `..` or an encoded slash pass, which `RESOLVE_BENEATH` alone would allow here.
#[test]
fn a_file_has_one_address_only() {
    assert_all_not_found(DETOURS);
}

/// Catches: an open without `RESOLVE_BENEATH`.
#[test]
fn a_link_that_leaves_the_root_is_not_found() {
    assert_all_not_found(LINKS);
}

#[test]
fn links_that_stay_inside_are_followed() {
    let _turn = beside_others();
    let folder = exposed();
    let server = Program::start(serve(&folder.path().join("root"), &[]));
    let mut client = Client::connect(server.address);
    assert_eq!(client.get("/hello-by-a-link").text(), "hello");
    assert_eq!(client.get("/sub/up-and-still-inside").text(), "hello");
    assert_eq!(client.get("/sub-by-a-link/inner.txt").text(), "inner");
    server.stop();
}

/// A NUL that is not even encoded is no request at all.
#[test]
fn a_bare_nul_is_refused() {
    let _turn = beside_others();
    let folder = exposed();
    let server = Program::start(serve(&folder.path().join("root"), &[]));
    for target in [&b"/hello.txt\0"[..], b"/\0", b"/../secret.txt\0.html"] {
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        let answer = Client::converse(server.address, &request);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{}: {answer}", target.escape_ascii());
        assert!(answer.ends_with("\r\n\r\n400 Bad Request\n"), "{}: {answer}", target.escape_ascii());
    }
    server.stop();
}

#[test]
fn curl_gets_nothing_from_outside_either() {
    let _turn = beside_others();
    if !is_installed("curl") {
        return;
    }
    let folder = exposed();
    let server = Program::start(serve(&folder.path().join("root"), &[]));
    for target in ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/%252e%252e/secret.txt", "/%00", "/out"]
    {
        let url = format!("http://{}{target}", server.address);
        let answer = output("curl", &["-sS", "--path-as-is", "-w", "%{http_code}", &url]);
        assert_eq!(String::from_utf8_lossy(&answer), "404 Not Found\n404", "{target}");
    }
    server.stop();
}

/// A link that changes between the look and the open must not be followed: there is no moment between the two.
/// Catches: a fence that looks at the path first, by `canonicalize` or `readlink`, and opens it afterwards; and none at
/// all.
#[test]
fn a_link_that_is_swapped_while_it_is_asked_for_never_leads_out() {
    const REQUESTS_EACH: usize = 1000;
    let _turn = beside_others();
    let folder = exposed();
    let root = folder.path().join("root");
    let server = Program::start(serve(&root, &[]));
    let (is_over, next, link) = (AtomicBool::new(false), root.join("next"), root.join("swapped"));
    symlink("hello.txt", &link).unwrap();
    let (mut inside, mut nothing) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                for target in ["../secret.txt", "hello.txt"] {
                    symlink(target, &next).unwrap();
                    fs::rename(&next, &link).unwrap();
                }
            }
        });
        let mut client = Client::connect(server.address);
        while inside < REQUESTS_EACH || nothing < REQUESTS_EACH {
            let response = client.get("/swapped");
            match (response.status, response.text()) {
                (200, "hello") => inside += 1,
                (404, "404 Not Found\n") => nothing += 1,
                other => {
                    is_over.store(true, Ordering::Relaxed);
                    panic!("{other:?}");
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!("{inside} times inside, {nothing} times nothing");
    server.stop();
}

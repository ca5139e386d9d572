//! `serve` and `echo` where io_uring is denied, as containers deny it.

use std::fs;
use std::process::Command;
use std::thread;

use crate::client::Client;
use crate::denied::Denial;
use crate::echo::converse;
use crate::folder::{Folder, pattern};
use crate::program::{Program, beside_others, serve};

/// Runs `act` on a thread without io_uring; what is started there has none either.
fn under<T: Send>(denial: Denial, act: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let denied = scope.spawn(|| {
            denial.install();
            act()
        });
        denied.join().expect("what runs there does not panic")
    })
}

fn echo(more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(["--addr", "127.0.0.1:0"]).args(more).env_remove("GIMMAL_DRIVER");
    command
}

/// It waits by epoll, and has no ring.
#[track_caller]
fn assert_is_on_the_fallback(program: &Program) {
    let folder = format!("/proc/{}/fd", program.pid().as_raw_nonzero());
    let descriptors = fs::read_dir(folder).unwrap();
    let open: Vec<String> =
        descriptors.filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.display().to_string())).collect();
    assert!(open.iter().any(|file| file.contains("eventpoll")), "{open:?}");
    assert!(!open.iter().any(|file| file.contains("io_uring")), "{open:?}");
}

/// Whoever is paged at night sees why it is slower than it was. Where the machine itself denies io_uring, a denial of
/// ours of what comes after the set-up is not reached.
#[track_caller]
fn assert_warns_of_the_fallback(program: &Program, denial: Denial) {
    let is_set_up = !runtime::probe().refusal.is_some_and(|why| why.contains("io_uring_setup(2)"));
    let refused = if is_set_up && denial == Denial::Enter { "io_uring_enter(2)" } else { "io_uring_setup(2)" };
    program.expect_complaint(&["WARN", "no io_uring, so epoll and a thread pool serve instead", refused, "seccomp"]);
}

/// Catches: a request that only a ring services; a file that is read otherwise than on the blocking pool; a program
/// whose warnings nobody hears, or that listens for them only when the runtime is built.
#[test]
fn serve_serves_without_io_uring() {
    let _turn = beside_others();
    let folder = Folder::new();
    let content = pattern(300_000);
    folder.write("file", &content);
    for denial in Denial::ALL {
        let mut command = serve(folder.path(), &[]);
        command.env_remove("GIMMAL_DRIVER");
        let server = under(denial, || Program::start(command));
        assert_is_on_the_fallback(&server);
        assert_warns_of_the_fallback(&server, denial);
        thread::scope(|scope| {
            for _client in 0..8 {
                let (address, content) = (server.address, &content);
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    for _request in 0..10 {
                        let whole = client.get("/file");
                        assert_eq!(whole.status, 200);
                        assert!(whole.body == *content, "{denial}: not the same bytes");
                        let part = client.ask("GET", "/file", &["Range: bytes=100-199"]);
                        assert_eq!((part.status, &part.body[..]), (206, &content[100..200]));
                        assert_eq!(client.get("/nothing").status, 404);
                    }
                });
            }
        });
        server.stop();
    }
}

/// Catches: as above, with what is given and not lent too.
#[test]
fn echo_echoes_without_io_uring() {
    let _turn = beside_others();
    for denial in Denial::ALL {
        for options in [&[][..], &["--owned"]] {
            let server = under(denial, || Program::start(echo(options)));
            assert_is_on_the_fallback(&server);
            assert_warns_of_the_fallback(&server, denial);
            thread::scope(|scope| {
                for length in [1, 16 * 1024 + 1, 2_000_000] {
                    let address = server.address;
                    scope.spawn(move || {
                        let sent = pattern(length);
                        assert!(
                            converse(address, &sent) == sent,
                            "{denial}, {options:?}, {length} bytes: not the same"
                        );
                    });
                }
            });
            server.stop();
        }
    }
}

/// Catches: a program that falls back although its user insists; one that starts without a word, or with a panic.
#[test]
fn who_insists_on_a_ring_is_told_the_cause_and_the_cure_by_serve_and_echo() {
    let _turn = beside_others();
    let folder = Folder::new();
    for denial in Denial::ALL {
        for mut command in [serve(folder.path(), &[]), echo(&[])] {
            command.env("GIMMAL_DRIVER", "ring");
            let output = under(denial, || command.output().unwrap());
            let complaint = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{complaint}");
            assert_eq!(complaint.lines().count(), 1, "{complaint}");
            assert!(complaint.starts_with("cannot start the runtime: io_uring_"), "{complaint}");
            for words in ["seccomp filter", "kernel.io_uring_disabled is ", "kernel ", "GIMMAL_DRIVER=fallback"] {
                assert!(complaint.contains(words), "{denial}: no «{words}» in {complaint}");
            }
        }
    }
}

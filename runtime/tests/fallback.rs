//! The fallback driver from outside: limits that a whole process shares, so that each test here runs in one of its own.

use std::future::poll_fn;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use runtime::fd::SharedFd;
use runtime::op::socket::{Accept, AcceptMany};
use runtime::{Builder, Choice, Step};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Z66. The failed accept is the answer; nothing tries again by itself, and the client is served once there is room.
///
/// Catches: a driver that takes EMFILE for «not yet» and asks epoll again: it spins.
#[test]
fn out_of_descriptors_an_accept_fails_and_nothing_spins() {
    in_a_process_of_its_own("out_of_descriptors_an_accept_fails_and_nothing_spins", || {
        let runtime = Builder::new().driver(Choice::Fallback).build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let listener = SharedFd::new(OwnedFd::from(listener));
            let client = TcpStream::connect(address).unwrap();
            let taken = take_all_descriptors();

            let error = runtime::submit(Accept::new(listener.clone())).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
            let enters = runtime::metrics().enters;
            runtime::time::sleep(Duration::from_millis(50)).await;
            assert!(runtime::metrics().enters - enters < 10);

            drop(taken);
            let (_connection, peer) = runtime::submit(Accept::new(listener)).await.unwrap();
            assert_eq!(peer.ip().unwrap(), client.local_addr().unwrap());
        });
    });
}

/// Catches: the same, in the stream of many.
#[test]
fn out_of_descriptors_accepting_many_ends_with_that_error() {
    in_a_process_of_its_own("out_of_descriptors_accepting_many_ends_with_that_error", || {
        let runtime = Builder::new().driver(Choice::Fallback).build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let _client = TcpStream::connect(address).unwrap();
            let taken = take_all_descriptors();
            let mut connections = runtime::replies(AcceptMany { fd: SharedFd::new(OwnedFd::from(listener)) });
            let ended = poll_fn(|context| connections.poll_next(context)).await;
            drop(taken);
            let Step::End(Err(error)) = ended else { panic!("a connection without a descriptor for it") };
            assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        });
    });
}

fn take_all_descriptors() -> Vec<OwnedFd> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum }).unwrap();
    let one = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let mut taken: Vec<OwnedFd> = std::iter::from_fn(|| one.try_clone().ok()).collect();
    taken.push(one);
    taken
}

/// Runs `body` in a child process: this very test, told so by the environment.
fn in_a_process_of_its_own(name: &str, body: impl FnOnce()) {
    const CHILD: &str = "GIMMAL_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let begun = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .map_err(|error: io::Error| error.to_string())
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

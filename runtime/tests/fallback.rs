//! The fallback driver from outside: what it does to descriptors that are not its own, and at limits that a whole
//! process shares, which are met in a process of their own.

#[path = "common/child.rs"]
mod child;
#[path = "common/descriptors.rs"]
mod descriptors;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use child::in_a_child;

use runtime::fd::SharedFd;
use runtime::op::address::SocketAddress;
use runtime::op::file::{Position, Read, Write};
use runtime::op::ready::{Interest, Poll};
use runtime::op::socket::{Accept, AcceptMany, Connect, Recv, Send};
use runtime::{Builder, Choice, Step};
use rustix::event::EventfdFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Whoever else has the same open file would find it changed: a shell its terminal, a parent its pipe, another thread
/// its socket. So not at the end, and not for a moment either: the kernel ends this child at the first try.
///
/// Catches: `O_NONBLOCK` set while an op waits, or while a connect is begun, and taken back afterwards.
#[test]
fn no_descriptor_of_somebody_elses_is_made_non_blocking_not_even_for_a_moment() {
    const TEST: &str = "no_descriptor_of_somebody_elses_is_made_non_blocking_not_even_for_a_moment";
    in_a_child(TEST, "watched", |_| (), wait_for_each_kind_of_file);
}

fn wait_for_each_kind_of_file() {
    let runtime = Builder::new().driver(Choice::Fallback).build().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let [counter, bell] = [0, 0].map(|start| rustix::event::eventfd(start, EventfdFlags::CLOEXEC).unwrap());
    let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let [near, listener, client, reader, writer, counter, bell] =
        [near.into(), listener.into(), client, reader, writer, counter, bell].map(|fd: OwnedFd| SharedFd::new(fd));
    let all =
        [near.clone(), listener.clone(), client.clone(), reader.clone(), writer.clone(), counter.clone(), bell.clone()];

    kill_whoever_changes_a_descriptor();
    runtime.block_on(async {
        // Whatever can wait, waits: nothing is there, and there is no room.
        let receive = Recv { fd: near.clone(), buf: vec![0; 8], flags: RecvFlags::empty(), poll_first: false };
        let receive = runtime::spawn(runtime::submit(receive));
        let read = |fd: &SharedFd| {
            let read = Read { fd: fd.clone(), buf: vec![0; 8], position: Position::Cursor };
            runtime::spawn(runtime::submit(read))
        };
        let (read_pipe, read_counter) = (read(&reader), read(&counter));
        let accept = runtime::spawn(runtime::submit(Accept::new(listener.clone())));
        let ready = runtime::spawn(runtime::submit(Poll { fd: bell.clone(), interest: Interest::READABLE }));
        let unread = fill(&near) + 8;
        let send = Send { fd: near.clone(), buf: vec![7; 8], flags: SendFlags::empty(), whole: true };
        let send = runtime::spawn(runtime::submit(send));
        while runtime::metrics().in_flight < 6 {
            runtime::yield_now().await;
        }
        assert!(all.iter().all(is_blocking));

        let connect = Connect { fd: client.clone(), address: SocketAddress::from(address), ours: false };
        runtime::submit(connect).await.unwrap();
        accept.await.unwrap().unwrap();
        for fd in [&counter, &bell] {
            let write = Write { fd: fd.clone(), buf: 1_u64.to_ne_bytes(), position: Position::Cursor };
            runtime::submit(write).await.unwrap();
        }
        assert_eq!(read_counter.await.unwrap().unwrap().0, 8);
        ready.await.unwrap().unwrap();

        let drained = std::thread::spawn(move || drain(far, unread));
        send.await.unwrap().unwrap();
        let far = drained.join().unwrap();
        (&far).write_all(b"12345678").unwrap();
        receive.await.unwrap().unwrap();
        // More than a pipe holds, so the rest waits for whoever reads.
        let write = Write { fd: writer.clone(), buf: vec![7; 1 << 20], position: Position::Cursor };
        let (written, _piece) = runtime::submit(write).await.unwrap();
        assert!(written > 0);
        read_pipe.await.unwrap().unwrap();
        assert!(all.iter().all(is_blocking));
    });
}

fn is_blocking(fd: &SharedFd) -> bool {
    !rustix::fs::fcntl_getfl(fd.os().unwrap()).unwrap().contains(OFlags::NONBLOCK)
}

/// Sends until there is no more room, and returns how much that was.
fn fill(fd: &SharedFd) -> usize {
    let send = || rustix::net::send(fd.os().unwrap(), &[7; 4096], SendFlags::DONTWAIT).ok();
    std::iter::from_fn(send).sum()
}

fn drain(mut far: UnixStream, len: usize) -> UnixStream {
    far.read_exact(&mut vec![0; len]).unwrap();
    far
}

/// Has the kernel end this process when it sets the flags of any descriptor.
fn kill_whoever_changes_a_descriptor() {
    let second_is = |value: u64| {
        let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).unwrap();
        vec![SeccompRule::new(vec![is]).unwrap()]
    };
    let set_flags = u64::try_from(libc::F_SETFL).unwrap();
    let rules = BTreeMap::from([(libc::SYS_fcntl, second_is(set_flags)), (libc::SYS_ioctl, second_is(libc::FIONBIO))]);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::KillProcess, arch).unwrap();
    seccompiler::apply_filter_all_threads(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// Z66. The failed accept is the answer; nothing tries again by itself, and the client is served once there is room.
///
/// Catches: a driver that takes EMFILE for «not yet» and asks epoll again: it spins.
#[test]
fn out_of_descriptors_an_accept_fails_and_nothing_spins() {
    out_of_descriptors("out_of_descriptors_an_accept_fails_and_nothing_spins", async |listener, client, taken| {
        let error = runtime::submit(Accept::new(listener.clone())).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        let enters = runtime::metrics().enters;
        runtime::time::sleep(Duration::from_millis(50)).await;
        assert!(runtime::metrics().enters - enters < 10);

        drop(taken);
        let (_connection, peer) = runtime::submit(Accept::new(listener)).await.unwrap();
        assert_eq!(peer.ip().unwrap(), client.local_addr().unwrap());
    });
}

/// Catches: the same, in the stream of many.
#[test]
fn out_of_descriptors_accepting_many_ends_with_that_error() {
    out_of_descriptors("out_of_descriptors_accepting_many_ends_with_that_error", async |fd, _client, taken| {
        let mut connections = runtime::replies(AcceptMany { fd });
        let ended = poll_fn(|context| connections.poll_next(context)).await;
        drop(taken);
        let Step::End(Err(error)) = ended else { panic!("a connection without a descriptor for it") };
        assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
    });
}

/// Runs `test` in a process that has no descriptor left, with a listener where a client waits, the client, and the
/// descriptors that were taken.
fn out_of_descriptors(test: &str, body: impl AsyncFnOnce(SharedFd, TcpStream, Vec<OwnedFd>)) {
    in_a_child(
        test,
        "full",
        |_| (),
        || {
            let runtime = Builder::new().driver(Choice::Fallback).build().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let listener = SharedFd::new(OwnedFd::from(listener));
            runtime.block_on(async {
                let (_limit, taken) = descriptors::take_all(64);
                body(listener, client, taken).await;
            });
        },
    );
}

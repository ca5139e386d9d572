//! Accepting and connecting.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::super::REPLIES_MAX;
use super::{Desk, LOST, is_cancelled, received, recv};
use crate::driver::Park;
use crate::fd::{Fd, SharedFd};
use crate::op::socket::{Accept, AcceptMany, Connect, Recv};

fn listener() -> (SharedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (SharedFd::new(OwnedFd::from(listener)), address)
}

fn socket() -> SharedFd {
    SharedFd::new(
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap(),
    )
}

fn connect(fd: &SharedFd, address: SocketAddr, ours: bool) -> Connect {
    Connect { fd: fd.clone(), address: address.into(), ours }
}

fn is_blocking(fd: &SharedFd) -> bool {
    !rustix::fs::fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK)
}

#[test]
fn an_accept_waits_and_says_who_connected() {
    let mut desk = Desk::new();
    let (listener, address) = listener();
    let key = desk.start(Accept::new(listener.clone()));
    desk.settle();
    assert!(desk.answer::<Accept>(key).is_none());
    let client = TcpStream::connect(address).unwrap();
    let (_connection, peer) = desk.finish::<Accept>(key).unwrap();
    assert_eq!(peer.ip().unwrap(), client.local_addr().unwrap());
    assert!(is_blocking(&listener));
}

/// Catches: a request of many replies that stops at its bound, since no edge tells of the rest.
#[test]
fn accepting_many_brings_every_connection_and_no_more_than_its_bound_a_turn() {
    let mut desk = Desk::new();
    let (listener, address) = listener();
    let many = REPLIES_MAX * 2 + 6;
    let clients: Vec<_> = (0..many).map(|_| TcpStream::connect(address).unwrap()).collect();
    let key = desk.start(AcceptMany { fd: listener.clone() });
    let mut accepted: Vec<Fd> = Vec::new();
    for _turn in 0..8 {
        desk.wait(Park::No);
        assert!(desk.turn.0 <= REPLIES_MAX);
        accepted.extend(desk.items(key).into_iter().map(|item| item.unwrap().fd().unwrap()));
    }
    assert_eq!(accepted.len(), clients.len());

    desk.fallback.cancel(key);
    desk.wait(Park::No);
    assert!(is_cancelled(&desk.answer::<AcceptMany>(key).expect("its last reply").unwrap_err()));
    let _late = TcpStream::connect(address).unwrap();
    desk.settle();
    assert_eq!(desk.turn, (0, 0));
}

/// Two cores are told of a connection, and one of them takes it. The other's accept4(2) would wait for the next.
///
/// Catches: a look and an accept between which another core may take the connection.
#[test]
fn a_connection_that_another_core_takes_blocks_nobody() {
    const ROUNDS: usize = 2_000;
    // Who goes through as many at once as the other meets it somewhere.
    const LISTENERS: usize = 32;
    let listeners: Vec<_> = (0..LISTENERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let together = Arc::new(Barrier::new(3));
    let (tell, told) = mpsc::channel();
    let core = || {
        let clones: Vec<_> = listeners.iter().map(|listener| OwnedFd::from(listener.try_clone().unwrap())).collect();
        let (together, tell) = (together.clone(), tell.clone());
        move || {
            let mut desk = Desk::new();
            let listeners: Vec<_> = clones.into_iter().map(SharedFd::new).collect();
            let mut accepts: Vec<_> = listeners.iter().map(|fd| desk.start(Accept::new(fd.clone()))).collect();
            for _round in 0..ROUNDS {
                together.wait();
                desk.wait(Park::No);
                let mut accepted = 0;
                for (accept, fd) in accepts.iter_mut().zip(&listeners) {
                    if let Some(answer) = desk.answer::<Accept>(*accept) {
                        answer.unwrap();
                        accepted += 1;
                        *accept = desk.start(Accept::new(fd.clone()));
                    }
                }
                tell.send(accepted).unwrap();
            }
        }
    };
    let cores = [thread::spawn(core()), thread::spawn(core())];
    let mut accepted = 0;
    for round in 0..ROUNDS {
        for listener in &listeners {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            // It leaves no port that fades.
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        }
        together.wait();
        for _core in &cores {
            accepted += told.recv_timeout(LOST).unwrap_or_else(|_| panic!("a core stands still in round {round}"));
        }
    }
    cores.into_iter().for_each(|core| core.join().unwrap());
    assert_eq!(accepted, ROUNDS * LISTENERS);
}

/// Catches: a socket that stays non-blocking after it connected.
#[test]
fn our_socket_connects_without_a_thread_and_stays_blocking() {
    let mut desk = Desk::new();
    let (listener, address) = listener();
    let ours = socket();
    desk.run(connect(&ours, address, true)).unwrap();
    assert!(is_blocking(&ours));
    assert_eq!(desk.fallback.errands.len(), 0);

    let accept = desk.start(Accept::new(listener));
    let (connection, _) = desk.finish::<Accept>(accept).unwrap();
    let Fd::Os(connection) = connection else { panic!("a descriptor of a simulated kernel") };
    TcpStream::from(connection).write_all(b"hello").unwrap();
    assert_eq!(received(desk.run(recv(&ours, 8))), b"hello");
}

/// Catches: an O_NONBLOCK on a descriptor that is not ours, were it for a moment: the connect would go on in the
/// background and its thread return EINPROGRESS.
#[test]
fn connecting_a_socket_that_is_not_ours_leaves_its_flags_alone() {
    let mut desk = Desk::new();
    let (_listener, address) = listener();
    let blocking = socket();
    let key = desk.start(connect(&blocking, address, false));
    assert_eq!(desk.fallback.errands.len(), 1, "a blocking one takes a thread");
    desk.finish::<Connect>(key).unwrap();
    assert!(is_blocking(&blocking));

    let nonblocking = socket();
    rustix::io::ioctl_fionbio(&nonblocking, true).unwrap();
    let key = desk.start(connect(&nonblocking, address, false));
    assert_eq!(desk.fallback.errands.len(), 0, "one that does not block takes none");
    desk.finish::<Connect>(key).unwrap();
    assert!(!is_blocking(&nonblocking));
    assert!(rustix::net::getpeername(nonblocking.as_fd()).is_ok());
}

#[test]
fn a_refused_connection_is_that_error() {
    let mut desk = Desk::new();
    let (gone, address) = listener();
    drop(gone);
    for ours in [true, false] {
        let error = desk.run(connect(&socket(), address, ours)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::CONNREFUSED.raw_os_error()));
    }
}

/// Catches: a connect(2) that waits on the core.
#[test]
fn a_connection_that_nobody_answers_can_be_cancelled() {
    let mut desk = Desk::new();
    let listener = socket();
    rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = rustix::net::getsockname(&listener).unwrap().try_into().unwrap();
    // Its queue holds one; the kernel drops further SYNs.
    let first = socket();
    desk.run(connect(&first, address, true)).unwrap();

    let second = socket();
    let key = desk.start(connect(&second, address, true));
    desk.settle();
    assert!(desk.answer::<Connect>(key).is_none());
    desk.fallback.cancel(key);
    desk.wait(Park::No);
    assert!(is_cancelled(&desk.answer::<Connect>(key).expect("an answer").unwrap_err()));
    assert!(is_blocking(&second));
}

/// A datagram read short says nothing about the next one.
#[test]
fn datagrams_come_one_by_one() {
    let mut desk = Desk::new();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    let ours = SharedFd::new(OwnedFd::from(ours));
    let waits: Vec<_> = (0..2).map(|_| desk.start(recv(&ours, 64))).collect();
    for text in ["one", "three", "five"] {
        theirs.send(text.as_bytes()).unwrap();
    }
    assert_eq!(received(desk.finish::<Recv<Vec<u8>>>(waits[0])), b"one");
    assert_eq!(received(desk.finish::<Recv<Vec<u8>>>(waits[1])), b"three");
    assert_eq!(received(desk.run(recv(&ours, 64))), b"five");
}

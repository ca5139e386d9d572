//! Unix sockets: names in the file tree, who comes from outside, and what a power cut leaves.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use super::*;

fn path(text: &str) -> SocketAddress {
    SocketAddress::from(std::os::unix::net::SocketAddr::from_pathname(text).expect("a short path"))
}

fn code<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

impl Machine {
    fn unix(&mut self) -> SharedFd {
        let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
        let made = self.call_socket(SocketRequest::Socket { family, kind, protocol: None });
        SharedFd::new(made.and_then(Reply::fd).expect("a socket"))
    }

    fn bind_unix(&mut self, fd: &SharedFd, at: &SocketAddress) -> io::Result<()> {
        self.call_socket(SocketRequest::Bind { fd: fd.borrow(), address: at }).map(drop)
    }

    fn unix_listener(&mut self, at: &SocketAddress, backlog: i32) -> SharedFd {
        let fd = self.unix();
        self.bind_unix(&fd, at).expect("a free name");
        self.listen(&fd, backlog).expect("a bound socket");
        fd
    }

    fn connect_unix(&mut self, to: SocketAddress) -> io::Result<SharedFd> {
        let fd = self.unix();
        self.run(Connect { fd: fd.clone(), address: to, ours: true }).map(|()| fd)
    }
}

#[test]
fn who_comes_from_outside_is_heard_and_hears_at_once() {
    let mut machine = Machine::new(1, Faults::none());
    let (world, at) = (machine.world(), path("/tmp/server"));
    assert_eq!(code(world.connect_unix(at)), Some(Errno::NOENT));
    let listener = machine.unix_listener(&at, 0);
    let client = world.connect_unix(at).expect("somebody listens");
    assert_eq!(code(world.connect_unix(at)), Some(Errno::AGAIN), "one may wait");
    let (fd, _) = machine.run(Accept::new(listener.clone())).expect("a connection");
    let fd = SharedFd::new(fd);
    let told: Vec<String> = world.descriptors().into_iter().map(|open| open.what).collect();
    assert_eq!(told, ["unix socket at /tmp/server", "unix connection /tmp/server to no name"]);

    // The network is another thing.
    world.cut();
    client.send(b"hello").unwrap();
    assert_eq!(machine.recv(&fd, 16).unwrap(), b"hello");
    machine.send(&fd, b"welcome").unwrap();
    assert_eq!(client.received(), b"welcome");
    drop(fd);
    assert!(client.has_ended() && !client.is_reset());
    drop(listener);
    assert_eq!(code(world.connect_unix(at)), Some(Errno::CONNREFUSED), "the file is there, and nobody listens");
}

#[test]
fn the_program_connects_to_who_listens_outside() {
    let mut machine = Machine::new(1, Faults::none());
    let (world, at) = (machine.world(), path("/tmp/database"));
    let database = world.listen_unix(at).expect("a free name");
    assert_eq!(code(world.listen_unix(at)), Some(Errno::ADDRINUSE));
    let fd = machine.connect_unix(at).expect("somebody listens");
    let peer = database.accept().expect("a connection");
    machine.send(&fd, b"select 1").unwrap();
    assert_eq!(peer.received(), b"select 1");
    peer.reset();
    assert_eq!(code(machine.recv(&fd, 8)), Some(Errno::CONNRESET));
    assert_eq!(code(machine.send(&fd, b"more")), Some(Errno::PIPE));
    database.close();
    assert_eq!(code(machine.connect_unix(at)), Some(Errno::CONNREFUSED));
}

/// Catches: a file that a power cut keeps for ever, or never; a listener that survives it.
#[test]
fn a_power_cut_leaves_a_name_or_none_and_nobody_who_listens() {
    let mut left = [0, 0];
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none());
        let (world, at) = (machine.world(), path("/tmp/server"));
        let listener = machine.unix_listener(&at, 1);
        let client = world.connect_unix(at).expect("somebody listens");
        world.power_cut();
        machine.run_until(Duration::from_secs(1));
        assert!(client.has_ended(), "seed {seed}");
        drop(listener);
        match code(machine.connect_unix(at)) {
            Some(Errno::NOENT) => left[0] += 1,
            Some(Errno::CONNREFUSED) => left[1] += 1,
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(left[0] > 5 && left[1] > 5, "{left:?}");
}

/// Catches: a sender that is not woken when there is room, or takes more than there is.
#[test]
fn a_sender_waits_while_nobody_reads() {
    for seed in 0..20 {
        let mut machine = Machine::new(seed, Faults::ordinary());
        let (one, other) = machine
            .call_socket(SocketRequest::Pair { kind: SocketType::STREAM })
            .and_then(Reply::pair)
            .map(|(one, other)| (SharedFd::new(one), SharedFd::new(other)))
            .expect("a pair");
        let sent: Vec<u8> = (0..150_000_u32).map(|at| at.to_le_bytes()[usize::from(at % 3 == 0)]).collect();
        let mut sending = machine.start(send(&one, &sent));
        let mut receiving = machine.start(recv(&other, vec![0; 50_000]));
        let (mut received, mut done) = (Vec::new(), 0);
        while received.len() < sent.len() {
            // One that was interrupted has done nothing.
            if let Some(outcome) = machine.poll::<Send<Vec<u8>>>(sending) {
                done += outcome.map_or(0, |(count, _)| count);
                sending = machine.start(send(&one, &sent[done..]));
            }
            assert!(done <= received.len() + (64 << 10), "seed {seed}: {done} bytes were taken");
            if let Some(outcome) = machine.poll::<Recv<Vec<u8>>>(receiving) {
                received.extend(outcome.map_or(Vec::new(), |(count, buf)| buf[..count].to_vec()));
                receiving = machine.start(recv(&other, vec![0; 50_000]));
            } else {
                machine.wait(Park::Until(None)).expect("something happens");
            }
        }
        assert!(received == sent, "seed {seed}: what arrived differs");
    }
}

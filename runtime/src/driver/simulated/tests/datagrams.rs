//! Datagrams: who hears what, and what is lost.

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

use super::*;
use crate::op::datagram::{DatagramRequest, RecvFrom, SendTo, Sender};

fn code<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

fn path(text: &str) -> SocketAddress {
    SocketAddress::from(std::os::unix::net::SocketAddr::from_pathname(text).expect("a short path"))
}

impl Machine {
    fn datagrams(&mut self, family: AddressFamily, at: Option<SocketAddress>) -> SharedFd {
        let made = self.call_socket(SocketRequest::Socket { family, kind: SocketType::DGRAM, protocol: None });
        let fd = SharedFd::new(made.and_then(Reply::fd).expect("a socket"));
        if let Some(address) = at {
            self.call_socket(SocketRequest::Bind { fd: fd.borrow(), address: &address }).expect("a free address");
        }
        fd
    }

    fn udp(&mut self, at: &str) -> SharedFd {
        self.datagrams(AddressFamily::INET, Some(address(at).into()))
    }

    fn send_to(&mut self, fd: &SharedFd, bytes: &[u8], to: impl Into<SocketAddress>) -> io::Result<usize> {
        let op = SendTo { fd: fd.clone(), buf: bytes.to_vec(), to: to.into(), flags: SendFlags::empty() };
        Ok(self.run(op)?.0)
    }

    /// Takes one that is there.
    fn has_heard(&mut self, fd: &SharedFd) -> bool {
        let (mut buf, mut from) = ([0; 2_000], Sender::room());
        let (fd, flags) = (fd.borrow(), RecvFlags::empty());
        let now = DatagramRequest::RecvFrom { fd, buf: &mut buf, from: &mut from, flags, poll_first: false };
        self.call(Request::Datagram(now)).is_ok()
    }

    fn recv_from(&mut self, fd: &SharedFd) -> io::Result<(SocketAddress, Vec<u8>)> {
        let ((count, from), buf) = self.run(recv_from(fd))?;
        Ok((from, buf[..count].to_vec()))
    }
}

fn recv_from(fd: &SharedFd) -> RecvFrom<Vec<u8>> {
    RecvFrom { fd: fd.clone(), buf: vec![0; 2_000], from: Sender::room(), flags: RecvFlags::empty(), poll_first: false }
}

/// Catches: a datagram that is lost, doubled or cut between strangers; one that has another's sender.
#[test]
fn what_strangers_send_comes_whole_and_in_order_with_their_names() {
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::ordinary());
        let (ours, theirs) = (machine.udp("127.0.0.1:7"), machine.udp("127.0.0.1:8"));
        let outside = machine.world().datagrams(address("10.0.0.9:9")).unwrap();
        for number in 0..40_u16 {
            let bytes = vec![number.to_le_bytes()[0]; usize::from(number) * 31];
            // A full queue is told by WouldBlock, and nothing was sent.
            while machine.send_to(&theirs, &bytes, address("127.0.0.1:7")).is_err() {}
            outside.send_to(&bytes, address("127.0.0.1:7")).unwrap();
        }
        let mut next = [0, 0];
        while next != [40, 40] {
            let Ok((from, bytes)) = machine.recv_from(&ours) else { continue };
            let who = usize::from(from != address("127.0.0.1:8").into());
            assert!(who == 0 || from == address("10.0.0.9:9").into(), "seed {seed}: {from:?}");
            assert_eq!(bytes, vec![next[who]; usize::from(next[who]) * 31], "seed {seed}");
            next[who] += 1;
        }
    }
}

#[test]
fn who_is_outside_hears_at_once_and_nothing_comes_through_a_cut_wire() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    let resolver = world.datagrams(address("10.0.0.53:53")).unwrap();
    assert_eq!(code(world.datagrams(address("10.0.0.53:53"))), Some(Errno::ADDRINUSE));
    let fd = machine.datagrams(AddressFamily::INET, None);
    machine.send_to(&fd, b"who?", resolver.address().unwrap()).unwrap();
    let asked = resolver.received();
    assert_eq!((asked.len(), &asked[0].bytes[..]), (1, &b"who?"[..]));
    assert!(resolver.received().is_empty());
    let told: Vec<String> = world.descriptors().into_iter().map(|open| open.what).collect();
    assert!(told[0].starts_with("socket of datagrams at 0.0.0.0:"), "{told:?}");

    world.cut();
    resolver.send_to(b"lost", asked[0].from).unwrap();
    machine.send_to(&fd, b"lost", resolver.address().unwrap()).unwrap();
    machine.run_until(Duration::from_secs(1));
    world.mend();
    resolver.send_to(b"you", asked[0].from).unwrap();
    assert_eq!(machine.recv_from(&fd).unwrap(), (address("10.0.0.53:53").into(), b"you".to_vec()));
    assert!(resolver.received().is_empty());

    let to = resolver.address().unwrap();
    resolver.close();
    assert_eq!(code(resolver.address()), Some(Errno::NOTCONN));
    machine.send_to(&fd, b"who?", to).unwrap();
    assert_eq!(world.datagrams(to).unwrap().received(), []);
}

/// Catches: a queue without a bound, and one that counts what was taken.
#[test]
fn udp_drops_what_finds_no_room_and_a_unix_socket_says_so() {
    let mut machine = Machine::new(1, Faults::none());
    let (ours, theirs) = (machine.udp("127.0.0.1:7"), machine.udp("127.0.0.1:8"));
    for _ in 0..300 {
        machine.send_to(&theirs, &[7; 1_000], address("127.0.0.1:7")).unwrap();
    }
    machine.run_until(Duration::from_secs(1));
    let mut came = 0;
    let key = loop {
        let key = machine.start(recv_from(&ours));
        machine.run_until(machine.world().elapsed() + Duration::from_secs(1));
        match machine.poll::<RecvFrom<Vec<u8>>>(key) {
            Some(received) => assert_eq!(received.unwrap().0.0, 1_000),
            None => break key,
        }
        came += 1;
    };
    assert_eq!(came, 92);
    machine.send_to(&theirs, b"again", address("127.0.0.1:7")).unwrap();
    assert_eq!(machine.finish::<RecvFrom<Vec<u8>>>(key).unwrap().0.0, 5);

    let (world, at) = (machine.world(), path("/tmp/journal"));
    let journal = world.unix_datagrams(at).unwrap();
    let fd = machine.datagrams(AddressFamily::UNIX, None);
    for number in 0..11 {
        machine.send_to(&fd, &[number], at).unwrap();
    }
    assert_eq!(code(machine.send_to(&fd, b"one more", at)), Some(Errno::AGAIN));
    let came: Vec<Vec<u8>> = journal.received().into_iter().map(|datagram| datagram.bytes).collect();
    assert_eq!(came, (0..11).map(|number| vec![number]).collect::<Vec<_>>());
    machine.send_to(&fd, b"one more", at).unwrap();
    let bound = machine.datagrams(AddressFamily::UNIX, Some(path("/tmp/ours")));
    journal.send_to(b"welcome", path("/tmp/ours")).unwrap();
    assert_eq!(machine.recv_from(&bound).unwrap(), (at, b"welcome".to_vec()));
    assert_eq!(code(journal.send_to(b"hello", path("/tmp/nobody"))), Some(Errno::NOENT));
}

/// Catches: a sender that sleeps on when there is room, or when there never will be.
#[test]
fn who_is_connected_waits_for_room_and_hears_that_his_peer_is_gone() {
    for seed in 0..20 {
        let mut machine = Machine::new(seed, Faults::none());
        let at = path("/tmp/journal");
        let journal = machine.world().unix_datagrams(at).unwrap();
        let fd = machine.datagrams(AddressFamily::UNIX, None);
        machine.run(Connect { fd: fd.clone(), address: at, ours: true }).unwrap();
        for _ in 0..11 {
            machine.send(&fd, b"hello").unwrap();
        }
        let waiting = machine.start(send(&fd, b"the last"));
        machine.run_until(Duration::from_secs(1));
        assert!(machine.poll::<Send<Vec<u8>>>(waiting).is_none(), "seed {seed}");
        assert_eq!(journal.received().len(), 11);
        assert_eq!(machine.finish::<Send<Vec<u8>>>(waiting).unwrap().0, 8);
        assert_eq!(journal.received()[0].bytes, b"the last");
        for _ in 0..11 {
            machine.send(&fd, b"hello").unwrap();
        }
        let waiting = machine.start(send(&fd, b"nobody hears"));
        machine.run_until(Duration::from_secs(2));
        journal.close();
        let told = machine.finish::<Send<Vec<u8>>>(waiting).map(|(count, _)| count).map_err(io::Error::from);
        assert_eq!(code(told), Some(Errno::CONNREFUSED), "seed {seed}");
    }
}

/// Catches: datagrams that outlive the machine that sent them; a peer that is believed to be there.
#[test]
fn a_power_cut_takes_what_is_on_its_way() {
    let mut machine = Machine::new(1, Faults::none());
    let (world, at) = (machine.world(), path("/tmp/journal"));
    let (journal, far) = (world.unix_datagrams(at).unwrap(), world.datagrams(address("10.0.0.9:9")).unwrap());
    let ours = machine.udp("127.0.0.1:7");
    let unix = machine.datagrams(AddressFamily::UNIX, Some(path("/tmp/ours")));
    machine.send_to(&unix, b"before", at).unwrap();
    let (to, flags) = (address("127.0.0.1:7").into(), SendFlags::empty());
    let now = DatagramRequest::SendTo { fd: ours.borrow(), buf: b"to myself", to: &to, flags };
    machine.call(Request::Datagram(now)).unwrap();
    far.send_to(b"from afar", to).unwrap();
    world.power_cut();
    let again = machine.udp("127.0.0.1:7");
    assert_eq!(machine.recv_from(&again).unwrap().1, b"from afar");
    assert_eq!(code(machine.send_to(&unix, b"after", at)), Some(Errno::IO));
    drop((ours, unix));
    // It is outside, and has what came before.
    assert_eq!(journal.received()[0].bytes, b"before");
    let told = code(journal.send_to(b"hello", path("/tmp/ours")));
    assert!([Some(Errno::NOENT), Some(Errno::CONNREFUSED)].contains(&told), "{told:?}");
}

/// Catches: small datagrams that cost no room, of which none is ever lost; empty ones that pile up for ever.
#[test]
fn a_burst_of_small_datagrams_that_nobody_reads_is_lost_in_part() {
    for len in [0, 1, 100] {
        let mut machine = Machine::new(1, Faults::none());
        let (ours, theirs) = (machine.udp("127.0.0.1:7"), machine.udp("127.0.0.1:8"));
        for _ in 0..400 {
            machine.send_to(&theirs, &vec![7; len], address("127.0.0.1:7")).unwrap();
        }
        machine.run_until(Duration::from_secs(1));
        let mut came = 0;
        while machine.has_heard(&ours) {
            came += 1;
        }
        assert!((200..=256).contains(&came), "{came} of {len} bytes each");
    }
}

/// Sockets that share a port: one for all, one for this address, one for a single peer.
/// Catches: the first that was made, whoever it is for.
#[test]
fn the_socket_that_is_closest_to_a_datagram_hears_it() {
    let mut machine = Machine::new(1, Faults::none());
    let sender = machine.udp("127.0.0.1:8");
    let mut hear = |at: &str, peer: Option<&str>| {
        let fd = machine.datagrams(AddressFamily::INET, None);
        let option = SocketOption::ReuseAddress(true);
        machine.call_socket(SocketRequest::SetOption { fd: fd.borrow(), option }).unwrap();
        machine.bind(&fd, at).unwrap();
        if let Some(peer) = peer {
            machine.run(connect(&fd, peer)).unwrap();
        }
        fd
    };
    let mut all = vec![hear("0.0.0.0:7", None), hear("127.0.0.1:7", None), hear("127.0.0.1:7", None)];
    all.push(hear("0.0.0.0:7", Some("127.0.0.1:8")));
    while let Some(closest) = all.pop() {
        machine.send_to(&sender, b"for you", address("127.0.0.1:7")).unwrap();
        machine.run_until(machine.world().elapsed() + Duration::from_secs(1));
        assert!(all.iter().all(|other| !machine.has_heard(other)), "{} left", all.len());
        assert_eq!(machine.recv_from(&closest).unwrap().1, b"for you");
    }
}

/// Catches: a broadcast that goes out without SO_BROADCAST.
#[test]
fn a_datagram_to_all_needs_leave() {
    let mut machine = Machine::new(1, Faults::none());
    let fd = machine.datagrams(AddressFamily::INET, None);
    let all = "255.255.255.255:9";
    assert_eq!(code(machine.send_to(&fd, b"all", address(all))), Some(Errno::ACCESS));
    assert_eq!(code(machine.run(connect(&fd, all))), Some(Errno::ACCESS));
}

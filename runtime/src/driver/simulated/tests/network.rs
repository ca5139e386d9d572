//! Sockets: streams, their ends, and who waits for whom.

use rustix::io::Errno;
use rustix::net::Shutdown;

use super::*;
use crate::op::socket::End;

fn code<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| Errno::from_io_error(&error))
}

fn shutdown(machine: &mut Machine, fd: &SharedFd, how: Shutdown) -> io::Result<()> {
    machine.call_socket(SocketRequest::Shutdown { fd: fd.borrow(), how }).map(drop)
}

/// Catches: a delivery that loses, doubles or reorders a piece of a stream.
#[test]
fn a_stream_arrives_whole_and_in_order_in_pieces_of_any_size() {
    let mut pieces = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none());
        let (client, server) = machine.pair();
        machine.world().set_faults(Faults::ordinary());
        let sent: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[usize::from(at % 3 == 0)]).collect();
        let (mut received, mut done) = (Vec::new(), 0);
        let mut sending = machine.start(send(&client, &sent));
        let mut receiving = machine.start(recv(&server, vec![0; 50_000]));
        while received.len() < sent.len() {
            // An interrupted send has sent nothing; a short one leaves the rest to us.
            if let Some(outcome) = machine.poll::<Send<Vec<u8>>>(sending) {
                done += outcome.map_or(0, |(count, _)| count);
                sending = machine.start(send(&client, &sent[done..]));
            }
            match machine.poll::<Recv<Vec<u8>>>(receiving) {
                Some(outcome) => {
                    if let Ok((count, buf)) = outcome {
                        pieces.insert(count);
                        received.extend_from_slice(&buf[..count]);
                    }
                    receiving = machine.start(recv(&server, vec![0; 50_000]));
                }
                None => assert!(machine.wait(Park::Until(None)).is_ok(), "seed {seed}: {} bytes came", received.len()),
            }
        }
        assert!(received == sent, "seed {seed}: what arrived differs");
    }
    assert!(pieces.len() > 30, "{pieces:?}");
}

#[test]
fn a_direction_that_is_shut_down_ends_after_its_bytes_and_the_other_goes_on() {
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none());
        let (client, server) = machine.pair();
        machine.send(&client, b"last words").unwrap();
        shutdown(&mut machine, &client, Shutdown::Write).unwrap();
        assert_eq!(code(machine.send(&client, b"more")), Some(Errno::PIPE));

        let mut heard = Vec::new();
        loop {
            let piece = machine.recv(&server, 4).unwrap();
            if piece.is_empty() {
                break;
            }
            heard.extend(piece);
        }
        assert_eq!(heard, b"last words", "seed {seed}");
        assert_eq!(machine.recv(&server, 4).unwrap(), b"", "an end stays an end");
        machine.send(&server, b"answer").unwrap();
        assert_eq!(machine.recv(&client, 16).unwrap()[..1], b"a"[..], "seed {seed}");
    }
}

/// Catches: a close that sends a good end although bytes were thrown away.
#[test]
fn closing_with_unread_bytes_resets_and_closing_without_ends_well() {
    let mut machine = Machine::new(1, Faults::none());
    let (client, server) = machine.pair();
    machine.send(&client, b"never read").unwrap();
    machine.run_until(Duration::from_secs(1));
    drop(server);
    assert_eq!(code(machine.recv(&client, 8)), Some(Errno::CONNRESET));
    assert_eq!(machine.recv(&client, 8).unwrap(), b"", "told once");
    assert_eq!(code(machine.send(&client, b"x")), Some(Errno::PIPE));

    let mut machine = Machine::new(1, Faults::none());
    let (client, server) = machine.pair();
    drop(server);
    assert_eq!(machine.recv(&client, 8).unwrap(), b"");
    // The first send finds nobody, which the second learns.
    assert_eq!(machine.send(&client, b"x").unwrap(), 1);
    machine.run_until(Duration::from_secs(1));
    assert_eq!(machine.recv(&client, 8).unwrap(), b"", "an end stays an end");
    assert_eq!(code(machine.send(&client, b"x")), Some(Errno::PIPE));
}

/// Catches: a send that takes more than a connection holds.
#[test]
fn a_sender_waits_while_nobody_reads() {
    let mut machine = Machine::new(1, Faults::none());
    let (client, server) = machine.pair();
    let key = machine.start(send(&client, &vec![1; 100_000]));
    machine.run_until(Duration::from_secs(1));
    assert!(machine.poll::<Send<Vec<u8>>>(key).is_none(), "64 KiB fit, 100,000 bytes do not");
    let request =
        SocketRequest::Send { fd: client.borrow(), buf: b"x", flags: rustix::net::SendFlags::DONTWAIT, whole: false };
    assert_eq!(code(machine.call_socket(request)), Some(Errno::AGAIN));
    let mut received = 0;
    while received < 100_000 {
        received += machine.recv(&server, 10_000).unwrap().len();
    }
    assert_eq!(machine.finish::<Send<Vec<u8>>>(key).unwrap().0, 100_000);
}

#[test]
fn a_backlog_that_is_full_turns_connections_away_until_one_is_accepted() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    let listener = machine.socket();
    machine.bind(&listener, "127.0.0.1:80").unwrap();
    machine.listen(&listener, 2).unwrap();
    // The kernel takes one more than it was told.
    let peers: Vec<_> = (0..3).map(|_| world.connect(address("127.0.0.1:80")).unwrap()).collect();
    let refused = world.connect(address("127.0.0.1:80")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::TimedOut);

    let client = machine.socket();
    let connecting = machine.start(connect(&client, "127.0.0.1:80"));
    machine.run_until(Duration::from_millis(10));
    assert!(machine.poll::<Connect>(connecting).is_none(), "its SYN is sent again");
    let (_connection, peer) = machine.accept(&listener);
    assert_eq!(peer, peers[0].address().unwrap(), "first come, first served");
    machine.finish::<Connect>(connecting).unwrap();
    assert!(world.elapsed() >= Duration::from_secs(1), "after the first retry");
}

#[test]
fn a_listener_that_goes_resets_who_waits_in_it() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    let listener = machine.listener("127.0.0.1:80");
    let peer = world.connect(address("127.0.0.1:80")).unwrap();
    drop(listener);
    assert!(peer.is_reset());
    assert_eq!(world.connect(address("127.0.0.1:80")).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let client = machine.socket();
    let refused = machine.run(connect(&client, "127.0.0.1:80"));
    assert_eq!(code(refused), Some(Errno::CONNREFUSED));
}

#[test]
fn addresses_are_taken_named_and_free_again() {
    let mut machine = Machine::new(1, Faults::none());
    let (first, second) = (machine.socket(), machine.socket());
    machine.bind(&first, "0.0.0.0:80").unwrap();
    assert_eq!(code(machine.bind(&second, "127.0.0.1:80")), Some(Errno::ADDRINUSE));
    assert_eq!(code(machine.bind(&first, "127.0.0.1:81")), Some(Errno::INVAL));
    drop(first);
    machine.bind(&second, "127.0.0.1:80").unwrap();
    machine.listen(&second, 1).unwrap();

    let client = machine.socket();
    machine.run(connect(&client, "127.0.0.1:80")).unwrap();
    let (server, peer) = machine.accept(&second);
    let mut name = |fd: &SharedFd, end| {
        let mut room = SocketAddress::room();
        machine
            .call_socket(SocketRequest::Name { fd: fd.borrow(), end, address: &mut room })
            .map(|_| room.ip().unwrap())
    };
    assert_eq!(name(&client, End::Local).unwrap(), peer);
    assert_eq!(name(&server, End::Peer).unwrap(), peer);
    assert_eq!(name(&client, End::Peer).unwrap(), address("127.0.0.1:80"));
    assert_eq!(name(&server, End::Local).unwrap(), address("127.0.0.1:80"));
    assert_eq!(code(name(&second, End::Peer)), Some(Errno::NOTCONN));
}

#[test]
fn a_connect_that_must_not_wait_tells_how_it_goes() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    let _outside = world.listen(address("10.1.1.1:80")).unwrap();
    let client = machine.socket();
    let to = SocketAddress::from(address("10.1.1.1:80"));
    // The first SYN is lost, so the answer takes a second.
    world.cut();
    let connect_now = |machine: &mut Machine| {
        code(machine.call_socket(SocketRequest::Connect { fd: client.borrow(), address: &to, ours: true }))
    };
    assert_eq!(connect_now(&mut machine), Some(Errno::INPROGRESS));
    assert_eq!(connect_now(&mut machine), Some(Errno::ALREADY));
    machine.run_until(Duration::from_millis(500));
    world.mend();
    assert_eq!(connect_now(&mut machine), Some(Errno::ALREADY));
    machine.run_until(Duration::from_secs(2));
    assert_eq!(connect_now(&mut machine), None, "it came about, which is told once");
    assert_eq!(connect_now(&mut machine), Some(Errno::ISCONN));
}

/// Catches: a cut that loses bytes, and one that is never given up.
#[test]
fn a_network_that_is_cut_delays_until_it_is_mended_and_breaks_in_the_end() {
    for mends in [true, false] {
        let mut machine = Machine::new(1, Faults::none());
        let world = machine.world();
        let listener = machine.listener("127.0.0.1:80");
        let peer = world.connect(address("127.0.0.1:80")).unwrap();
        let (fd, _) = machine.accept(&listener);
        world.cut();
        peer.send(b"in the dark").unwrap();
        machine.send(&fd, b"anybody there?").unwrap();
        machine.run_until(Duration::from_secs(60));
        assert_eq!(peer.received(), b"");
        if mends {
            world.mend();
            assert_eq!(machine.recv(&fd, 2).unwrap(), b"in");
            machine.run_until(Duration::from_secs(600));
            assert_eq!(peer.received(), b"anybody there?");
        } else {
            assert_eq!(code(machine.recv(&fd, 64)), Some(Errno::TIMEDOUT));
            assert_eq!(world.elapsed().as_secs(), 924);
        }
    }
}

/// Catches: a connect that gives up with its last SYN, whose answer may be on its way; one that comes about by a SYN
/// that was never sent.
#[test]
fn a_connect_to_who_is_silent_gives_up_after_the_last_syn_had_its_time() {
    for (mended_at, expected, secs) in [(60, None, 67), (68, Some(Errno::TIMEDOUT), 131)] {
        let mut machine = Machine::new(1, Faults::none());
        let world = machine.world();
        let _outside = world.listen(address("10.1.1.1:80")).unwrap();
        let client = machine.socket();
        world.cut();
        let connecting = machine.start(connect(&client, "10.1.1.1:80"));
        machine.run_until(Duration::from_secs(mended_at));
        world.mend();
        assert_eq!(code(machine.finish::<Connect>(connecting)), expected);
        assert_eq!(world.elapsed().as_secs(), secs);
    }
}

#[test]
fn the_program_can_connect_to_the_outside() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    let outside = world.listen(address("93.184.216.34:443")).unwrap();
    let client = machine.socket();
    machine.run(connect(&client, "93.184.216.34:443")).unwrap();
    let peer = outside.accept().expect("a connection");
    machine.send(&client, b"hello").unwrap();
    assert_eq!(peer.received(), b"hello", "what is sent to the outside is there at once");
    peer.send(b"welcome").unwrap();
    peer.close();
    let mut heard = Vec::new();
    while let piece = machine.recv(&client, 16).unwrap()
        && !piece.is_empty()
    {
        heard.extend(piece);
    }
    assert_eq!(heard, b"welcome");
}

#[test]
fn what_is_not_modelled_is_unsupported_and_listed() {
    let mut machine = Machine::new(1, Faults::none());
    let request = SocketRequest::Socket {
        family: rustix::net::AddressFamily::UNIX,
        kind: rustix::net::SocketType::SEQPACKET,
        protocol: None,
    };
    assert_eq!(machine.call_socket(request).unwrap_err().kind(), io::ErrorKind::Unsupported);
    assert_eq!(machine.world().unsupported().len(), 1, "{:?}", machine.world().unsupported());
}

/// Catches: taking what was received, that takes the reset with it, so that a test believes in a good end.
#[test]
fn taking_what_the_program_sent_leaves_the_reset_to_be_seen() {
    let mut machine = Machine::new(1, Faults::none());
    let listener = machine.listener("127.0.0.1:80");
    let peer = machine.world().connect(address("127.0.0.1:80")).unwrap();
    let (server, _) = machine.accept(&listener);
    machine.send(&server, b"heard").unwrap();
    peer.send(b"never read").unwrap();
    machine.run_until(Duration::from_millis(1));
    drop(server);
    assert_eq!(peer.received(), b"heard");
    assert!(peer.is_reset());
}

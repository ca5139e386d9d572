//! Faults: each can be reached, and each keeps to its place.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::*;
use crate::op::file::{Fsync, Position, Read, Write};
use crate::op::path::{Base, Open, OpenHow, Stat, c_path};
use crate::op::ready::{Interest, Poll, PollMany};
use crate::op::socket::AcceptMany;

/// Asks for one of everything, and takes whatever comes.
fn ask_everything(machine: &mut Machine) {
    let world = machine.world();
    world.write_file("/tmp/a", &[1; 4_096]).unwrap();
    let how = OpenHow::new(OFlags::CREATE | OFlags::RDWR, Mode::from_raw_mode(0o644), ResolveFlags::empty());
    let path = c_path("/tmp/a".as_ref()).unwrap();
    // Several at once, so that replies are due together.
    let nops: Vec<Key> = (0..4).map(|_| machine.start(Nop)).collect();
    for key in nops {
        let _any = machine.finish::<Nop>(key);
    }
    let _any = machine.run(Stat::path(Base::Current, path.clone(), true));
    if let Ok(fd) = machine.run(Open { base: Base::Current, path, how }) {
        let fd = SharedFd::new(fd);
        let _any = machine.run(Read { fd: fd.clone(), buf: vec![0; 512], position: Position::At(0) });
        let _any = machine.run(Write { fd: fd.clone(), buf: vec![0; 512], position: Position::At(0) });
        let _any = machine.run(Fsync { fd: fd.clone(), data_only: true });
        let mut buf = [0; 16];
        let request = crate::op::file::FileRequest::Read {
            fd: fd.borrow(),
            buf: &mut buf,
            position: Position::At(0),
            flags: rustix::io::ReadWriteFlags::NOWAIT,
        };
        let _any = machine.call(Request::File(request));
        if let Ok(fd) = fd.try_into_fd() {
            let _any = machine.run(crate::op::file::Close::new(fd));
        }
    }
    ask_sockets(machine, &world);
}

fn ask_sockets(machine: &mut Machine, world: &World) {
    let at = address("127.0.0.1:9000");
    let request = || SocketRequest::Socket {
        family: rustix::net::AddressFamily::INET,
        kind: rustix::net::SocketType::STREAM,
        protocol: None,
    };
    let Ok(listener) = machine.call_socket(request()).and_then(Reply::fd).map(SharedFd::new) else { return };
    if machine.bind(&listener, "127.0.0.1:9000").is_err() || machine.listen(&listener, 8).is_err() {
        return;
    }
    let many = machine.start_stream(AcceptMany { fd: listener.clone() });
    for _ in 0..3 {
        let _any = world.connect(at);
    }
    machine.run_until(world.elapsed() + Duration::from_secs(10));
    machine.driver.cancel(many);
    machine.orphan(many);
    let peer = world.connect(at);
    let accepting = machine.start(Accept::new(listener.clone()));
    machine.run_until(world.elapsed() + Duration::from_secs(10));
    if let Some(Ok((fd, _))) = machine.poll::<Accept>(accepting) {
        let fd = SharedFd::new(fd);
        if let Ok(peer) = peer {
            let _any = peer.send(&[5; 100]);
        }
        let polled = machine.start_stream(PollMany { fd: fd.clone(), interest: Interest::READABLE });
        let _any = machine.run(Poll { fd: fd.clone(), interest: Interest::READABLE });
        let mut buf = [0; 16];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let _any =
            machine.call_socket(SocketRequest::Recv { fd: fd.borrow(), buf: &mut buf, flags, poll_first: false });
        let receiving = machine.start(recv(&fd, vec![0; 64]));
        machine.run_until(world.elapsed() + Duration::from_secs(10));
        machine.orphan(receiving);
        let flags = rustix::net::SendFlags::DONTWAIT;
        let _any = machine.call_socket(SocketRequest::Send { fd: fd.borrow(), buf: &[6; 100], flags, whole: false });
        let _any = machine.send(&fd, &[6; 100]);
        machine.orphan(polled);
    } else {
        machine.orphan(accepting);
    }
    if let Ok(client) = machine.call_socket(request()).and_then(Reply::fd).map(SharedFd::new) {
        let _any = machine.run(Connect { fd: client, address: at.into() });
    }
    machine.run_until(world.elapsed() + Duration::from_secs(10));
}

/// Catches: a fault that is declared and nowhere asked for, and a cell that is called impossible and reached.
#[test]
fn every_possible_cell_of_the_matrix_is_reached_and_no_other() {
    let mut cells = std::collections::BTreeMap::new();
    for seed in 0..40 {
        for fault in Fault::ALL {
            let probability = if seed % 2 == 0 { 0.5 } else { 0.1 };
            let mut machine = Machine::new(seed, Faults::none().with(fault, probability));
            ask_everything(&mut machine);
            machine.world().reached().into_iter().for_each(|cell| {
                let known: &mut (u64, _) = cells.entry((cell.op, cell.fault)).or_insert((0, cell.impossible));
                known.0 += cell.count;
            });
        }
    }
    // Names, options and shutdowns are asked by the tests of sockets; they can only lose their power.
    let unasked = ["shutdown", "name", "set option"];
    for ((op, fault), (count, impossible)) in cells {
        match impossible {
            Some(reason) => assert_eq!(count, 0, "{fault:?} struck {op}: {reason}"),
            None => assert!(count > 0 || unasked.contains(&op), "{fault:?} never struck {op}"),
        }
    }
}

/// Catches: a fault that answers twice, never, or leaks what it interrupts.
#[test]
fn with_all_faults_every_request_is_answered_once_and_nothing_leaks() {
    for seed in 0..200 {
        let mut machine = Machine::new(seed, Faults::all().with(Fault::PowerCut, 0.01));
        ask_everything(&mut machine);
        for key in machine.slots.keys() {
            machine.driver.cancel(key);
        }
        machine.run_until(machine.world().elapsed() + Duration::from_secs(10));
        assert_eq!(machine.slots.unanswered(), 0, "seed {seed}: {:?}", machine.slots.describe());
        assert_eq!(machine.world().open_descriptors(), 0, "seed {seed}: {:?}", machine.world().descriptors());
        assert_eq!(machine.driver.counters().submitted, u64::try_from(machine.driver.flights_started).unwrap());
        assert!(machine.driver.flights.is_empty() && machine.driver.names.is_empty(), "seed {seed}");
        assert!(machine.driver.waiting.is_empty(), "seed {seed}: {:?}", machine.driver.waiting);
    }
}

/// Catches: an overflow that loses replies.
#[test]
fn replies_that_overflow_come_later() {
    let mut machine = Machine::new(1, Faults::none().with(Fault::Overflow, 1.0));
    let keys: Vec<Key> = (0..20).map(|_| machine.start(Nop)).collect();
    // Nobody looks until all are due.
    machine.driver.shared.lock().clock.advance_to(1_000_000_000);
    let first = machine.wait(Park::No).unwrap();
    assert!((1..20).contains(&first), "{first}");
    for key in keys {
        machine.finish::<Nop>(key).unwrap();
    }
    assert!(machine.driver.counters().overflows > 0);
}

/// Catches: a reset that only one end hears of.
#[test]
fn a_reset_reaches_both_ends() {
    let mut machine = Machine::new(1, Faults::none());
    let (client, server) = machine.pair();
    machine.driver.shared.lock().ledger.set_faults(Faults::none().at_step(0, Fault::Reset));
    let error = machine.recv(&client, 8).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::CONNRESET));
    let error = machine.recv(&server, 8).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::CONNRESET));
}

/// Catches: a fault that strikes after its op was done.
#[test]
fn an_interrupted_receive_takes_nothing() {
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none().with(Fault::Interrupted, 0.5));
        let world = machine.world();
        machine.driver.shared.lock().ledger.set_faults(Faults::none());
        let listener = machine.listener("127.0.0.1:80");
        let peer = world.connect(address("127.0.0.1:80")).unwrap();
        let (fd, _) = machine.accept(&listener);
        machine.driver.shared.lock().ledger.set_faults(Faults::none().with(Fault::Interrupted, 0.5));
        peer.send(b"0123456789").unwrap();
        let mut received = Vec::new();
        while received.len() < 10 {
            match machine.recv(&fd, 3) {
                Ok(bytes) => received.extend(bytes),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
        }
        assert_eq!(received, b"0123456789", "seed {seed}");
    }
}

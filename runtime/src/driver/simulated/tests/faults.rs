//! Faults: each can be reached, and each keeps to its place.

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::*;
use crate::op::datagram::{DatagramRequest, RecvFrom, SendTo, Sender};
use crate::op::file::{Close, FileRequest, Fsync, Position, Read, Truncate, Write};
use crate::op::path::{Base, Open, OpenHow, Stat, c_path};
use crate::op::ready::{Interest, Poll, PollMany};
use crate::op::socket::{AcceptMany, End};

/// Asks for it among other things, all of which are due when somebody looks, and takes whatever comes. Sometimes it is
/// cancelled at once.
fn ask<T: Op>(machine: &mut Machine, op: T) -> Option<T::Output> {
    let key = machine.start(op);
    if machine.world().random_u64().is_multiple_of(4) {
        machine.driver.cancel(key);
    }
    let others = [machine.start(Nop), machine.start(Nop)];
    let output = among_others(machine, others, |machine| machine.poll::<T>(key));
    if output.is_none() {
        machine.orphan(key);
    }
    output
}

fn ask_many<T: StreamOp>(machine: &mut Machine, op: T, meanwhile: impl FnOnce(&mut Machine)) {
    let key = machine.start_stream(op);
    meanwhile(machine);
    let others = [machine.start(Nop), machine.start(Nop)];
    among_others(machine, others, |machine| machine.orphan(key));
}

fn among_others<R>(machine: &mut Machine, others: [Key; 2], then: impl FnOnce(&mut Machine) -> R) -> R {
    let world = machine.world();
    let late = world.elapsed() + Duration::from_millis(1);
    machine.driver.shared.lock().clock.advance_to(late.as_nanos().try_into().expect("short tests"));
    machine.run_until(late + Duration::from_secs(10));
    let result = then(machine);
    for key in others {
        let _any = machine.finish::<Nop>(key);
    }
    result
}

/// Asks for one of everything.
fn ask_everything(machine: &mut Machine) {
    machine.world().write_file("/tmp/a", &[1; 4_096]).unwrap();
    let _any = ask(machine, Nop);
    let path = c_path("/tmp/a".as_ref()).unwrap();
    let _any = ask(machine, Stat::path(Base::Current, path, true));
    ask_file(machine, OFlags::CREATE);
    ask_file(machine, OFlags::DIRECT);
    let _any = machine.call(Request::File(FileRequest::Pipe));
    let kind = rustix::net::SocketType::STREAM;
    let _any = machine.call_socket(SocketRequest::Pair { kind });
    ask_datagrams(machine);
    if let Some(listener) = ask_listener(machine) {
        ask_connections(machine, &listener);
    }
}

fn ask_file(machine: &mut Machine, flags: OFlags) {
    let how = OpenHow::new(OFlags::RDWR | flags, Mode::from_raw_mode(0o644), ResolveFlags::empty());
    let path = c_path("/tmp/a".as_ref()).unwrap();
    if let Some(Ok(fd)) = ask(machine, Open { base: Base::Current, path, how }) {
        let fd = SharedFd::new(fd);
        let _any = ask(machine, Read { fd: fd.clone(), buf: vec![0; 512], position: Position::At(0) });
        let _any = ask(machine, Write { fd: fd.clone(), buf: vec![0; 512], position: Position::At(0) });
        let _any = ask(machine, Truncate { fd: fd.clone(), len: 2_048 });
        let _any = ask(machine, Fsync { fd: fd.clone(), data_only: true });
        let (position, flags) = (Position::At(0), ReadWriteFlags::NOWAIT);
        let _any =
            machine.call(Request::File(FileRequest::Read { fd: fd.borrow(), buf: &mut [0; 512], position, flags }));
        let _any = machine.call(Request::File(FileRequest::Write { fd: fd.borrow(), buf: &[0; 512], position, flags }));
        let to = io::SeekFrom::Start(1);
        let _any = machine.call(Request::File(FileRequest::Seek { fd: fd.borrow(), to, out: &mut 0 }));
        machine.run_until(machine.world().elapsed() + Duration::from_secs(10));
        if let Ok(fd) = fd.try_into_fd() {
            let _any = ask(machine, Close::new(fd));
        }
    }
}

/// So that a fault in one place does not hide the places behind it.
fn insist<T>(mut attempt: impl FnMut() -> io::Result<T>) -> Option<T> {
    (0..8).find_map(|_| attempt().ok())
}

fn ask_socket(machine: &mut Machine) -> Option<SharedFd> {
    let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM);
    let fd = insist(|| machine.call_socket(SocketRequest::Socket { family, kind, protocol: None }))?;
    fd.fd().map(SharedFd::new).ok()
}

fn ask_datagrams(machine: &mut Machine) {
    let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
    let made = insist(|| machine.call_socket(SocketRequest::Socket { family, kind, protocol: None }));
    let Some(Ok(fd)) = made.map(|made| made.fd().map(SharedFd::new)) else { return };
    let Some(()) = insist(|| machine.bind(&fd, AT)) else { return };
    for _ in 0..2 {
        let (to, flags) = (address(AT).into(), SendFlags::empty());
        let _any = ask(machine, SendTo { fd: fd.clone(), buf: vec![7; 100], to, flags });
        let flags = RecvFlags::DONTWAIT;
        let (buf, from) = (&mut [0; 16], &mut Sender::room());
        let now = DatagramRequest::RecvFrom { fd: fd.borrow(), buf, from, flags, poll_first: false };
        let _any = machine.call(Request::Datagram(now));
        let (buf, from, flags) = (vec![0; 64], Sender::room(), RecvFlags::empty());
        let _any = ask(machine, RecvFrom { fd: fd.clone(), buf, from, flags, poll_first: false });
    }
}

fn ask_listener(machine: &mut Machine) -> Option<SharedFd> {
    let listener = ask_socket(machine)?;
    let option = SocketOption::NoDelay(true);
    let _any = machine.call_socket(SocketRequest::SetOption { fd: listener.borrow(), option });
    insist(|| machine.bind(&listener, AT))?;
    insist(|| machine.listen(&listener, 8))?;
    Some(listener)
}

const AT: &str = "127.0.0.1:9000";

fn ask_connections(machine: &mut Machine, listener: &SharedFd) {
    let world = machine.world();
    ask_many(machine, AcceptMany { fd: listener.clone() }, |_| {
        for _ in 0..3 {
            let _any = world.connect(address(AT));
        }
    });
    let peer = world.connect(address(AT));
    if let (Some(Ok((fd, _))), Ok(peer)) = (ask(machine, Accept::new(listener.clone())), peer) {
        let fd = SharedFd::new(fd);
        ask_many(machine, PollMany { fd: fd.clone(), interest: Interest::READABLE }, |_| {
            let _any = peer.send(&[5; 100]);
        });
        let _any = ask(machine, Poll { fd: fd.clone(), interest: Interest::READABLE });
        let flags = RecvFlags::DONTWAIT;
        let buf = &mut [0; 16];
        let _any = machine.call_socket(SocketRequest::Recv { fd: fd.borrow(), buf, flags, poll_first: false });
        let _any = ask(machine, recv(&fd, vec![0; 64]));
        let (buf, flags, whole) = (&[6; 100], SendFlags::DONTWAIT, false);
        let _any = machine.call_socket(SocketRequest::Send { fd: fd.borrow(), buf, flags, whole });
        let _any = ask(machine, Send { whole, ..send(&fd, &[6; 100]) });
        let mut room = SocketAddress::room();
        let _any = machine.call_socket(SocketRequest::Name { fd: fd.borrow(), end: End::Peer, address: &mut room });
        let _any = machine.call_socket(SocketRequest::Shutdown { fd: fd.borrow(), how: Shutdown::Both });
    }
    if let Some(client) = ask_socket(machine) {
        let _any = ask(machine, connect(&client, AT));
    }
}

/// Catches: a fault that is declared and nowhere asked for, and a cell that is called impossible and reached.
#[test]
fn every_possible_cell_of_the_matrix_is_reached_and_no_other() {
    let mut cells = std::collections::BTreeMap::new();
    for fault in Fault::ALL {
        // A power cut ends what else is in flight, so it comes once, at each step of two stories.
        let rounds = if fault == Fault::PowerCut { 200 } else { 60 };
        for round in 0..rounds {
            let (seed, faults) = match fault {
                Fault::PowerCut => (round % 2, Faults::none().at_step(round / 2, fault)),
                _ => (round, Faults::none().with(fault, if round % 2 == 0 { 0.5 } else { 0.1 })),
            };
            let mut machine = Machine::new(seed, faults);
            ask_everything(&mut machine);
            machine.world().reached().into_iter().for_each(|cell| {
                let known: &mut (u64, _) = cells.entry((cell.op, cell.fault)).or_insert((0, cell.impossible));
                known.0 += cell.count;
            });
        }
    }
    for ((op, fault), (count, impossible)) in cells {
        match impossible {
            Some(reason) => assert_eq!(count, 0, "{fault:?} struck {op}: {reason}"),
            None => assert!(count > 0, "{fault:?} never struck {op}"),
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
    machine.world().set_faults(Faults::none().at_step(0, Fault::Reset));
    let error = machine.recv(&client, 8).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::CONNRESET));
    let error = machine.recv(&server, 8).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::CONNRESET));
}

/// Catches: a fault that strikes after its op was done.
#[test]
fn an_interrupted_receive_takes_nothing() {
    for seed in 0..50 {
        let mut machine = Machine::new(seed, Faults::none());
        let world = machine.world();
        let listener = machine.listener("127.0.0.1:80");
        let peer = world.connect(address("127.0.0.1:80")).unwrap();
        let (fd, _) = machine.accept(&listener);
        machine.world().set_faults(Faults::none().with(Fault::Interrupted, 0.5));
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

//! What the simulated kernel promises, asked as a core asks: ops in slots, replies by key.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::handle::World;
use super::{Fault, Faults, Simulated};
use crate::driver::Park;
use crate::fd::{Fd, SharedFd};
use crate::inbox::Inbox;
use crate::inflight::held::{Cells, Held};
use crate::inflight::slots::{Consequence, Event, Key, Next, Orphan, Slots};
use crate::op::address::SocketAddress;
use crate::op::socket::{Accept, Connect, Recv, Send, SocketOption, SocketRequest};
use crate::op::{Nop, Op, Reply, Request, StreamOp};
use crate::task::Notify;

mod cancel;
mod datagrams;
mod faults;
mod files;
mod network;
mod time;
mod unix;

/// As much of a core as a driver needs.
struct Machine {
    driver: Simulated,
    slots: Slots,
    cells: Cells,
    /// What came, in its order, and when.
    trace: Vec<(Key, u64)>,
}

impl Machine {
    fn new(seed: u64, faults: Faults) -> Machine {
        let inbox = Inbox::new().expect("an eventfd");
        Machine::with(Simulated::new(seed, faults, inbox))
    }

    fn with(driver: Simulated) -> Machine {
        Machine { driver, slots: Slots::new(), cells: Cells::new(), trace: Vec::new() }
    }

    fn world(&self) -> World {
        self.driver.world()
    }

    fn start<T: Op>(&mut self, op: T) -> Key {
        let (held, loan) = Held::place(op, &self.cells);
        let key = self.slots.insert(held, Notify::of(Waker::noop()));
        self.driver.start(loan.under(key));
        key
    }

    fn start_stream<T: StreamOp>(&mut self, op: T) -> Key {
        let (held, loan) = Held::place(op, &self.cells);
        let key = self.slots.insert_stream(held, loan.replies());
        self.driver.start(loan.under(key));
        key
    }

    /// One wait, and how many replies it brought.
    fn wait(&mut self, park: Park) -> io::Result<usize> {
        let mut events = Vec::new();
        self.driver.wait(park, |event| events.push(event))?;
        let count = events.len();
        for event in events {
            let (Event::Last(key, _) | Event::More(key, _)) = &event;
            self.trace.push((*key, self.world().elapsed().as_nanos().try_into().expect("short tests")));
            if let Consequence::Abandon(held, proof) = self.slots.deliver(event) {
                held.abandon(proof, &self.cells);
            }
        }
        Ok(count)
    }

    /// The op's output, if it is there.
    fn poll<T: Op>(&mut self, key: Key) -> Option<T::Output> {
        let (held, proof) = self.slots.poll(key)?;
        let (op, reply) = held.settle::<T, _>(proof, &self.cells, |op, reply| (op, reply));
        Some(op.finish(reply))
    }

    fn finish<T: Op>(&mut self, key: Key) -> T::Output {
        loop {
            if let Some(output) = self.poll::<T>(key) {
                return output;
            }
            self.wait(Park::Until(None)).expect("something happens");
        }
    }

    fn run<T: Op>(&mut self, op: T) -> T::Output {
        let key = self.start(op);
        self.finish::<T>(key)
    }

    /// The next of many replies: `Err` is the last one.
    fn next<T: StreamOp>(&mut self, key: Key) -> Result<T::Item, T::Output> {
        loop {
            match self.slots.next(key) {
                Next::Item(reply) => return Ok(T::item(reply)),
                Next::Last(held, proof) => {
                    let (op, reply) = held.settle::<T, _>(proof, &self.cells, |op, reply| (op, reply));
                    return Err(op.finish(reply));
                }
                Next::Nothing => self.wait(Park::Until(None)).expect("something happens"),
            };
        }
    }

    /// Drops the future of an op, as a core does.
    fn orphan(&mut self, key: Key) {
        match self.slots.orphan(key) {
            (Orphan::Cancel, _) => self.driver.cancel(key),
            (Orphan::Answered(held, proof, _), _) => held.abandon(proof, &self.cells),
            (Orphan::Finish | Orphan::Gone, _) => {}
        }
    }

    fn call(&mut self, mut request: Request<'_>) -> io::Result<Reply> {
        Ok(self.driver.call(&mut request)?)
    }

    fn call_socket(&mut self, request: SocketRequest<'_>) -> io::Result<Reply> {
        self.call(Request::Socket(request))
    }

    /// Lets the world run until `moment` after its beginning.
    fn run_until(&mut self, moment: Duration) {
        while self.world().elapsed() < moment {
            let until = self.driver.now() + (moment - self.world().elapsed());
            self.wait(Park::Until(Some(until))).expect("time passes");
        }
    }

    fn socket(&mut self) -> SharedFd {
        let request = SocketRequest::Socket {
            family: rustix::net::AddressFamily::INET,
            kind: rustix::net::SocketType::STREAM,
            protocol: None,
        };
        SharedFd::new(self.call_socket(request).and_then(Reply::fd).expect("a socket"))
    }

    fn bind(&mut self, fd: &SharedFd, at: &str) -> io::Result<()> {
        let address = SocketAddress::from(address(at));
        self.call_socket(SocketRequest::Bind { fd: fd.borrow(), address: &address }).map(drop)
    }

    fn listen(&mut self, fd: &SharedFd, backlog: i32) -> io::Result<()> {
        self.call_socket(SocketRequest::Listen { fd: fd.borrow(), backlog }).map(drop)
    }

    /// A listener at `at`.
    fn listener(&mut self, at: &str) -> SharedFd {
        let fd = self.socket();
        let option = SocketOption::ReuseAddress(true);
        self.call_socket(SocketRequest::SetOption { fd: fd.borrow(), option }).expect("an option");
        self.bind(&fd, at).expect("a free address");
        self.listen(&fd, 128).expect("a bound socket");
        fd
    }

    /// The next connection of a listener.
    fn accept(&mut self, listener: &SharedFd) -> (SharedFd, SocketAddr) {
        let (fd, peer) = self.run(Accept::new(listener.clone())).expect("a connection");
        (SharedFd::new(fd), peer.ip().expect("an address"))
    }

    /// Two ends of a connection, both of them the program's.
    fn pair(&mut self) -> (SharedFd, SharedFd) {
        let listener = self.listener("127.0.0.1:7000");
        let client = self.socket();
        let connecting = self.start(connect(&client, "127.0.0.1:7000"));
        let (server, _) = self.accept(&listener);
        self.finish::<Connect>(connecting).expect("somebody listens");
        (client, server)
    }

    fn recv(&mut self, fd: &SharedFd, len: usize) -> io::Result<Vec<u8>> {
        let (count, mut buf) = self.run(recv(fd, vec![0; len]))?;
        buf.truncate(count);
        Ok(buf)
    }

    fn send(&mut self, fd: &SharedFd, bytes: &[u8]) -> io::Result<usize> {
        let (count, _) = self.run(send(fd, bytes))?;
        Ok(count)
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn connect(fd: &SharedFd, to: &str) -> Connect {
    Connect { fd: fd.clone(), address: address(to).into(), ours: true }
}

fn recv<B>(fd: &SharedFd, buf: B) -> Recv<B> {
    Recv { fd: fd.clone(), buf, flags: rustix::net::RecvFlags::empty(), poll_first: false }
}

fn send(fd: &SharedFd, bytes: &[u8]) -> Send<Vec<u8>> {
    Send { fd: fd.clone(), buf: bytes.to_vec(), flags: rustix::net::SendFlags::empty(), whole: true }
}

/// Everything that is observable of a small program: which replies came in which order and when, and what they said.
fn story(seed: u64, faults: Faults) -> (Vec<(Key, u64)>, String) {
    let mut machine = Machine::new(seed, faults);
    let world = machine.world();
    let listener = machine.listener("127.0.0.1:80");
    let mut told = String::new();
    let keys: Vec<Key> = (0..10).map(|_| machine.start(Nop)).collect();
    let peers: Vec<_> = (0..4).map(|_| world.connect(address("127.0.0.1:80")).expect("room")).collect();
    let mut connections = Vec::new();
    for (index, peer) in peers.iter().enumerate() {
        peer.send(&vec![u8::try_from(index).expect("few"); 5_000]).expect("open");
        match machine.run(Accept::new(listener.clone())) {
            Ok((fd, peer)) => {
                told += &format!("accepted {peer:?}\n");
                connections.push(SharedFd::new(fd));
            }
            Err(error) => told += &format!("accept: {error}\n"),
        }
    }
    for fd in &connections {
        for _ in 0..3 {
            let received = machine.recv(fd, 2_000).map(|bytes| bytes.len());
            told += &format!("received {:?}\n", received.map_err(|error| error.kind()));
        }
    }
    for key in keys {
        told += &format!("nop: {:?}\n", machine.finish::<Nop>(key).map_err(|error| error.kind()));
    }
    (machine.trace, told)
}

/// Catches: a schedule that draws from anything but the seed, such as the order of a HashMap or the real clock.
#[test]
fn the_same_seed_tells_the_same_story_and_other_seeds_others() {
    let mut stories = Vec::new();
    for seed in 0..50 {
        let told = story(seed, Faults::ordinary());
        assert_eq!(told, story(seed, Faults::ordinary()), "seed {seed}");
        stories.push(told.0);
    }
    stories.sort_by_key(|trace| format!("{trace:?}"));
    stories.dedup();
    assert_eq!(stories.len(), 50, "some seeds tell the same story");
}

#[test]
fn replies_come_in_every_order() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut machine = Machine::new(seed, Faults::none());
        let keys: Vec<Key> = (0..3).map(|_| machine.start(Nop)).collect();
        while machine.trace.len() < keys.len() {
            machine.wait(Park::Until(None)).unwrap();
        }
        orders.insert(machine.trace.iter().map(|(key, _)| keys.iter().position(|k| k == key)).collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 6, "of the six orders of three");
}

/// The buffer of an op that shows when it is written, which reading it while the driver has it must not.
struct Watched {
    bytes: Box<[u8]>,
    given: Rc<Cell<bool>>,
}

impl crate::buf::IoBuf for Watched {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl crate::buf::IoBufMut for Watched {
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.given.set(true);
        &mut self.bytes
    }
}

/// The bytes are there before the read starts, and still they reach the buffer with the answer only: what is cancelled
/// in between leaves it untouched, and takes nothing from the stream.
/// Catches: a driver that receives at `start`, or at the end of the wait before the answer.
#[test]
fn memory_is_written_when_the_answer_is_given_and_not_before() {
    let mut cancelled = 0;
    for seed in 0..100 {
        let mut machine = Machine::new(seed, Faults::none());
        let world = machine.world();
        let listener = machine.listener("127.0.0.1:80");
        let peer = world.connect(address("127.0.0.1:80")).unwrap();
        let (fd, _) = machine.accept(&listener);
        peer.send(b"there").unwrap();
        machine.run_until(Duration::from_millis(1));

        let given = Rc::new(Cell::new(false));
        let buf = Watched { bytes: vec![0xee; 16].into(), given: given.clone() };
        let key = machine.start(recv(&fd, buf));
        assert!(given.get(), "the driver has the memory");
        machine.driver.cancel(key);
        match machine.finish::<Recv<Watched>>(key) {
            Ok((5, buf)) => {
                assert_eq!(&*buf.bytes, b"there\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee", "seed {seed}")
            }
            Ok((count, _)) => panic!("seed {seed}: {count} bytes"),
            Err(error) => {
                assert_eq!(error.error().raw_os_error(), Some(rustix::io::Errno::CANCELED.raw_os_error()));
                assert_eq!(*error.into_buf().bytes, [0xee; 16], "seed {seed}: touched, and then not answered");
                assert_eq!(machine.recv(&fd, 16).unwrap(), b"there", "seed {seed}: lost");
                cancelled += 1;
            }
        }
    }
    assert!((10..90).contains(&cancelled), "{cancelled} of 100 were cancelled in time");
}

#[test]
fn descriptors_close_themselves_wherever_they_are_dropped() {
    let mut machine = Machine::new(1, Faults::none());
    let world = machine.world();
    let (client, server) = machine.pair();
    assert_eq!(world.open_descriptors(), 2, "{:?}", world.descriptors());
    let fd = match client.try_into_fd() {
        Ok(fd) => fd,
        Err(shared) => panic!("{shared:?} is shared"),
    };
    let Fd::Simulated(fd) = fd else { panic!("a descriptor of the real kernel") };
    std::thread::spawn(move || drop(fd)).join().unwrap();
    assert_eq!(world.open_descriptors(), 1);
    assert_eq!(machine.recv(&server, 8).unwrap(), b"", "the other end hears of it");
    drop(server);
    assert_eq!(world.descriptors(), []);
}

#[test]
fn two_cores_share_a_world_and_its_time() {
    let mut first = Machine::new(3, Faults::none());
    let world = first.world();
    let inbox = Inbox::new().unwrap();
    let mut second = Machine::with(Simulated::beside(&world, Arc::clone(&inbox)));
    let one = first.start(Nop);
    let other = second.start(Nop);
    let mut turns = 0;
    let (mut first_done, mut second_done) = (false, false);
    while !(first_done && second_done) {
        first.wait(Park::Until(None)).unwrap();
        first_done = first_done || first.poll::<Nop>(one).is_some();
        second.wait(Park::Until(None)).unwrap();
        second_done = second_done || second.poll::<Nop>(other).is_some();
        turns += 1;
        assert!(turns < 10, "the cores wait for each other");
    }
    assert_eq!(first.driver.now(), second.driver.now());
}

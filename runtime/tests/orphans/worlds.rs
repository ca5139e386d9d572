//! Files and streams in the real world and in the simulated one, and their far sides.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use runtime::fd::{Fd, SharedFd};
use runtime::op::address::SocketAddress;
use runtime::op::file::{Position, Write};
use runtime::op::path::{Base, Open, OpenHow, c_path};
use runtime::op::socket::{Connect, End};
use runtime::simulated::{self, Peer, PeerDatagrams};
use runtime::testing::Driver;
use runtime::{call, submit};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{AddressFamily, SendFlags, SocketType};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A file with something in it.
pub struct Subject {
    path: PathBuf,
    is_simulated: bool,
}

impl Subject {
    pub fn new(driver: Driver, contents: &[u8]) -> Subject {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("gimmal-orphans-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let is_simulated = driver == Driver::Simulated;
        let path = if is_simulated { PathBuf::from("/").join(name) } else { std::env::temp_dir().join(name) };
        if is_simulated {
            simulated::world().write_file(&path, contents).unwrap();
        } else {
            fs::write(&path, contents).unwrap();
        }
        Subject { path, is_simulated }
    }

    /// The op that opens it.
    pub fn open(&self) -> Open {
        let how = OpenHow::new(OFlags::RDWR, Mode::empty(), ResolveFlags::empty());
        Open { base: Base::Current, path: c_path(&self.path).unwrap(), how }
    }

    pub async fn opened(&self) -> SharedFd {
        SharedFd::new(submit(self.open()).await.unwrap())
    }

    pub fn contents(&self) -> Vec<u8> {
        if !self.is_simulated {
            return fs::read(&self.path).unwrap();
        }
        let files = simulated::world().files();
        files.into_iter().find(|file| file.path == self.path).expect("it was written").contents
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if !self.is_simulated {
            fs::remove_file(&self.path).unwrap();
        }
    }
}

/// The far side of a stream. It never waits.
#[derive(Clone)]
pub enum Far {
    /// The end of a pipe that the program does not have.
    Pipe(Rc<OwnedFd>),
    /// The same of a simulated pipe, whose two ends are the program's.
    SimulatedPipe(SharedFd),
    Unix(Rc<UnixStream>),
    Simulated(Peer),
    /// A socket of datagrams, and ours.
    Udp(Rc<UdpSocket>, SocketAddr),
    SimulatedUdp(PeerDatagrams, SocketAddr),
}

impl Far {
    pub fn send(&self, bytes: &[u8]) {
        match self {
            Far::Pipe(end) => assert_eq!(rustix::io::write(end, bytes).unwrap(), bytes.len()),
            Far::SimulatedPipe(end) => {
                let write = Write { fd: end.clone(), buf: bytes.to_vec(), position: Position::Cursor };
                drop(runtime::spawn(async { drop(submit(write).await.unwrap()) }));
            }
            Far::Unix(stream) => io::Write::write_all(&mut &**stream, bytes).unwrap(),
            Far::Simulated(peer) => peer.send(bytes).unwrap(),
            Far::Udp(socket, to) => assert_eq!(socket.send_to(bytes, to).unwrap(), bytes.len()),
            Far::SimulatedUdp(socket, to) => socket.send_to(bytes, *to).unwrap(),
        }
    }

    /// All that has come since the last time.
    pub fn take(&self) -> Vec<u8> {
        match self {
            Far::Pipe(end) => read_all(|buf| Ok(rustix::io::read(end, buf)?)),
            Far::SimulatedPipe(end) => read_all(|buf| call::try_read(end, buf, Position::Cursor)),
            Far::Unix(stream) => read_all(|buf| io::Read::read(&mut &**stream, buf)),
            Far::Simulated(peer) => peer.received(),
            Far::Udp(socket, _) => read_all(|buf| socket.recv(buf)),
            Far::SimulatedUdp(socket, _) => socket.received().into_iter().flat_map(|datagram| datagram.bytes).collect(),
        }
    }

    /// Where a socket of datagrams is.
    pub fn address(&self) -> SocketAddr {
        match self {
            Far::Udp(socket, _) => socket.local_addr().unwrap(),
            Far::SimulatedUdp(socket, _) => socket.address().unwrap(),
            Far::Pipe(_) | Far::SimulatedPipe(_) | Far::Unix(_) | Far::Simulated(_) => panic!("it has no address"),
        }
    }
}

/// Reads until there is nothing more for now.
fn read_all(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(count @ 1..) = read(&mut piece) {
        all.extend_from_slice(&piece[..count]);
    }
    all
}

/// The reading end of a pipe, which stays blocking, and its far side, which is not.
pub fn pipe_to_read(driver: Driver) -> (SharedFd, Far) {
    let (reader, writer) = pipe();
    if driver == Driver::Simulated {
        return (reader, Far::SimulatedPipe(writer));
    }
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    (reader, Far::Pipe(owned(writer)))
}

/// The writing end of a pipe without any room, and its far side.
pub async fn full_pipe(driver: Driver) -> (SharedFd, Far) {
    let (reader, writer) = pipe();
    let fill = Write { fd: writer.clone(), buf: vec![0; 64 << 10], position: Position::Cursor };
    assert_eq!(submit(fill).await.unwrap().0, 64 << 10);
    if driver == Driver::Simulated {
        return (writer, Far::SimulatedPipe(reader));
    }
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    (writer, Far::Pipe(owned(reader)))
}

fn pipe() -> (SharedFd, SharedFd) {
    let (reader, writer) = call::pipe().unwrap();
    (SharedFd::new(reader), SharedFd::new(writer))
}

fn owned(fd: SharedFd) -> Rc<OwnedFd> {
    match fd.try_into_fd().expect("nobody shares it") {
        Fd::Os(fd) => Rc::new(fd),
        other => panic!("{other:?} is no descriptor of this process"),
    }
}

/// A socket of datagrams that is not connected, and one that knows where it is.
pub fn datagrams(driver: Driver) -> (SharedFd, Far) {
    let fd = SharedFd::new(call::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap());
    call::bind(&fd, LOOPBACK).unwrap();
    let ours = call::name(&fd, End::Local).unwrap().ip().unwrap();
    if driver == Driver::Simulated {
        return (fd, Far::SimulatedUdp(simulated::world().datagrams("10.0.0.9:7".parse().unwrap()).unwrap(), ours));
    }
    let theirs = UdpSocket::bind(LOOPBACK).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (fd, Far::Udp(Rc::new(theirs), ours))
}

/// A connected stream socket and its far side.
pub async fn stream(driver: Driver) -> (SharedFd, Far) {
    if driver != Driver::Simulated {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        return (SharedFd::new(OwnedFd::from(ours)), Far::Unix(Rc::new(theirs)));
    }
    let outside = simulated::world().listen("10.0.0.9:7".parse().unwrap()).unwrap();
    let fd = socket();
    let address = SocketAddress::from(outside.address().unwrap());
    submit(Connect { fd: fd.clone(), address, ours: true }).await.unwrap();
    (fd, Far::Simulated(outside.accept().expect("it is connected")))
}

/// A connected stream socket without any room to send, and its far side.
pub async fn full_stream(driver: Driver) -> (SharedFd, Far) {
    let (fd, far) = stream(driver).await;
    if driver == Driver::Simulated {
        while try_send(&fd).await {}
    } else {
        while rustix::net::send(fd.os().unwrap(), &[0; 4096], SendFlags::DONTWAIT).is_ok() {}
    }
    (fd, far)
}

async fn try_send(fd: &SharedFd) -> bool {
    // What a task may do inline in one turn is bounded, so each try has a turn.
    runtime::yield_now().await;
    call::try_send(fd, &[0; 4096], SendFlags::empty()).is_ok()
}

/// What can still be read. Without a runtime, on descriptors of this process only.
pub fn left(fd: &SharedFd) -> Vec<u8> {
    match fd.os() {
        Ok(os) => read_all(|buf| Ok(rustix::io::preadv2(os, &mut [io::IoSliceMut::new(buf)], u64::MAX, NOWAIT)?)),
        Err(_) => read_all(|buf| call::try_read(fd, buf, Position::Cursor)),
    }
}

const NOWAIT: rustix::io::ReadWriteFlags = rustix::io::ReadWriteFlags::NOWAIT;

fn socket() -> SharedFd {
    SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap())
}

/// A socket without a connection, and where one listens for it.
pub fn unconnected(driver: Driver) -> (SharedFd, SocketAddr, Listening) {
    if driver == Driver::Simulated {
        let outside = simulated::world().listen("10.0.0.9:7".parse().unwrap()).unwrap();
        return (socket(), outside.address().unwrap(), Listening { _real: None });
    }
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    (socket(), listener.local_addr().unwrap(), Listening { _real: Some(listener) })
}

/// Keeps a listener of the outside; a simulated one stays by itself.
pub struct Listening {
    _real: Option<TcpListener>,
}

/// A listener of the program's.
#[derive(Clone)]
pub struct Listener {
    pub fd: SharedFd,
    address: SocketAddr,
    clients: Rc<RefCell<Vec<Client>>>,
}

enum Client {
    Real(TcpStream),
    Simulated(Peer),
}

impl Listener {
    pub fn new() -> Listener {
        let fd = socket();
        call::bind(&fd, LOOPBACK).unwrap();
        call::listen(&fd, 16).unwrap();
        let address = call::name(&fd, End::Local).unwrap().ip().unwrap();
        Listener { fd, address, clients: Rc::default() }
    }

    /// Somebody connects from outside.
    pub fn visit(&self) {
        let client = match self.fd.os() {
            Ok(_) => Client::Real(TcpStream::connect(self.address).unwrap()),
            Err(_) => Client::Simulated(simulated::world().connect(self.address).unwrap()),
        };
        self.clients.borrow_mut().push(client);
    }

    /// Whether all who came have been sent away: their connection is over.
    pub fn has_ended_all(&self) -> bool {
        let ended = |client: &Client| match client {
            Client::Real(stream) => {
                stream.set_nonblocking(true).unwrap();
                !matches!(io::Read::read(&mut &*stream, &mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Client::Simulated(peer) => peer.has_ended(),
        };
        self.clients.borrow().iter().all(ended)
    }

    /// Whether somebody waits to be accepted. Without a runtime, on descriptors of this process only.
    pub fn has_visitor(&self) -> bool {
        let Ok(os) = self.fd.os() else { return !self.has_ended_all() };
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(os, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
    }
}

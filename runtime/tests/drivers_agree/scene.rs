//! Where a scenario plays: files under a folder of its own, sockets on the loopback, and what it told so far.
//!
//! Both sides of every connection are made by ops, so a scenario is the same program on every driver.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::buf::BufError;
use runtime::fd::{Fd, SharedFd};
use runtime::op::file::{Position, Read, Write};
use runtime::op::path::{Base, Open, OpenHow, c_path};
use runtime::op::ready::{Interest, Poll};
use runtime::op::socket::{Accept, Connect, End, Recv, Send};
use runtime::op::{Op, StreamOp};
use runtime::time::{now, timeout};
use runtime::{Replies, Step, call, simulated, spawn, submit, yield_now};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

use crate::pipes;
use crate::shown::Shown;
use crate::table::Variant;
use crate::unix;
use crate::unix_datagrams;

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// One result.
#[derive(Debug, Clone)]
pub struct Told {
    /// What was asked.
    pub what: String,
    /// What came back, or the relation that it keeps to.
    pub outcome: String,
    /// The relation, where the results need not be equal.
    pub open: Option<&'static str>,
}

/// What a man page leaves open: any of these outcomes will do.
pub struct Either {
    /// How an outcome may begin.
    pub among: &'static [&'static str],
    /// The results that may come, and who says so.
    pub says: &'static str,
}

#[derive(Clone)]
pub struct Scene {
    story: Arc<Mutex<Vec<Told>>>,
    patience: Duration,
    folder: PathBuf,
    cleans: Option<Arc<Cleans>>,
}

/// Takes the folder away in the end.
struct Cleans(PathBuf);

impl Drop for Cleans {
    fn drop(&mut self) {
        // A scenario that was told to leave no file need not have made any.
        let _none = std::fs::remove_dir_all(&self.0);
    }
}

impl Scene {
    pub fn new(driver: Variant, story: Arc<Mutex<Vec<Told>>>, patience: Duration) -> Scene {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("gimmal-agree-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let cleans = (!driver.is_simulated()).then(|| Arc::new(Cleans(folder.clone())));
        Scene { story, patience, folder, cleans }
    }

    pub fn is_simulated(&self) -> bool {
        self.cleans.is_none()
    }

    pub fn tell(&self, what: impl Display, outcome: &(impl Shown + ?Sized)) {
        self.push(what.to_string(), outcome.shown(), None);
    }

    /// Tells an outcome that may be any of those that the man page allows. Another one stands out.
    pub fn tell_either(&self, what: impl Display, outcome: &(impl Shown + ?Sized), either: &Either) {
        let outcome = outcome.shown();
        let is_allowed = either.among.iter().any(|begins| outcome.starts_with(begins));
        self.push(what.to_string(), if is_allowed { either.says.into() } else { outcome }, Some(either.says));
    }

    fn push(&self, what: String, outcome: String, open: Option<&'static str>) {
        self.story.lock().unwrap_or_else(PoisonError::into_inner).push(Told { what, outcome, open });
    }

    /// Asks for an op, and stops it when it keeps the scenario waiting: that shows as «waits».
    pub fn ask<T: Op>(&self, op: T) -> impl Future<Output = T::Output> + use<T> {
        submit(op).deadline(now() + self.patience)
    }

    /// What `future` comes to, or nothing when it keeps the scenario waiting.
    pub async fn limit<F: Future>(&self, future: F) -> Option<F::Output> {
        timeout(self.patience, future).await.ok()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Puts a file there before the program runs, with the folders that lead to it.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        if self.is_simulated() {
            simulated::world().write_file(path, bytes).expect("a path of ours");
        } else {
            std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder for temporary files");
            std::fs::write(path, bytes).expect("a folder for temporary files");
        }
    }

    /// The op that opens `name` in the folder.
    pub fn open(&self, name: &str, flags: OFlags) -> Open {
        let mode = Mode::RUSR | Mode::WUSR;
        let path = c_path(&self.path(name)).expect("no NUL");
        Open { base: Base::Current, path, how: OpenHow::new(flags, mode, ResolveFlags::empty()) }
    }

    pub async fn opened(&self, name: &str, flags: OFlags) -> SharedFd {
        SharedFd::new(submit(self.open(name, flags)).await.expect("it can be opened"))
    }

    /// A new file with something in it.
    pub async fn file(&self, name: &str, bytes: &[u8], flags: OFlags) -> SharedFd {
        self.put(name, bytes);
        self.opened(name, flags).await
    }
}

pub fn read(fd: &SharedFd, len: usize, position: Position) -> Read<Vec<u8>> {
    Read { fd: fd.clone(), buf: vec![b'.'; len], position }
}

pub fn write(fd: &SharedFd, bytes: &[u8], position: Position) -> Write<Vec<u8>> {
    Write { fd: fd.clone(), buf: bytes.to_vec(), position }
}

pub fn recv(fd: &SharedFd, len: usize, flags: RecvFlags) -> Recv<Vec<u8>> {
    Recv { fd: fd.clone(), buf: vec![b'.'; len], flags, poll_first: false }
}

pub fn send(fd: &SharedFd, bytes: &[u8]) -> Send<Vec<u8>> {
    Send { fd: fd.clone(), buf: bytes.to_vec(), flags: SendFlags::empty(), whole: true }
}

/// All that comes until the end, or until an error, which is the last thing that is shown.
pub async fn recv_to_end(fd: &SharedFd) -> String {
    let mut all = Vec::new();
    loop {
        match submit(recv(fd, 64 << 10, RecvFlags::empty())).await {
            Ok((0, _)) => return format!("{} and the end", all.shown()),
            Ok((count, buf)) => all.extend_from_slice(&buf[..count]),
            Err(error) => return format!("{} and {}", all.shown(), Err::<(), io::Error>(error.into()).shown()),
        }
    }
}

pub async fn is_ready(fd: &SharedFd, interest: Interest) -> io::Result<Interest> {
    submit(Poll { fd: fd.clone(), interest }).await
}

/// The error alone, where the buffer is of no interest.
pub fn count<B>(result: Result<(usize, B), BufError<B>>) -> io::Result<usize> {
    Ok(result?.0)
}

pub async fn next<T: StreamOp>(replies: &mut Replies<T>) -> Step<T> {
    poll_fn(|context| replies.poll_next(context)).await
}

pub fn tcp() -> SharedFd {
    SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket"))
}

pub fn bound() -> SharedFd {
    let fd = tcp();
    call::bind(&fd, LOOPBACK).expect("a free port");
    fd
}

pub fn listener() -> SharedFd {
    let fd = bound();
    call::listen(&fd, 16).expect("nobody else has the port");
    fd
}

pub fn local(fd: &SharedFd) -> SocketAddr {
    call::name(fd, End::Local).and_then(|name| name.ip()).expect("it is bound")
}

pub fn connect(fd: &SharedFd, address: SocketAddr) -> Connect {
    Connect { fd: fd.clone(), address: address.into(), ours: true }
}

/// A connection: who connected, and who accepted.
pub async fn pair() -> (SharedFd, SharedFd) {
    let (listener, client) = (listener(), tcp());
    submit(connect(&client, local(&listener))).await.expect("somebody listens");
    let (server, _) = submit(Accept::new(listener)).await.expect("it is connected");
    (client, SharedFd::new(server))
}

pub fn udp() -> SharedFd {
    SharedFd::new(call::socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket"))
}

/// Two sockets of datagrams that speak with each other alone.
pub async fn datagram_pair() -> (SharedFd, SharedFd) {
    let (one, other) = (udp(), udp());
    for fd in [&one, &other] {
        call::bind(fd, LOOPBACK).expect("a free port");
    }
    submit(connect(&one, local(&other))).await.expect("datagrams need nobody");
    submit(connect(&other, local(&one))).await.expect("datagrams need nobody");
    (one, other)
}

/// One descriptor of each kind that the kernel tells apart, and the far sides that keep them so.
pub struct Kinds {
    pub all: Vec<(&'static str, SharedFd)>,
    _far: Vec<SharedFd>,
}

impl Kinds {
    pub async fn new(scene: &Scene) -> Kinds {
        let mut all = Vec::new();
        let files = [
            ("file to read", OFlags::RDONLY),
            ("file to write", OFlags::WRONLY),
            ("file for both", OFlags::RDWR),
            ("file to append to", OFlags::RDWR | OFlags::APPEND),
            ("path of a file", OFlags::PATH),
        ];
        for (index, (kind, flags)) in files.into_iter().enumerate() {
            all.push((kind, scene.file(&format!("kinds/{index}"), b"0123456789", flags).await));
        }
        all.push(("directory", scene.opened("kinds", OFlags::DIRECTORY).await));
        all.push(("path of a directory", scene.opened("kinds", OFlags::DIRECTORY | OFlags::PATH).await));
        let mut far = Vec::new();
        all.push(("descriptor of another world", foreign(scene)));
        all.push(("fresh socket", tcp()));
        all.push(("bound socket", bound()));
        all.push(("listener", listener()));
        let busy = listener();
        let client = tcp();
        submit(connect(&client, local(&busy))).await.expect("somebody listens");
        is_ready(&busy, Interest::READABLE).await.expect("it is connected");
        all.push(("listener where somebody waits", busy));
        far.push(client);
        Kinds::add_streams(&mut all, &mut far).await;
        Kinds::add_datagrams(&mut all, &mut far).await;
        unix::add_kinds(&mut all, &mut far).await;
        unix_datagrams::add_kinds(&mut all, &mut far).await;
        pipes::add_kinds(&mut all, &mut far).await;
        Kinds { all, _far: far }
    }

    async fn add_datagrams(all: &mut Vec<(&'static str, SharedFd)>, far: &mut Vec<SharedFd>) {
        all.push(("fresh socket of datagrams", udp()));
        let bound = udp();
        call::bind(&bound, LOOPBACK).expect("a free port");
        all.push(("bound socket of datagrams", bound));
        let (ours, theirs) = datagram_pair().await;
        all.push(("connected socket of datagrams", ours));
        far.push(theirs);
        let (ours, theirs) = datagram_pair().await;
        submit(send(&theirs, b"hello")).await.expect("there is room");
        is_ready(&ours, Interest::READABLE).await.expect("it came");
        all.push(("socket with a datagram", ours));
        far.push(theirs);
    }

    async fn add_streams(all: &mut Vec<(&'static str, SharedFd)>, far: &mut Vec<SharedFd>) {
        use rustix::net::Shutdown::{Both, Read, Write};
        let (ours, theirs) = pair().await;
        all.push(("quiet stream", ours));
        far.push(theirs);
        let (ours, theirs) = pair().await;
        submit(send(&theirs, b"hello")).await.expect("there is room");
        is_ready(&ours, Interest::READABLE).await.expect("bytes came");
        all.push(("stream with bytes", ours));
        far.push(theirs);
        let (ours, theirs) = pair().await;
        call::shutdown(&theirs, Write).expect("it is connected");
        is_ready(&ours, Interest::READABLE).await.expect("the end came");
        all.push(("stream that was ended", ours));
        far.push(theirs);
        for (kind, how) in
            [("stream shut for reading", Read), ("stream shut for writing", Write), ("stream shut for both", Both)]
        {
            let (ours, theirs) = pair().await;
            call::shutdown(&ours, how).expect("it is connected");
            all.push((kind, ours));
            far.push(theirs);
        }
        let (ours, theirs) = pair().await;
        break_off(&ours, theirs).await;
        all.push(("broken stream", ours));
    }
}

/// Closes `theirs` with something unread, which resets the connection, and waits until `ours` knows.
pub async fn break_off(ours: &SharedFd, theirs: SharedFd) {
    submit(send(ours, b"unread")).await.expect("there is room");
    is_ready(&theirs, Interest::READABLE).await.expect("bytes came");
    drop(theirs);
    is_ready(ours, Interest::READABLE).await.expect("the reset came");
}

/// A descriptor of the simulated kernel for the real one, and the other way round: to either, no descriptor at all.
pub fn foreign(scene: &Scene) -> SharedFd {
    if scene.is_simulated() {
        return SharedFd::new(Fd::from(std::os::fd::OwnedFd::from(
            std::fs::File::open("/dev/null").expect("it is there"),
        )));
    }
    let elsewhere = std::thread::spawn(|| {
        let runtime = Variant::Simulated { seed: 0 }.build().expect("a world needs nothing");
        runtime.block_on(async { call::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket") })
    });
    SharedFd::new(elsewhere.join().expect("no panic"))
}

/// Asks for the same op on each kind of descriptor, all at once, and tells what came back.
pub async fn on_every_kind<T, F>(scene: &Scene, what: &str, ask: impl Fn(SharedFd) -> F)
where
    T: Shown + 'static,
    F: Future<Output = T> + 'static,
{
    on_kinds(scene, what, |_kind| None, ask).await;
}

/// As [`on_every_kind`], where a man page leaves open what some kinds answer.
pub async fn on_kinds<T, F>(
    scene: &Scene,
    what: &str,
    open: impl Fn(&str) -> Option<&'static Either>,
    ask: impl Fn(SharedFd) -> F,
) where
    T: Shown + 'static,
    F: Future<Output = T> + 'static,
{
    let kinds = Kinds::new(scene).await;
    let tasks: Vec<_> = kinds.all.iter().map(|(kind, fd)| (kind, spawn(ask(fd.clone())))).collect();
    for (kind, task) in tasks {
        let outcome = task.await.expect("no panic");
        match open(kind) {
            None => scene.tell(format!("{what} on a {kind}"), &outcome),
            Some(either) => scene.tell_either(format!("{what} on a {kind}"), &outcome, either),
        }
    }
}

/// As [`on_every_kind`], for what is answered at once.
pub async fn at_once_on_every_kind<T: Shown>(scene: &Scene, what: &str, ask: impl Fn(&SharedFd) -> T) {
    for (kind, fd) in &Kinds::new(scene).await.all {
        // Each in a turn of its own: what a task may try in one turn is bounded.
        yield_now().await;
        scene.tell(format!("{what} on a {kind}"), &ask(fd));
    }
}

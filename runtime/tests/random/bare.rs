//! Ops without a handle: each is watched, and what its last reply says is noted whoever gets it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, SeekFrom};
use std::net::SocketAddr;
use std::rc::Rc;

use runtime::fd::SharedFd;
use runtime::op::address::SocketAddress;
use runtime::op::file::{Close, FileRequest, Fsync, Position, Read, Truncate, Write};
use runtime::op::path::{Base, Open, OpenHow, Stat, c_path};
use runtime::op::ready::{Interest, Poll, PollMany};
use runtime::op::socket::{Accept, AcceptMany, Connect, End, Recv, Send, SocketOption};
use runtime::op::{Nop, Op, Reply, Request, StreamOp};
use runtime::simulated::Peer;
use runtime::{Replies, Step, call, replies, submit};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType};

use crate::dice::{byte, bytes};
use crate::fates::{live, pause};
use crate::incoming::Incoming;
use crate::ops;
use crate::script::{BURST, Fate, Raw, RawFate, RawOp, SECTOR};
use crate::stage::Stage;
use crate::verdict::Verdict;
use crate::watched::Watched;

/// What one task has to use its ops on. What could not be had is not used.
pub struct Bare {
    stage: Rc<Stage>,
    path: String,
    file: Option<SharedFd>,
    /// The same file, open for direct I/O.
    direct: Option<SharedFd>,
    listener: Option<(SharedFd, SocketAddr)>,
    stream: Option<Stream>,
    /// Where one listens outside.
    outside: SocketAddr,
}

/// A socket, and what went over it.
struct Stream {
    fd: SharedFd,
    traffic: Rc<Traffic>,
    /// The other end listens while this is there.
    _is_heard: Rc<()>,
}

struct Traffic {
    verdict: Verdict,
    peer: Peer,
    name: u64,
    said: Cell<u64>,
    incoming: Incoming,
    /// What replies said went out.
    sent: RefCell<Vec<u8>>,
    /// What may go out before the reply says so: the last send's, or that of the one whose power went.
    offered: RefCell<Vec<u8>>,
    has_lost_power: Cell<bool>,
    /// What came out there.
    heard: RefCell<Vec<u8>>,
    in_flight: Cell<usize>,
    /// The reply of an op that was forgotten is read at the runtime's end, so none may come behind it.
    is_given_up: Cell<bool>,
}

const FILE_LEN: u64 = 8 * SECTOR;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Whoever waits for an op's last reply waits so many times.
const WAITS_MAX: u32 = 20_000;

/// Runs the ops of one task.
pub async fn run(stage: Rc<Stage>, steps: Vec<Raw>) {
    let Some(bare) = Bare::new(stage).await else { return };
    let bare = Rc::new(bare);
    for step in steps {
        if step.what == RawOp::Burst { bare.burst(step.fate).await } else { bare.step(step).await }
    }
}

fn again<T>(mut make: impl FnMut() -> io::Result<T>) -> Option<T> {
    (0..50).find_map(|_| make().ok())
}

fn socket() -> Option<SharedFd> {
    again(|| call::socket(AddressFamily::INET, SocketType::STREAM, None)).map(SharedFd::new)
}

impl Bare {
    async fn new(stage: Rc<Stage>) -> Option<Bare> {
        let path = format!("/tmp/raw-{}", stage.name());
        stage.world.write_file(&path, &vec![0; usize::try_from(FILE_LEN).expect("small")]).ok()?;
        let outside = SocketAddr::from(([10, 0, 0, 9], u16::try_from(1_000 + stage.name()).expect("few names")));
        let outer = stage.world.listen(outside).ok()?;
        let file = submit(open(&path, OFlags::empty())).await.ok().map(SharedFd::new);
        let direct = submit(open(&path, OFlags::DIRECT)).await.ok().map(SharedFd::new);
        let listener = socket().and_then(|fd| {
            again(|| call::bind(&fd, LOOPBACK))?;
            again(|| call::listen(&fd, 4))?;
            let address = again(|| call::name(&fd, End::Local)?.ip())?;
            Some((fd, address))
        });
        let mut stream = None;
        if let Some(fd) = socket()
            && submit(Connect { fd: fd.clone(), address: outside.into(), ours: true }).await.is_ok()
        {
            stream = outer.accept().map(|peer| Stream::new(&stage, fd, peer));
        }
        Some(Bare { stage, path, file, direct, listener, stream, outside })
    }

    async fn step(&self, Raw { what, fate }: Raw) {
        match what {
            RawOp::Nop => self.one(what, fate, Nop, |_, _| {}).await,
            RawOp::Open => self.one(what, fate, open(&self.path, OFlags::empty()), |_, _| {}).await,
            RawOp::Stat => {
                let stat = Stat::path(Base::Current, c_path(self.path.as_ref()).expect("no NUL"), true);
                self.one(what, fate, stat, |_, _| {}).await;
            }
            RawOp::Read | RawOp::Write | RawOp::WriteNow | RawOp::Truncate | RawOp::Fsync | RawOp::Close => {
                self.on_file(what, fate).await
            }
            RawOp::Recv | RawOp::Send | RawOp::Poll | RawOp::PollMany => self.on_stream(what, fate).await,
            RawOp::Accept | RawOp::AcceptMany => self.on_listener(what, fate).await,
            RawOp::Connect => {
                let Some(fd) = socket() else { return };
                let connect = Connect { fd, address: SocketAddress::from(self.outside), ours: true };
                self.one(what, fate, connect, |_, _| {}).await;
            }
            RawOp::Call | RawOp::Burst => self.calls(),
        }
    }

    /// Starts many ops, and then takes so long that many of their replies are due when the kernel is heard again.
    async fn burst(self: &Rc<Bare>, fate: RawFate) {
        let tasks: Vec<_> = BURST
            .into_iter()
            .map(|what| {
                let bare = self.clone();
                runtime::spawn(async move { bare.step(Raw { what, fate }).await })
            })
            .collect();
        runtime::yield_now().await;
        if let Some(stream) = &self.stream {
            for _ in 0..120 {
                // Each call takes its time, in which nobody waits.
                let _refused = call::name(&stream.fd, End::Local);
            }
        }
        for task in tasks {
            self.stage.judge("a burst", task).await;
        }
    }

    /// One watched op, and its fate.
    async fn one<T: Op>(
        &self,
        what: RawOp,
        fate: RawFate,
        op: T,
        report: impl FnOnce(&T, &io::Result<Reply>) + 'static,
    ) {
        ops::one(&self.stage, what.name(), fate, op, report).await;
    }

    async fn on_file(&self, what: RawOp, fate: RawFate) {
        let name = self.stage.name();
        let is_direct = name.is_multiple_of(3);
        let Some(fd) = (if is_direct { &self.direct } else { &self.file }).clone() else { return };
        let (at, len) = if is_direct { (name / 3 % 7 * SECTOR, 1_024) } else { (name * 37 % (FILE_LEN - 600), 600) };
        match what {
            RawOp::Read => {
                let stage = self.stage.clone();
                let read = Read { fd, buf: self.stage.watch.buffer(vec![1; len]), position: Position::At(at) };
                self.one(what, fate, read, move |read, reply| {
                    let Ok(Reply::Count(count)) = reply else { return };
                    let mut read = runtime::buf::IoBuf::bytes(&read.buf)[..*count].iter().zip(at..);
                    let is_right = read.all(|(&value, offset)| value == 0 || value == byte(0, offset));
                    stage.verdict.blame_unless(is_right, || "a raw read shows what nobody wrote".to_owned());
                })
                .await;
            }
            RawOp::Write => {
                let buf = self.stage.watch.buffer(bytes(0, at, len));
                self.one(what, fate, Write { fd, buf, position: Position::At(at) }, |_, _| {}).await;
            }
            RawOp::WriteNow => {
                let write = WriteNow(Write { fd, buf: bytes(0, at, len), position: Position::At(at) });
                self.one(what, fate, write, |_, _| {}).await;
            }
            RawOp::Truncate => self.one(what, fate, Truncate { fd, len: FILE_LEN }, |_, _| {}).await,
            RawOp::Fsync => self.one(what, fate, Fsync { fd, data_only: at.is_multiple_of(2) }, |_, _| {}).await,
            _close => {
                if let Ok(fd) = submit(open(&self.path, OFlags::empty())).await {
                    self.one(what, fate, Close::new(fd), |_, _| {}).await;
                }
            }
        }
    }

    async fn on_stream(&self, what: RawOp, fate: RawFate) {
        let Some(stream) = &self.stream else { return };
        let (fd, traffic) = (stream.fd.clone(), stream.traffic.clone());
        let is_fed = fate == RawFate::Of(Fate::Awaited) || self.stage.name().is_multiple_of(2);
        if matches!(what, RawOp::Recv | RawOp::Send) {
            if traffic.is_given_up.get() {
                return;
            }
            stream.settle().await;
            traffic.is_given_up.set(matches!(fate, RawFate::Forgotten | RawFate::Outlives));
        }
        match what {
            RawOp::Recv => {
                if is_fed {
                    stream.feed();
                }
                traffic.in_flight.set(traffic.in_flight.get() + 1);
                let buf = self.stage.watch.buffer(vec![0; 900]);
                let recv = Recv { fd, buf, flags: RecvFlags::empty(), poll_first: is_fed };
                let flown = Flown(traffic.clone());
                self.one(what, fate, recv, move |recv, reply| {
                    let _flown = flown;
                    traffic.received(runtime::buf::IoBuf::bytes(&recv.buf), reply);
                })
                .await;
            }
            RawOp::Send => {
                traffic.in_flight.set(traffic.in_flight.get() + 1);
                let name = self.stage.name();
                let len = if name.is_multiple_of(5) { 80_000 } else { 700 };
                traffic.offer(bytes(name, 0, len));
                let buf = self.stage.watch.buffer(bytes(name, 0, len));
                let send = Send { fd, buf, flags: SendFlags::empty(), whole: !name.is_multiple_of(3) };
                let flown = Flown(traffic.clone());
                self.one(what, fate, send, move |send, reply| {
                    let _flown = flown;
                    traffic.sent(runtime::buf::IoBuf::bytes(&send.buf), reply);
                })
                .await;
            }
            RawOp::Poll => {
                let interest = if is_fed { Interest::WRITABLE } else { Interest::READABLE };
                self.one(what, fate, Poll { fd, interest }, |_, _| {}).await;
            }
            _poll_many => {
                let poll = PollMany { fd, interest: Interest::READABLE | Interest::WRITABLE };
                self.many(fate, poll, what, || stream.feed()).await;
            }
        }
    }

    async fn on_listener(&self, what: RawOp, fate: RawFate) {
        let Some((fd, address)) = &self.listener else { return };
        let visit = || match self.stage.world.connect(*address) {
            Ok(peer) => self.stage.strangers.borrow_mut().push(peer),
            Err(error) => drop(error),
        };
        visit();
        // One that was cancelled may have been faster, and then nobody else comes.
        let fate = if fate == RawFate::Of(Fate::Awaited) { RawFate::Deadline { us: 3_000 } } else { fate };
        if what == RawOp::Accept {
            self.one(what, fate, Accept::new(fd.clone()), |_, _| {}).await;
        } else {
            self.many(fate, AcceptMany { fd: fd.clone() }, what, visit).await;
        }
    }

    /// An op with many replies: some are taken, and then it is stopped, or dropped.
    async fn many<T: StreamOp>(&self, fate: RawFate, op: T, what: RawOp, feed: impl Fn()) {
        let stage = self.stage.clone();
        let op = self.stage.watch.op(op, move |_, reply| {
            if let Err(error) = reply {
                ops::check(&stage, what.name(), error);
            }
        });
        let mut many: Replies<Watched<T>> = replies(op);
        let (us, stops) = match fate {
            RawFate::Of(Fate::Timeout { us } | Fate::Kept { us }) => (us, false),
            RawFate::Of(Fate::Dropped { polls }) => (polls, false),
            RawFate::Deadline { us } => (us, true),
            _ => (300, true),
        };
        for _ in 0..3 {
            feed();
            match live(Fate::Timeout { us }, poll_fn(|context| many.poll_next(context))).await {
                Some(Step::Item(_)) => {}
                Some(Step::End(_)) => return,
                None => break,
            }
        }
        if stops {
            many.stop();
            while let Step::Item(_) = poll_fn(|context| many.poll_next(context)).await {}
        } else if fate == RawFate::Of(Fate::Dropped { polls: 1 }) {
            // What comes unread stays until it is dropped.
            feed();
            pause(150).await;
        }
    }

    /// What never waits. Whatever it says, it must leave nothing behind.
    fn calls(&self) {
        let Some(fd) = socket() else { return };
        let _refused = call::set_option(&fd, SocketOption::ReuseAddress(true));
        let _refused = call::set_option(&fd, SocketOption::NoDelay(true));
        let _refused = call::bind(&fd, LOOPBACK);
        let _refused = call::listen(&fd, 1);
        let _refused = call::name(&fd, End::Local);
        let _refused = call::shutdown(&fd, Shutdown::Both);
        let _refused = call::socketpair(SocketType::STREAM);
        let _refused = call::pipe();
        if let Some(file) = &self.file {
            let _refused = call::stat_now(file);
            let _refused = call::try_read(file, &mut [0; 64], Position::At(3));
            self.seeks(file);
        }
        if let Some(file) = &self.direct {
            let _refused = call::try_read(file, &mut [0; 512], Position::At(512));
        }
    }

    /// Nobody else moves this cursor.
    fn seeks(&self, file: &SharedFd) {
        let power_cuts = self.stage.world.power_cuts();
        let sought = [SeekFrom::Start(7), SeekFrom::Current(-8), SeekFrom::Current(3), SeekFrom::End(0)]
            .map(|to| call::seek(file, to).map_err(|error| error.raw_os_error()));
        let refused = Err(Some(Errno::INVAL.raw_os_error()));
        let is_dead = power_cuts > 0 || self.stage.world.power_cuts() > power_cuts;
        self.stage.verdict.blame_unless(is_dead || sought == [Ok(7), refused, Ok(10), Ok(FILE_LEN)], || {
            format!("raw seeks say {sought:?}")
        });
    }
}

/// A write that answers EAGAIN rather than wait for a disk. An op of our own, as any program can have them.
struct WriteNow(Write<Vec<u8>>);

impl Op for WriteNow {
    type Output = io::Result<usize>;

    fn request(&mut self) -> Request<'_> {
        Request::File(FileRequest::Write {
            fd: self.0.fd.borrow(),
            buf: &self.0.buf,
            position: self.0.position,
            flags: ReadWriteFlags::NOWAIT,
        })
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<usize> {
        reply.and_then(Reply::count)
    }
}

fn open(path: &str, flags: OFlags) -> Open {
    let how = OpenHow::new(OFlags::RDWR | flags, Mode::empty(), ResolveFlags::empty());
    Open { base: Base::Current, path: c_path(path.as_ref()).expect("no NUL"), how }
}

impl Stream {
    fn new(stage: &Stage, fd: SharedFd, peer: Peer) -> Stream {
        let name = stage.name();
        let traffic = Rc::new(Traffic {
            verdict: stage.verdict.clone(),
            peer,
            name,
            said: Cell::new(0),
            incoming: Incoming::new(name),
            sent: RefCell::default(),
            offered: RefCell::default(),
            has_lost_power: Cell::new(false),
            heard: RefCell::default(),
            in_flight: Cell::new(0),
            is_given_up: Cell::new(false),
        });
        let is_heard = Rc::new(());
        let (listening, listener) = (Rc::downgrade(&is_heard), traffic.clone());
        stage.spawn("who listens to a raw socket", async move {
            // A send that was dropped still wants room.
            while listening.upgrade().is_some() || (!listener.is_given_up.get() && listener.in_flight.get() > 0) {
                listener.hear();
                pause(500).await;
            }
        });
        let last = traffic.clone();
        stage.last.borrow_mut().push(Box::new(move |stage, _| last.judge(stage)));
        Stream { fd, traffic, _is_heard: is_heard }
    }

    /// Waits until no receive or send is in flight, so that the order of the next one's bytes is known.
    async fn settle(&self) {
        for _ in 0..WAITS_MAX {
            if self.traffic.in_flight.get() == 0 {
                return;
            }
            pause(100).await;
        }
        self.traffic.verdict.blame("an op on a socket is never answered");
    }

    fn feed(&self) {
        let said = self.traffic.said.get();
        if self.traffic.peer.send(&bytes(self.traffic.name, said, 500)).is_ok() {
            self.traffic.said.set(said + 500);
        }
    }
}

/// One op less is in flight when this goes: answered, or dropped before it began.
struct Flown(Rc<Traffic>);

impl Drop for Flown {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Traffic {
    fn received(&self, buf: &[u8], reply: &io::Result<Reply>) {
        if let Ok(Reply::Count(count)) = reply {
            self.incoming.take(&buf[..*count], self.said.get(), &self.verdict);
        }
    }

    /// A send begins. After one that the power took none goes out.
    fn offer(&self, bytes: Vec<u8>) {
        if !self.has_lost_power.get() {
            self.offered.replace(bytes);
        }
    }

    fn sent(&self, buf: &[u8], reply: &io::Result<Reply>) {
        if let Ok(Reply::Count(count)) = reply {
            self.sent.borrow_mut().extend(&buf[..*count]);
        }
        if reply.as_ref().is_err_and(|error| error.raw_os_error() == Some(Errno::IO.raw_os_error())) {
            self.has_lost_power.set(true);
        } else if !self.has_lost_power.get() {
            self.offered.take();
        }
    }

    fn hear(&self) {
        self.heard.borrow_mut().extend(self.peer.received());
    }

    /// What went out came out, unless the connection broke.
    fn judge(&self, stage: &Stage) {
        self.hear();
        let (mut sent, heard) = (self.sent.borrow_mut(), self.heard.borrow());
        let has_lost_power = stage.world.power_cuts() > 0;
        if has_lost_power {
            // What a send had done when the power went, no reply tells.
            sent.extend(self.offered.take());
        }
        let is_broken = has_lost_power || self.peer.is_reset() || stage.had_outages.get();
        let is_right = if is_broken { sent.starts_with(&heard) } else { *sent == *heard };
        self.verdict.blame_unless(is_right, || {
            format!("replies say that {} bytes went out on a raw socket, {} came", sent.len(), heard.len())
        });
    }
}

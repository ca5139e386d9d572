//! One scene an op: how it is started, what lets it complete, and what must hold afterwards.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use runtime::fd::{Fd, SharedFd};
use runtime::op::datagram::{RecvFrom, SendTo, Sender};
use runtime::op::file::{Close, Fsync, Position, Read, Truncate, Write};
use runtime::op::path::Stat;
use runtime::op::ready::{Interest, Poll, PollMany};
use runtime::op::socket::{Accept, AcceptMany, Connect, End, Recv, Send, SocketOption};
use runtime::op::{Nop, StreamOp, address::SocketAddress};
use runtime::testing::Driver;
use runtime::time::{Duration, now, sleep};
use runtime::{Step, call, replies, submit};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketType};

use crate::watched::{Tally, Watched};
use crate::worlds::{self, Far, Listener, Subject, left};

/// What the matrix has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    Nop,
    ReadFile,
    ReadPipe,
    WriteFile,
    WritePipe,
    Open,
    Close,
    Truncate,
    Fsync,
    Stat,
    Connect,
    Accept,
    AcceptMany,
    Recv,
    Send,
    RecvFrom,
    SendTo,
    Poll,
    PollMany,
    Sleep,
    Deadline,
    SocketBindListen,
    PipeAndPair,
    NameOption,
    Shutdown,
}

impl Row {
    pub const ALL: [Row; 25] = [
        Row::Nop,
        Row::ReadFile,
        Row::ReadPipe,
        Row::WriteFile,
        Row::WritePipe,
        Row::Open,
        Row::Close,
        Row::Truncate,
        Row::Fsync,
        Row::Stat,
        Row::Connect,
        Row::Accept,
        Row::AcceptMany,
        Row::Recv,
        Row::Send,
        Row::RecvFrom,
        Row::SendTo,
        Row::Poll,
        Row::PollMany,
        Row::Sleep,
        Row::Deadline,
        Row::SocketBindListen,
        Row::PipeAndPair,
        Row::NameOption,
        Row::Shutdown,
    ];

    /// The ops, by the names of their types, that the row is about.
    pub fn op(self) -> Option<&'static str> {
        match self {
            Row::Nop => Some("Nop"),
            Row::ReadFile | Row::ReadPipe => Some("Read"),
            Row::WriteFile | Row::WritePipe => Some("Write"),
            Row::Open => Some("Open"),
            Row::Close => Some("Close"),
            Row::Truncate => Some("Truncate"),
            Row::Fsync => Some("Fsync"),
            Row::Stat => Some("Stat"),
            Row::Connect => Some("Connect"),
            Row::Accept => Some("Accept"),
            Row::AcceptMany => Some("AcceptMany"),
            Row::Recv => Some("Recv"),
            Row::Send => Some("Send"),
            Row::RecvFrom => Some("RecvFrom"),
            Row::SendTo => Some("SendTo"),
            Row::Poll => Some("Poll"),
            Row::PollMany => Some("PollMany"),
            Row::Sleep | Row::Deadline | Row::SocketBindListen | Row::PipeAndPair | Row::NameOption | Row::Shutdown => {
                None
            }
        }
    }
}

/// What became of an op before anybody looks at the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The driver never had it.
    NeverBegun,
    /// It was cancelled before anything came for it.
    Cancelled,
    /// It was left to finish, as its `ON_DROP` says, or came to its end.
    Done,
    /// It was cancelled while something came, or the runtime ended: both ways are right.
    Either,
}

/// An op about to start.
pub struct Scene {
    /// Starts the op, and checks its result when somebody waits for that.
    pub future: Pin<Box<dyn Future<Output = ()>>>,
    /// Whether the op waits for `feed`.
    pub waits: bool,
    /// Whether a dropped op runs to its end.
    pub finishes: bool,
    /// Lets the op complete.
    pub feed: Box<dyn FnOnce()>,
    /// Looks at the world, when all is over and was fed.
    pub after: Box<dyn FnOnce(Fate)>,
}

impl Scene {
    /// An op that completes by itself.
    fn of(future: impl Future<Output = ()> + 'static) -> Scene {
        Scene {
            future: Box::pin(future),
            waits: false,
            finishes: false,
            feed: Box::new(|| {}),
            after: Box::new(|_fate| {}),
        }
    }

    fn fed_by(self, feed: impl FnOnce() + 'static) -> Scene {
        Scene { waits: true, feed: Box::new(feed), ..self }
    }

    fn then(self, after: impl FnOnce(Fate) + 'static) -> Scene {
        Scene { after: Box::new(after), ..self }
    }

    fn finishing(self) -> Scene {
        Scene { finishes: true, ..self }
    }
}

/// Why a row has no such cell.
pub type Reason = &'static str;

/// What the rows of plain calls say.
pub const INLINE: Reason = "a plain system call: answered before it returns, never in flight";

const CONTENTS: &[u8] = b"what was there";
const PAYLOAD: &[u8] = b"what is given";
const LATE: &[u8] = b"what comes late";
/// So long sleeps and deadlines of the matrix are.
const SHORT: Duration = Duration::from_millis(20);

/// Sets the scene for a row.
///
/// # Errors
///
/// The reason why there is none on this driver.
pub async fn set(row: Row, driver: Driver, tally: &Tally) -> Result<Scene, Reason> {
    Ok(match row {
        Row::Nop => {
            let op = tally.watch(Nop);
            Scene::of(async { submit(op).await.unwrap() })
        }
        Row::ReadPipe => reading(tally, worlds::pipe_to_read(driver)),
        Row::WritePipe => writing(tally, worlds::full_pipe(driver).await),
        Row::ReadFile | Row::WriteFile | Row::Open | Row::Close | Row::Truncate | Row::Fsync | Row::Stat => {
            on_a_file(row, tally, Subject::new(driver, CONTENTS)).await
        }
        Row::Connect => connecting(tally, driver),
        Row::Accept => accepting(tally, Listener::new()),
        Row::AcceptMany => accepting_many(tally, Listener::new()),
        Row::Recv => receiving(tally, worlds::stream(driver).await),
        Row::Send => sending(tally, worlds::full_stream(driver).await),
        Row::RecvFrom => receiving_from(tally, worlds::datagrams(driver)),
        Row::SendTo => sending_to(tally, worlds::datagrams(driver)),
        Row::Poll => polling(tally, worlds::stream(driver).await),
        Row::PollMany => polling_many(tally, worlds::stream(driver).await),
        Row::Sleep => Scene { waits: true, ..Scene::of(sleep(SHORT)) },
        Row::Deadline => deadline(tally, worlds::stream(driver).await),
        Row::SocketBindListen | Row::PipeAndPair | Row::NameOption | Row::Shutdown => {
            call_inline(row, driver).await;
            return Err(INLINE);
        }
    })
}

/// Ops that always complete, sooner or later.
async fn on_a_file(row: Row, tally: &Tally, subject: Subject) -> Scene {
    let fd = subject.opened().await;
    let buf = tally.buffer(vec![0; CONTENTS.len() + 1]);
    match row {
        Row::ReadFile => {
            let op = tally.watch(Read { fd, buf, position: Position::At(0) });
            Scene::of(async {
                let (count, buf) = submit(op).await.unwrap();
                assert_eq!(&runtime::buf::IoBuf::bytes(&buf)[..count], CONTENTS);
            })
            .then(|_fate| drop(subject))
        }
        Row::WriteFile => {
            let op = tally.watch(Write { fd, buf: tally.buffer(PAYLOAD.to_vec()), position: Position::At(0) });
            Scene::of(async { assert_eq!(submit(op).await.unwrap().0, PAYLOAD.len()) }).finishing().then(move |fate| {
                let written = subject.contents().starts_with(PAYLOAD);
                match fate {
                    Fate::NeverBegun => assert!(!written),
                    Fate::Done => assert!(written),
                    Fate::Cancelled | Fate::Either => {}
                }
            })
        }
        Row::Open => {
            let op = tally.watch(subject.open());
            Scene::of(async { drop(submit(op).await.unwrap()) }).then(|_fate| drop(subject))
        }
        Row::Close => {
            let op = tally.watch(Close::new(fd.try_into_fd().expect("nobody shares it")));
            Scene::of(async { submit(op).await.unwrap() }).finishing().then(|_fate| drop(subject))
        }
        Row::Truncate => {
            let op = tally.watch(Truncate { fd, len: 5 });
            Scene::of(async { submit(op).await.unwrap() }).finishing().then(move |fate| match fate {
                Fate::NeverBegun => assert_eq!(subject.contents(), CONTENTS),
                Fate::Done => assert_eq!(subject.contents(), CONTENTS[..5]),
                Fate::Cancelled | Fate::Either => {}
            })
        }
        Row::Fsync => {
            let op = tally.watch(Fsync { fd, data_only: false });
            Scene::of(async { submit(op).await.unwrap() }).then(|_fate| drop(subject))
        }
        _stat => {
            let op = tally.watch(Stat::file(fd));
            Scene::of(async { assert_eq!(submit(op).await.unwrap().size, CONTENTS.len() as u64) })
                .then(|_fate| drop(subject))
        }
    }
}

/// What was sent is still to be had, or was taken by an op that was too fast to be cancelled.
fn is_left(fd: SharedFd) -> impl FnOnce(Fate) {
    move |fate| {
        let left = left(&fd);
        match fate {
            Fate::NeverBegun | Fate::Cancelled => assert_eq!(left, LATE),
            Fate::Done => assert_eq!(left, []),
            Fate::Either => assert!(left == LATE || left.is_empty(), "{left:?}"),
        }
    }
}

fn reading(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let op = tally.watch(Read { fd: fd.clone(), buf: tally.buffer(vec![0; 4096]), position: Position::Cursor });
    let future = async {
        let (count, buf) = submit(op).await.unwrap();
        assert_eq!(&runtime::buf::IoBuf::bytes(&buf)[..count], LATE);
    };
    Scene::of(future).fed_by(move || far.send(LATE)).then(is_left(fd))
}

fn receiving(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let buf = tally.buffer(vec![0; 4096]);
    let op = tally.watch(Recv { fd: fd.clone(), buf, flags: RecvFlags::empty(), poll_first: false });
    let future = async {
        let (count, buf) = submit(op).await.unwrap();
        assert_eq!(&runtime::buf::IoBuf::bytes(&buf)[..count], LATE);
    };
    Scene::of(future).fed_by(move || far.send(LATE)).then(is_left(fd))
}

/// What was given went out whole, or not at all.
fn is_sent(far: Far) -> impl FnOnce(Fate) {
    move |fate| {
        let mut came = far.take();
        // What filled it before.
        came.retain(|&byte| byte != 0);
        match fate {
            Fate::NeverBegun | Fate::Cancelled => assert_eq!(came, []),
            Fate::Done => assert_eq!(came, PAYLOAD),
            Fate::Either => assert!(came == PAYLOAD || came.is_empty(), "{came:?}"),
        }
    }
}

fn writing(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let op = tally.watch(Write { fd, buf: tally.buffer(PAYLOAD.to_vec()), position: Position::Cursor });
    let room = far.clone();
    Scene::of(async { assert_eq!(submit(op).await.unwrap().0, PAYLOAD.len()) })
        .finishing()
        .fed_by(move || drop(room.take()))
        .then(is_sent(far))
}

fn sending(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let buf = tally.buffer(PAYLOAD.to_vec());
    let op = tally.watch(Send { fd, buf, flags: SendFlags::empty(), whole: true });
    let room = far.clone();
    Scene::of(async { assert_eq!(submit(op).await.unwrap().0, PAYLOAD.len()) })
        .finishing()
        .fed_by(move || drop(room.take()))
        .then(is_sent(far))
}

fn receiving_from(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let (buf, from, flags) = (tally.buffer(vec![0; 4096]), Sender::room(), RecvFlags::empty());
    let op = tally.watch(RecvFrom { fd: fd.clone(), buf, from, flags, poll_first: false });
    let whose = far.address();
    let future = async move {
        let ((count, from), buf) = submit(op).await.unwrap();
        assert_eq!(from.ip().unwrap(), whose);
        assert_eq!(&runtime::buf::IoBuf::bytes(&buf)[..count], LATE);
    };
    Scene::of(future).fed_by(move || far.send(LATE)).then(is_left(fd))
}

/// It never waits for room, so nothing needs to come.
fn sending_to(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let (buf, to, flags) = (tally.buffer(PAYLOAD.to_vec()), far.address().into(), SendFlags::empty());
    let op = tally.watch(SendTo { fd, buf, to, flags });
    Scene::of(async { assert_eq!(submit(op).await.unwrap().0, PAYLOAD.len()) }).finishing().then(is_sent(far))
}

fn connecting(tally: &Tally, driver: Driver) -> Scene {
    let (fd, to, listening) = worlds::unconnected(driver);
    let op = tally.watch(Connect { fd, address: SocketAddress::from(to), ours: true });
    Scene::of(async { submit(op).await.unwrap() }).then(|_fate| drop(listening))
}

/// The visitor is still to be accepted, or was sent away by an op that nobody waited for. He is never left in the
/// lurch.
fn is_served(listener: Listener) -> impl FnOnce(Fate) {
    move |fate| {
        let (waits, ended) = (listener.has_visitor(), listener.has_ended_all());
        match fate {
            Fate::NeverBegun | Fate::Cancelled => assert!(waits && !ended),
            Fate::Done => assert!(!waits && ended),
            Fate::Either => assert!(waits != ended, "waits: {waits}, ended: {ended}"),
        }
    }
}

fn accepting(tally: &Tally, listener: Listener) -> Scene {
    let op = tally.watch(Accept::new(listener.fd.clone()));
    let visited = listener.clone();
    Scene::of(async { drop(submit(op).await.unwrap()) }).fed_by(move || visited.visit()).then(is_served(listener))
}

fn accepting_many(tally: &Tally, listener: Listener) -> Scene {
    let op = tally.watch(AcceptMany { fd: listener.fd.clone() });
    let visited = listener.clone();
    Scene::of(async { drop::<Fd>(first_of(op).await.unwrap()) })
        .fed_by(move || visited.visit())
        .then(is_served(listener))
}

fn polling(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let op = tally.watch(Poll { fd: fd.clone(), interest: Interest::READABLE });
    Scene::of(async { assert!(submit(op).await.unwrap().intersects(Interest::READABLE)) })
        .fed_by(move || far.send(LATE))
        .then(move |_consumes_nothing| assert_eq!(left(&fd), LATE))
}

fn polling_many(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let op = tally.watch(PollMany { fd: fd.clone(), interest: Interest::READABLE });
    Scene::of(async { assert!(first_of(op).await.unwrap().intersects(Interest::READABLE)) })
        .fed_by(move || far.send(LATE))
        .then(move |_consumes_nothing| assert_eq!(left(&fd), LATE))
}

/// The first of many replies.
async fn first_of<T: StreamOp>(op: Watched<T>) -> T::Item {
    let mut replies = replies(op);
    match poll_fn(|context| replies.poll_next(context)).await {
        Step::Item(item) => item,
        Step::End(_) => panic!("the end came first"),
    }
}

/// Nothing ever comes: the deadline ends it.
fn deadline(tally: &Tally, (fd, far): (SharedFd, Far)) -> Scene {
    let buf = tally.buffer(vec![0; 4096]);
    let op = tally.watch(Recv { fd, buf, flags: RecvFlags::empty(), poll_first: false });
    let future = async {
        let error = submit(op).deadline(now() + SHORT).await.map(|(count, _)| count).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    };
    Scene { waits: true, ..Scene::of(future).then(|_fate| drop(far)) }
}

async fn call_inline(row: Row, driver: Driver) {
    match row {
        Row::SocketBindListen => drop(Listener::new()),
        Row::PipeAndPair => {
            drop(call::pipe().unwrap());
            drop(call::socketpair(SocketType::STREAM).unwrap());
        }
        Row::NameOption => {
            let fd = SharedFd::new(call::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap());
            call::set_option(&fd, SocketOption::NoDelay(true)).unwrap();
            assert_eq!(call::name(&fd, End::Local).unwrap().ip().unwrap().port(), 0);
        }
        _shutdown => {
            let (fd, _far) = worlds::stream(driver).await;
            call::shutdown(&fd, Shutdown::Write).unwrap();
        }
    }
}

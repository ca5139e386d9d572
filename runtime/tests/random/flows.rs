//! What runs through pipes and unix sockets from one task to another: what last replies say was written is what last
//! replies say was read, in its order, whoever got those replies.

use std::cell::Cell;
use std::os::unix::net::SocketAddr;
use std::rc::Rc;

use runtime::buf::IoBuf;
use runtime::fd::{Fd, SharedFd};
use runtime::op::Reply;
use runtime::op::file::{Position, Read, Write};
use runtime::op::socket::{Accept, Connect, Recv, Send};
use runtime::{call, submit};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

use crate::dice::bytes;
use crate::fates::pause;
use crate::incoming::Incoming;
use crate::ops;
use crate::script::{Bed, Fate, Flow, RawFate};
use crate::stage::Stage;

/// What is known of one flow.
struct Known {
    name: u64,
    /// How often the power had gone when it began. What is made after a cut lives.
    power_cuts: u64,
    /// So many bytes replies say were written, and so many more an op in flight may write.
    written: Cell<u64>,
    wanted: Cell<u64>,
    incoming: Incoming,
    source: Side,
    mouth: Side,
    /// The source is done.
    is_dry: Cell<bool>,
}

/// What is known of one end.
#[derive(Default)]
struct Side {
    is_under_way: Cell<bool>,
    /// Nobody hears of an op before the runtime's end, so none may come behind it.
    is_given_up: Cell<bool>,
}

/// Whoever waits for an op's last reply waits so many times.
const WAITS_MAX: u32 = 20_000;

/// So often it is tried to make what a flow runs through.
const TRIES_MAX: u32 = 50;

/// Runs one from its source to its mouth.
pub async fn run(stage: Rc<Stage>, flow: Flow) {
    let name = stage.name();
    let power_cuts = stage.world.power_cuts();
    let Some((reader, writer)) = bed(&stage, flow.bed, name).await else { return };
    if stage.world.power_cuts() > power_cuts {
        return;
    }
    let known = Rc::new(Known {
        name,
        power_cuts,
        written: Cell::new(0),
        wanted: Cell::new(0),
        incoming: Incoming::new(name),
        source: Side::default(),
        mouth: Side::default(),
        is_dry: Cell::new(false),
    });
    let judged = known.clone();
    stage.last.borrow_mut().push(Box::new(move |stage, is_cut_short| judged.judge(stage, is_cut_short)));
    let is_pipe = flow.bed == Bed::Pipe;
    let (source, mouth) = (known.clone(), known);
    let writing = stage.clone();
    stage.spawn("the source of a flow", async move {
        for (len, fate) in flow.writes {
            source.write(&writing, &writer, is_pipe, len, fate).await;
        }
        settle(&writing, &source.source).await;
        source.is_dry.set(true);
    });
    for (len, fate) in flow.reads {
        mouth.read(&stage, &reader, is_pipe, len, fate).await;
    }
    // Who waits for room must find some.
    let is_over = || match mouth.is_sound() {
        true => !mouth.incoming.is_open(),
        false => mouth.is_dry.get(),
    };
    while !is_over() && !mouth.is_cut(&stage) {
        let fate = RawFate::Of(Fate::Awaited);
        if mouth.mouth.is_given_up.get() {
            let read = Read { fd: reader.clone(), buf: vec![0; 9_000], position: Position::Cursor };
            ops::one(&stage, "what is left of a flow", bounded(fate), read, |_, _| {}).await;
        } else {
            mouth.read(&stage, &reader, is_pipe, 9_000, fate).await;
        }
    }
}

/// The end to read from, and the one to write to.
async fn bed(stage: &Stage, bed: Bed, name: u64) -> Option<(SharedFd, SharedFd)> {
    let shared = |(one, other): (Fd, Fd)| (SharedFd::new(one), SharedFd::new(other));
    match bed {
        Bed::Pipe => (0..TRIES_MAX).find_map(|_| call::pipe().ok()).map(shared),
        Bed::Pair => (0..TRIES_MAX).find_map(|_| call::socketpair(SocketType::STREAM).ok()).map(shared),
        Bed::Named => {
            let path = SocketAddr::from_pathname(format!("/tmp/flow-{name}")).expect("a short path");
            let socket =
                || (0..TRIES_MAX).find_map(|_| call::socket(AddressFamily::UNIX, SocketType::STREAM, None).ok());
            let (listener, writer) = (SharedFd::new(socket()?), SharedFd::new(socket()?));
            (0..TRIES_MAX).find_map(|_| call::bind(&listener, &path).ok())?;
            (0..TRIES_MAX).find_map(|_| call::listen(&listener, 1).ok())?;
            let connect = || Connect { fd: writer.clone(), address: (&path).into(), ours: true };
            for _ in 0..TRIES_MAX {
                match submit(connect()).await {
                    Ok(()) => break,
                    Err(error) => ops::check(stage, "a connect of a flow's", &error),
                }
            }
            for _ in 0..TRIES_MAX {
                // Nobody connects if that failed each time; and then nobody waits for it.
                let accept = submit(Accept::new(listener.clone())).deadline(runtime::time::now() + PATIENCE);
                match accept.await {
                    Ok((reader, _)) => return Some((SharedFd::new(reader), writer)),
                    Err(error) => ops::check(stage, "an accept of a flow's", &error),
                }
            }
            None
        }
    }
}

const PATIENCE: runtime::time::Duration = runtime::time::Duration::from_secs(1);

/// An end never comes where a forgotten op holds the other side.
fn bounded(fate: RawFate) -> RawFate {
    if fate == RawFate::Of(Fate::Awaited) { RawFate::Deadline { us: 5_000 } } else { fate }
}

/// Waits until an op has been answered, so that the place of the next one's bytes is known.
async fn settle(stage: &Stage, side: &Side) {
    for _ in 0..WAITS_MAX {
        if !side.is_under_way.get() || side.is_given_up.get() {
            return;
        }
        pause(100).await;
    }
    stage.verdict.blame("an op of a flow's is never answered");
}

/// An op is under way until this goes: answered, or dropped before it began.
struct UnderWay(Rc<Known>, fn(&Known) -> &Side);

impl UnderWay {
    fn new(known: &Rc<Known>, which: fn(&Known) -> &Side, fate: RawFate) -> UnderWay {
        which(known).is_under_way.set(true);
        which(known).is_given_up.set(matches!(fate, RawFate::Forgotten | RawFate::Outlives));
        UnderWay(known.clone(), which)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        (self.1)(&self.0).is_under_way.set(false);
    }
}

impl Known {
    async fn write(self: &Rc<Known>, stage: &Rc<Stage>, fd: &SharedFd, is_pipe: bool, len: usize, fate: RawFate) {
        settle(stage, &self.source).await;
        if self.source.is_given_up.get() {
            return;
        }
        let buf = stage.watch.buffer(bytes(self.name, self.written.get(), len));
        // A power cut fails also a write that had written some, and what it wrote may be on its way to a read.
        let before = if self.is_cut(stage) { self.wanted.get() } else { 0 };
        self.wanted.set(before.max(self.written.get() + u64::try_from(len).expect("small")));
        let (known, under_way) = (self.clone(), UnderWay::new(self, |known| &known.source, fate));
        let report = move |reply: &std::io::Result<Reply>| {
            let _over = under_way;
            if let Ok(Reply::Count(count)) = reply {
                known.written.set(known.written.get() + u64::try_from(*count).expect("small"));
            }
        };
        let fd = fd.clone();
        if is_pipe {
            let write = Write { fd, buf, position: Position::Cursor };
            ops::one(stage, "a write to a pipe", fate, write, move |_, reply| report(reply)).await;
        } else {
            let send = Send { fd, buf, flags: SendFlags::empty(), whole: len.is_multiple_of(2) };
            ops::one(stage, "a send to a unix socket", fate, send, move |_, reply| report(reply)).await;
        }
    }

    async fn read(self: &Rc<Known>, stage: &Rc<Stage>, fd: &SharedFd, is_pipe: bool, len: usize, fate: RawFate) {
        settle(stage, &self.mouth).await;
        if self.mouth.is_given_up.get() {
            return;
        }
        let buf = stage.watch.buffer(vec![0; len]);
        let (known, under_way) = (self.clone(), UnderWay::new(self, |known| &known.mouth, fate));
        let verdict = stage.verdict.clone();
        let report = move |buf: &[u8], reply: &std::io::Result<Reply>| {
            let _over = under_way;
            // What a forgotten one takes may lie behind what others took meanwhile.
            if let (Ok(Reply::Count(count)), false) = (reply, known.mouth.is_given_up.get()) {
                known.incoming.take(&buf[..*count], known.wanted.get(), &verdict);
            }
        };
        let fd = fd.clone();
        if is_pipe {
            let read = Read { fd, buf, position: Position::Cursor };
            ops::one(stage, "a read of a pipe", bounded(fate), read, move |read, reply| {
                report(read.buf.bytes(), reply)
            })
            .await;
        } else {
            let recv = Recv { fd, buf, flags: RecvFlags::empty(), poll_first: len.is_multiple_of(3) };
            let what = "a receive from a unix socket";
            ops::one(stage, what, bounded(fate), recv, move |recv, reply| report(recv.buf.bytes(), reply)).await;
        }
    }

    /// Whether the power has gone since it began.
    fn is_cut(&self, stage: &Stage) -> bool {
        stage.world.power_cuts() > self.power_cuts
    }

    /// Whether each op was heard of.
    fn is_sound(&self) -> bool {
        !self.source.is_given_up.get() && !self.mouth.is_given_up.get()
    }

    /// All that was written was read, and then the end was told, unless the runtime or the machine went in the middle.
    fn judge(&self, stage: &Stage, is_cut_short: bool) {
        let is_whole = !is_cut_short && self.is_sound() && !self.is_cut(stage);
        stage.verdict.blame_unless(!is_whole || self.incoming.is_complete(self.written.get()), || {
            format!("a flow of {} bytes: {}", self.written.get(), self.incoming.describe())
        });
    }
}

//! Programs: what a seed lets a program do. Plain data, which prints itself when the program fails.

use runtime::simulated::{Fault, Faults};
use rustix::net::RecvFlags;

use crate::dice::Dice;

mod files;

pub use files::{Book, Journal, Leaf, Log, SECTOR, SHEET_LEN, Scribble, Scribe, Span};

/// A program, and the day that the kernel has.
#[derive(Debug)]
pub struct Script {
    pub faults: Faults,
    /// Buffers of the core's own: few enough that some wait for one.
    pub buffers: usize,
    /// Who comes from outside, and what both sides do then.
    pub visitors: Vec<Conversation>,
    /// Whom the program connects to.
    pub visits: Vec<(Fate, Conversation)>,
    /// How the accepts of each acceptor end.
    pub acceptors: Vec<Vec<Fate>>,
    /// Each has a file of its own, which it writes all over.
    pub scribes: Vec<Scribe>,
    pub journal: Journal,
    pub book: Book,
    /// They use ops without a handle.
    pub raw: Vec<Vec<Raw>>,
    /// What runs through pipes and unix sockets, from one task to another.
    pub flows: Vec<Flow>,
    pub errands: Vec<Vec<Errand>>,
    /// They send each other datagrams.
    pub strangers: Vec<Group>,
    /// How many letters each of them writes to the one who reads them.
    pub correspondents: Vec<u64>,
    /// They take turns on one thread, in an order that is the seed's.
    pub cores: usize,
    /// What tasks of the first core send to all.
    pub parcels: Vec<Vec<Parcel>>,
    /// Tasks that are aborted after so long.
    pub aborts_us: Vec<u64>,
    /// The network is cut and mended after so long each.
    pub outages_us: Vec<(u64, u64)>,
    pub end: End,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All is done.
    Complete,
    /// The runtime is dropped in the middle.
    Dropped { after_us: u64 },
    /// `block_on` returns in the middle; the tasks go on in the next one.
    InTwoParts { after_us: u64 },
}

/// What becomes of a future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Awaited,
    /// It is dropped when it was polled so often.
    Dropped {
        polls: u64,
    },
    Timeout {
        us: u64,
    },
    /// It is polled once, left alone for so long, and dropped.
    Kept {
        us: u64,
    },
}

/// A connection's two sides.
#[derive(Debug)]
pub struct Conversation {
    pub outside: Vec<Outside>,
    pub readers: Vec<Vec<Receive>>,
    pub writers: Vec<Vec<Send>>,
    /// The readers' or writers' tasks are aborted after so long.
    pub abort_us: Option<u64>,
    pub timeout_us: Option<u64>,
    pub closes: bool,
}

/// What happens outside.
#[derive(Debug, Clone, Copy)]
pub enum Outside {
    Pause { us: u64 },
    Send { len: usize },
    Take,
    Close,
    Reset,
}

/// Reading in order: a stream, or a file at its cursor.
#[derive(Debug, Clone, Copy)]
pub struct Receive {
    pub how: Reading,
    pub len: usize,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Lent,
    Owned,
    ExactLent,
    ExactOwned,
    Peek,
}

/// Writing in order.
#[derive(Debug, Clone, Copy)]
pub struct Send {
    pub how: Writing,
    pub len: usize,
    pub fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    Lent,
    Owned,
    AllLent,
    AllOwned,
    Flush,
}

/// An op without a handle.
#[derive(Debug, Clone, Copy)]
pub struct Raw {
    pub what: RawOp,
    pub fate: RawFate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawOp {
    Nop,
    Open,
    Stat,
    Read,
    Write,
    WriteNow,
    Truncate,
    Fsync,
    Close,
    Recv,
    Send,
    Poll,
    PollMany,
    Accept,
    AcceptMany,
    Connect,
    Call,
    /// Several at once, and a long turn in which many of their replies come due together.
    Burst,
}

impl RawOp {
    pub fn name(self) -> &'static str {
        match self {
            RawOp::Nop => "a nop",
            RawOp::Open => "an open",
            RawOp::Stat => "a stat",
            RawOp::Read => "a raw read",
            RawOp::Write | RawOp::WriteNow => "a raw write",
            RawOp::Truncate => "a truncate",
            RawOp::Fsync => "a raw sync",
            RawOp::Close => "a close",
            RawOp::Recv => "a receive",
            RawOp::Send => "a send",
            RawOp::Poll | RawOp::PollMany => "a poll",
            RawOp::Accept | RawOp::AcceptMany => "an accept",
            RawOp::Connect => "a connect",
            RawOp::Call => "a call",
            RawOp::Burst => "a burst",
        }
    }
}

/// What a burst is made of: what needs no order.
pub const BURST: [RawOp; 14] = [
    RawOp::Nop,
    RawOp::Open,
    RawOp::Stat,
    RawOp::Read,
    RawOp::Write,
    RawOp::Truncate,
    RawOp::Fsync,
    RawOp::Close,
    RawOp::Poll,
    RawOp::PollMany,
    RawOp::Accept,
    RawOp::AcceptMany,
    RawOp::Connect,
    RawOp::Nop,
];

/// What one task writes and another reads, inside the program.
#[derive(Debug)]
pub struct Flow {
    pub bed: Bed,
    /// How much each op wants, and its fate.
    pub writes: Vec<(usize, RawFate)>,
    pub reads: Vec<(usize, RawFate)>,
}

/// Through what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bed {
    Pipe,
    /// Two unix sockets that are connected with each other.
    Pair,
    /// So they are too, by way of a listener that has a name.
    Named,
}

/// Sockets of datagrams that are not connected.
#[derive(Debug)]
pub struct Group {
    pub is_unix: bool,
    pub members: Vec<Vec<Said>>,
    /// What comes from outside: after so long, to whom, and how long it is.
    pub outside: Vec<(u64, u64, usize)>,
}

/// What one of them does. One that is too short for a name is empty.
#[derive(Debug, Clone, Copy)]
pub enum Said {
    Send { to: u64, len: usize, fate: RawFate },
    Receive { len: usize, flags: RecvFlags, poll_first: bool, fate: RawFate },
}

/// What becomes of an op's future, or what nobody does with a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawFate {
    Of(Fate),
    Deadline {
        us: u64,
    },
    /// `mem::forget`.
    Forgotten,
    /// It is dropped when the runtime is gone.
    Outlives,
}

/// What else tasks do.
#[derive(Debug, Clone, Copy)]
pub enum Errand {
    Sleep { us: u64 },
    Timeout { us: u64, of_us: u64 },
    Ticks { us: u64, count: u64 },
    Yield,
    Child { us: u64, end: ChildEnd },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEnd {
    Joined,
    Aborted,
    Detached,
    Panics,
}

/// A task that is sent to a core.
#[derive(Debug, Clone, Copy)]
pub struct Parcel {
    /// Of as many cores as there are.
    pub to: u64,
    pub us: u64,
    pub writes: bool,
    /// Its answer comes by way of the next core.
    pub answers: bool,
    /// The sender waits before the next one.
    pub rests: bool,
    pub end: ChildEnd,
}

impl Script {
    pub fn draw(seed: u64) -> Script {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        Script {
            faults: faults(dice),
            buffers: [1, 1, 1, 3][usize::try_from(dice.below(4)).expect("small")],
            visitors: dice.some(0, 3, conversation),
            visits: dice.some(0, 2, |dice| (fate(dice), conversation(dice))),
            acceptors: dice.some(1, 2, |dice| dice.some(0, 5, fate)),
            scribes: dice.some(0, 2, files::scribe),
            journal: files::journal(dice),
            book: files::book(dice),
            raw: dice.some(1, 2, |dice| dice.some(1, 14, raw)),
            flows: dice.some(0, 2, flow),
            errands: dice.some(0, 2, |dice| dice.some(1, 5, errand)),
            correspondents: dice.some(0, 2, |dice| dice.between(1, 8)),
            cores: usize::try_from(dice.between(1, 3)).expect("small"),
            parcels: dice.some(0, 2, |dice| dice.some(1, 6, parcel)),
            aborts_us: dice.some(0, 2, |dice| dice.between(1, 3_000)),
            outages_us: if dice.one_in(6) {
                dice.some(1, 2, |dice| (dice.between(1, 2_000), dice.between(1, 600_000)))
            } else {
                Vec::new()
            },
            end: match dice.below(4) {
                0 => End::Dropped { after_us: dice.between(1, 4_000) },
                1 => End::InTwoParts { after_us: dice.between(1, 4_000) },
                _ => End::Complete,
            },
            strangers: dice.some(0, 1, group),
        }
    }
}

/// All of them, on good days rarely and on bad ones often; and now and then one power cut that is sure to come.
fn faults(dice: &mut Dice) -> Faults {
    let (ordinary, errors) = match dice.below(4) {
        0 => (0.02, 0.001),
        1 => (0.2, 0.005),
        2 => (0.05, 0.05),
        _ => (0.05, 0.01),
    };
    let faults = Fault::ALL.into_iter().fold(Faults::none(), |faults, fault| {
        let probability = match fault {
            Fault::PowerCut => 0.0001,
            // They need several replies that are due together, which is rare.
            Fault::Overflow | Fault::Reorder => ordinary * 4.0,
            _ if fault.is_ordinary() => ordinary,
            _ => errors,
        };
        faults.with(fault, probability)
    });
    if dice.one_in(4) { faults.at_step(dice.between(1, 250), Fault::PowerCut) } else { faults }
}

fn fate(dice: &mut Dice) -> Fate {
    match dice.below(10) {
        0 => Fate::Dropped { polls: dice.below(4) },
        1 => Fate::Dropped { polls: 1 },
        2 | 3 => Fate::Timeout { us: dice.between(0, 200) },
        4 => Fate::Kept { us: dice.between(0, 300) },
        _ => Fate::Awaited,
    }
}

fn conversation(dice: &mut Dice) -> Conversation {
    Conversation {
        outside: dice.some(1, 12, |dice| match dice.below(40) {
            0 => Outside::Close,
            1 => Outside::Reset,
            2..=12 => Outside::Pause { us: dice.between(1, 400) },
            13..=22 => Outside::Take,
            _ => Outside::Send { len: dice.len() },
        }),
        readers: dice.some(0, 2, |dice| dice.some(1, 8, receive)),
        writers: dice.some(0, 2, |dice| dice.some(1, 6, send)),
        abort_us: dice.one_in(4).then(|| dice.between(1, 2_000)),
        timeout_us: dice.one_in(4).then(|| dice.between(1, 400)),
        closes: dice.one_in(2),
    }
}

fn receive(dice: &mut Dice) -> Receive {
    let how = match dice.below(8) {
        0 => Reading::Peek,
        1 => Reading::ExactLent,
        2 => Reading::ExactOwned,
        3 | 4 => Reading::Lent,
        _ => Reading::Owned,
    };
    Receive { how, len: dice.len(), fate: fate(dice) }
}

fn send(dice: &mut Dice) -> Send {
    let how = match dice.below(10) {
        0 => Writing::Flush,
        1 | 2 => Writing::Lent,
        3 => Writing::AllLent,
        4 | 5 => Writing::AllOwned,
        _ => Writing::Owned,
    };
    Send { how, len: dice.len(), fate: fate(dice) }
}

fn raw(dice: &mut Dice) -> Raw {
    const OPS: [RawOp; 20] = [
        RawOp::Nop,
        RawOp::Open,
        RawOp::Stat,
        RawOp::Read,
        RawOp::Write,
        RawOp::WriteNow,
        RawOp::Truncate,
        RawOp::Fsync,
        RawOp::Close,
        RawOp::Recv,
        RawOp::Recv,
        RawOp::Send,
        RawOp::Send,
        RawOp::Poll,
        RawOp::PollMany,
        RawOp::Accept,
        RawOp::AcceptMany,
        RawOp::Connect,
        RawOp::Call,
        RawOp::Burst,
    ];
    let what = OPS[usize::try_from(dice.below(20)).expect("small")];
    Raw { what, fate: raw_fate(dice) }
}

fn raw_fate(dice: &mut Dice) -> RawFate {
    match dice.below(50) {
        0 => RawFate::Forgotten,
        1..=5 => RawFate::Outlives,
        6..=14 => RawFate::Deadline { us: dice.between(0, 200) },
        _ => RawFate::Of(fate(dice)),
    }
}

fn flow(dice: &mut Dice) -> Flow {
    let bed = [Bed::Pipe, Bed::Pipe, Bed::Pair, Bed::Named][usize::try_from(dice.below(4)).expect("small")];
    let op = |dice: &mut Dice| (dice.len(), raw_fate(dice));
    Flow { bed, writes: dice.some(1, 8, op), reads: dice.some(0, 8, op) }
}

fn group(dice: &mut Dice) -> Group {
    Group {
        is_unix: dice.one_in(3),
        members: dice.some(2, 3, |dice| dice.some(1, 14, said)),
        outside: dice.some(0, 6, |dice| (dice.below(400), dice.below(3), dice.len().min(4_000))),
    }
}

fn said(dice: &mut Dice) -> Said {
    let (len, fate) = (dice.len().min(4_000), raw_fate(dice));
    if dice.one_in(2) {
        return Said::Send { to: dice.below(12), len, fate };
    }
    let flags = match dice.below(8) {
        0 => RecvFlags::PEEK,
        1 | 2 => RecvFlags::DONTWAIT,
        _ => RecvFlags::empty(),
    };
    Said::Receive { len: len.max(8), flags, poll_first: dice.one_in(3), fate }
}

fn errand(dice: &mut Dice) -> Errand {
    match dice.below(6) {
        0 => Errand::Sleep { us: dice.below(2_000) },
        1 => Errand::Timeout { us: dice.below(200), of_us: dice.below(200) },
        2 => Errand::Ticks { us: dice.between(1, 200), count: dice.between(1, 5) },
        3 => Errand::Yield,
        _ => Errand::Child { us: dice.below(400), end: child_end(dice) },
    }
}

fn child_end(dice: &mut Dice) -> ChildEnd {
    match dice.below(6) {
        0 => ChildEnd::Aborted,
        1 => ChildEnd::Detached,
        2 => ChildEnd::Panics,
        _ => ChildEnd::Joined,
    }
}

fn parcel(dice: &mut Dice) -> Parcel {
    Parcel {
        to: dice.below(3),
        us: dice.below(300),
        writes: dice.one_in(3),
        answers: dice.one_in(3),
        rests: dice.one_in(3),
        end: child_end(dice),
    }
}

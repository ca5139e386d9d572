//! Datagrams between strangers: what a last reply says was sent comes once, whole and in its order, to the one it was
//! for and with the name of the one it is from, whoever gets those replies.
//!
//! UDP may lose what finds no room, and what is on a wire that is cut; the groups here send less than a socket holds,
//! so that only the second counts. Between unix sockets nothing may be lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix;
use std::rc::Rc;

use runtime::buf::IoBuf;
use runtime::call;
use runtime::fd::SharedFd;
use runtime::op::Reply;
use runtime::op::address::SocketAddress;
use runtime::op::datagram::{RecvFrom, SendTo, Sender};
use runtime::op::socket::End;
use runtime::simulated::PeerDatagrams;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

use crate::dice::bytes;
use crate::fates::pause;
use crate::ops;
use crate::script::{Group, RawFate, Said};
use crate::stage::Stage;

/// What is known of a group.
struct Known {
    members: Vec<Member>,
    outside: Option<PeerDatagrams>,
    letters: RefCell<BTreeMap<u64, Letter>>,
    /// Nothing tells empty ones apart: to each how many were begun, were sent, and came.
    empty: RefCell<Vec<[u64; 3]>>,
    /// The last that came, by who sent it and who got it.
    last: RefCell<BTreeMap<(usize, usize), u64>>,
    /// So many members have still to send.
    senders: Cell<usize>,
}

/// A socket of the program's.
struct Member {
    fd: SharedFd,
    address: SocketAddress,
    sends: Side,
    receives: Side,
}

#[derive(Default)]
struct Side {
    is_under_way: Cell<bool>,
    /// Nobody hears of an op before the runtime's end, so none may come behind it.
    is_given_up: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Letter {
    from: usize,
    to: usize,
    len: usize,
    /// What the reply said.
    is_sent: Option<bool>,
    is_awaited: bool,
    is_taken: bool,
}

/// So a datagram says what it is called.
const NAME_LEN: usize = 8;

/// Whoever waits for an op's last reply, or for a datagram, waits so many times.
const WAITS_MAX: u32 = 20_000;

/// So often it is tried to make a socket.
const TRIES_MAX: u32 = 50;

/// Who is outside is behind all members.
const OUTSIDE_PORT: u64 = 20_000;

/// Runs a group until each has heard what was sent to it.
pub async fn run(stage: Rc<Stage>, group: Group) {
    let Some(known) = Known::new(&stage, &group) else { return };
    let known = Rc::new(known);
    let judged = known.clone();
    stage.last.borrow_mut().push(Box::new(move |stage, is_cut_short| judged.judge(stage, is_cut_short)));
    for (me, steps) in group.members.into_iter().enumerate() {
        let (known, acting) = (known.clone(), stage.clone());
        stage.spawn("a stranger", async move {
            for step in steps {
                match step {
                    Said::Send { to, len, fate } => known.send(&acting, me, to, len, fate).await,
                    Said::Receive { len, flags, poll_first, fate } => {
                        known.receive(&acting, me, len, flags, poll_first, fate).await;
                    }
                }
            }
            known.settle(&acting, &known.members[me].sends).await;
            known.senders.set(known.senders.get() - 1);
            known.receive_all(&acting, me).await;
        });
    }
    for (us, to, len) in group.outside {
        pause(us).await;
        known.send_from_outside(&stage, to, len);
    }
    known.senders.set(known.senders.get() - 1);
}

impl Known {
    fn new(stage: &Stage, group: &Group) -> Option<Known> {
        let mut members = Vec::new();
        for _ in &group.members {
            members.push(Member::new(stage.name(), group.is_unix)?);
        }
        let mut outside = None;
        if !group.is_unix {
            let port = u16::try_from(OUTSIDE_PORT + stage.name()).expect("few names");
            outside = Some(stage.world.datagrams((Ipv4Addr::new(10, 0, 0, 7), port).into()).ok()?);
        }
        Some(Known {
            empty: RefCell::new(vec![[0; 3]; members.len() + 1]),
            senders: Cell::new(members.len() + 1),
            members,
            outside,
            letters: RefCell::default(),
            last: RefCell::default(),
        })
    }

    async fn send(self: &Rc<Known>, stage: &Rc<Stage>, me: usize, to: u64, len: usize, fate: RawFate) {
        let sends = &self.members[me].sends;
        self.settle(stage, sends).await;
        let Some((to, address)) = self.addressee(to) else { return };
        if sends.is_given_up.get() {
            return;
        }
        let (name, buf) = self.write(stage, me, to, len);
        let len = buf.len();
        let (known, under_way) = (self.clone(), UnderWay::new(self, me, |member| &member.sends, fate));
        let verdict = stage.verdict.clone();
        let fd = self.members[me].fd.clone();
        let op = SendTo { fd, buf: stage.watch.buffer(buf), to: address, flags: SendFlags::empty() };
        let report = move |_: &_, reply: &io::Result<Reply>| {
            let _over = under_way;
            let is_whole = match reply {
                Ok(Reply::Count(count)) => *count == len,
                _ => true,
            };
            verdict.blame_unless(is_whole, || format!("a part of datagram {name:#x} was sent"));
            let is_heard = !known.members[me].sends.is_given_up.get();
            verdict.blame_unless(known.replied(name, to, len, reply.is_ok(), is_heard), || {
                format!("datagram {name:#x} came, and was not sent")
            });
        };
        ops::one(stage, "a send to a stranger", fate, op, report).await;
    }

    fn send_from_outside(&self, stage: &Stage, to: u64, len: usize) {
        let (Some(outside), Some((to, address))) = (&self.outside, self.addressee(to)) else { return };
        let (name, buf) = self.write(stage, self.members.len(), to, len);
        let is_sent = outside.send_to(&buf, address).is_ok();
        stage.verdict.blame_unless(is_sent, || "nothing can be sent from outside".to_owned());
        let _not_there_yet = self.replied(name, to, len, is_sent, true);
        self.hear(stage);
    }

    /// Who it is, of all who are there.
    fn addressee(&self, to: u64) -> Option<(usize, SocketAddress)> {
        let there = self.members.len() + usize::from(self.outside.is_some());
        let to = usize::try_from(to).expect("small") % there;
        match (self.members.get(to), &self.outside) {
            (Some(member), _) => Some((to, member.address)),
            (None, Some(outside)) => Some((to, outside.address().ok()?.into())),
            (None, None) => None,
        }
    }

    /// What it is called, and what is in it.
    fn write(&self, stage: &Stage, from: usize, to: usize, len: usize) -> (u64, Vec<u8>) {
        let name = stage.name();
        if len < NAME_LEN {
            self.empty.borrow_mut()[to][0] += 1;
            return (name, Vec::new());
        }
        self.letters
            .borrow_mut()
            .insert(name, Letter { from, to, len, is_sent: None, is_awaited: false, is_taken: false });
        (name, contents(name, len))
    }

    /// A send was answered; whether that can be. If nobody hears of it before the end, nobody waits for the datagram.
    fn replied(&self, name: u64, to: usize, len: usize, is_sent: bool, is_heard: bool) -> bool {
        if len < NAME_LEN {
            self.empty.borrow_mut()[to][1] += u64::from(is_sent && is_heard);
            return true;
        }
        let mut letters = self.letters.borrow_mut();
        let letter = letters.get_mut(&name).expect("it was begun");
        letter.is_sent = Some(is_sent);
        letter.is_awaited = is_sent && is_heard;
        is_sent || !letter.is_taken
    }

    async fn receive(
        self: &Rc<Known>,
        stage: &Rc<Stage>,
        me: usize,
        len: usize,
        flags: RecvFlags,
        poll_first: bool,
        fate: RawFate,
    ) {
        let receives = &self.members[me].receives;
        self.settle(stage, receives).await;
        if receives.is_given_up.get() {
            return;
        }
        let (known, under_way) = (self.clone(), UnderWay::new(self, me, |member| &member.receives, fate));
        let (fd, buf) = (self.members[me].fd.clone(), stage.watch.buffer(vec![0; len]));
        let op = RecvFrom { fd, buf, from: Sender::room(), flags, poll_first };
        let judging = stage.clone();
        let report = move |op: &RecvFrom<crate::watched::Canaried>, reply: &io::Result<Reply>| {
            let _over = under_way;
            if let Ok(Reply::Count(count)) = reply {
                let from = known.who(&op.from.address());
                let came = &op.buf.bytes()[..*count];
                known.take(&judging, from, me, came, op.buf.bytes().len(), flags.contains(RecvFlags::PEEK));
            }
        };
        ops::one(stage, "a receive from a stranger", bounded(fate), op, report).await;
    }

    /// What is still to come, when nobody sends any more.
    async fn receive_all(self: &Rc<Known>, stage: &Rc<Stage>, me: usize) {
        let receives = &self.members[me].receives;
        for _ in 0..WAITS_MAX {
            let is_over = self.senders.get() == 0 && self.missing(me, stage).is_none();
            if is_over || receives.is_given_up.get() || stage.world.power_cuts() > 0 {
                return;
            }
            let fate = RawFate::Deadline { us: 3_000 };
            self.receive(stage, me, 9_000, RecvFlags::empty(), false, fate).await;
        }
        stage
            .verdict
            .blame(format!("to a stranger nothing comes any more, and {:?} is missing", self.missing(me, stage)));
    }

    fn hear(&self, stage: &Stage) {
        let Some(outside) = &self.outside else { return };
        for datagram in outside.received() {
            let (from, came) = (self.who(&datagram.from), &datagram.bytes);
            self.take(stage, from, self.members.len(), came, came.len(), false);
        }
    }

    fn who(&self, from: &SocketAddress) -> Option<usize> {
        // Who has all addresses goes by one or another.
        let port = |address: &SocketAddress| address.ip().map(|ip| ip.port()).ok();
        let is_it = |address: &SocketAddress| address == from || (port(from).is_some() && port(address) == port(from));
        let outside = self.outside.as_ref().and_then(|outside| Some(outside.address().ok()?.into()));
        self.members.iter().map(|member| member.address).chain(outside).position(|address| is_it(&address))
    }

    fn take(&self, stage: &Stage, from: Option<usize>, me: usize, came: &[u8], room: usize, is_peek: bool) {
        let verdict = &stage.verdict;
        let Some(name) = came.first_chunk().map(|name| u64::from_le_bytes(*name)) else {
            verdict.blame_unless(came.is_empty(), || format!("a datagram of {} bytes", came.len()));
            let [begun, _, taken] = &mut self.empty.borrow_mut()[me];
            *taken += u64::from(!is_peek);
            return verdict.blame_unless(*taken <= *begun, || "an empty datagram came that nobody sent".to_owned());
        };
        let mut letters = self.letters.borrow_mut();
        let Some(letter) = letters.get_mut(&name) else {
            return verdict.blame(format!("a datagram came that nobody sent: {:?}", came));
        };
        let Letter { to, len, is_sent, is_taken, .. } = *letter;
        let is_right = (Some(letter.from), to) == (from, me) && contents(name, len)[..len.min(room)] == *came;
        verdict.blame_unless(is_right, || format!("datagram {name:#x} of {from:?} to {me} came otherwise"));
        verdict.blame_unless(!is_taken, || format!("datagram {name:#x} came twice"));
        verdict.blame_unless(is_sent != Some(false), || format!("datagram {name:#x} came, and was not sent"));
        if is_peek {
            return;
        }
        letter.is_taken = true;
        let before = self.last.borrow_mut().insert((letter.from, me), name);
        let is_in_order = before.is_none_or(|before| before < name);
        verdict
            .blame_unless(is_in_order || !self.is_sound(letter.from, me), || format!("datagram {name:#x} came late"));
    }

    /// Whether each op was heard of in its order.
    fn is_sound(&self, from: usize, to: usize) -> bool {
        let is_given_up = |who: usize, side: fn(&Member) -> &Side| {
            self.members.get(who).is_some_and(|member| side(member).is_given_up.get())
        };
        !is_given_up(from, |member| &member.sends) && !is_given_up(to, |member| &member.receives)
    }

    /// A datagram that must come and has not.
    fn missing(&self, me: usize, stage: &Stage) -> Option<String> {
        let outside = self.members.len();
        let may_be_lost = |from: usize| stage.had_outages.get() && (from == outside || me == outside);
        let letters = self.letters.borrow();
        let is_missing = |letter: &Letter| letter.to == me && letter.is_awaited && !letter.is_taken;
        let missing = letters.iter().find(|(_, letter)| is_missing(letter) && !may_be_lost(letter.from));
        let [_, sent, taken] = self.empty.borrow()[me];
        let lacks_empty = sent > taken && !stage.had_outages.get();
        missing.map(|(name, _)| format!("{name:#x}")).or_else(|| lacks_empty.then(|| "an empty one".to_owned()))
    }

    /// Waits until an op has been answered, so that the order of datagrams is known.
    async fn settle(&self, stage: &Stage, side: &Side) {
        for _ in 0..WAITS_MAX {
            if !side.is_under_way.get() || side.is_given_up.get() {
                return;
            }
            pause(100).await;
        }
        stage.verdict.blame("an op on datagrams is never answered");
    }

    /// All that was sent came, unless the runtime or the machine went in the middle.
    fn judge(&self, stage: &Stage, is_cut_short: bool) {
        self.hear(stage);
        if is_cut_short || stage.world.power_cuts() > 0 {
            return;
        }
        for me in 0..=self.members.len() {
            let is_heard = self.members.get(me).is_none_or(|member| !member.receives.is_given_up.get());
            if let (true, Some(missing)) = (is_heard, self.missing(me, stage)) {
                stage.verdict.blame(format!("of what was sent to stranger {me} is missing: {missing}"));
            }
        }
    }
}

impl Member {
    fn new(name: u64, is_unix: bool) -> Option<Member> {
        let family = if is_unix { AddressFamily::UNIX } else { AddressFamily::INET };
        let again = |attempt: &dyn Fn() -> bool| (0..TRIES_MAX).any(|_| attempt()).then_some(());
        let fd = (0..TRIES_MAX).find_map(|_| call::socket(family, SocketType::DGRAM, None).ok()).map(SharedFd::new)?;
        let address = if is_unix {
            let path = unix::net::SocketAddr::from_pathname(format!("/tmp/stranger-{name}")).expect("a short path");
            SocketAddress::from(path)
        } else {
            std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()
        };
        again(&|| call::bind(&fd, address).is_ok())?;
        let mut address = call::name(&fd, End::Local).ok()?;
        if let Ok(ip) = address.ip() {
            address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, ip.port())).into();
        }
        Some(Member { fd, address, sends: Side::default(), receives: Side::default() })
    }
}

/// Its name first.
fn contents(name: u64, len: usize) -> Vec<u8> {
    let mut contents = name.to_le_bytes().to_vec();
    contents.extend(bytes(name, 0, len - NAME_LEN));
    contents
}

/// Nobody may ever send.
fn bounded(fate: RawFate) -> RawFate {
    if fate == RawFate::Of(crate::script::Fate::Awaited) { RawFate::Deadline { us: 5_000 } } else { fate }
}

/// An op is under way until this goes: answered, or dropped before it began.
struct UnderWay(Rc<Known>, usize, fn(&Member) -> &Side);

impl UnderWay {
    fn new(known: &Rc<Known>, who: usize, which: fn(&Member) -> &Side, fate: RawFate) -> UnderWay {
        let side = which(&known.members[who]);
        side.is_under_way.set(true);
        side.is_given_up.set(matches!(fate, RawFate::Forgotten | RawFate::Outlives));
        UnderWay(known.clone(), who, which)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        (self.2)(&self.0.members[self.1]).is_under_way.set(false);
    }
}

//! A kernel in memory: the same requests, answered by a schedule that one number decides.
//!
//! ```text
//!  start ─► agenda: an attempt at a drawn time ──► served ─► Event::Last, or Event::More and again
//!              ▲                                     │ would have to wait
//!              └── a drawn time after it is ready ◄── waiting for a socket or a pipe
//!  cancel ─► agenda: its own drawn time ─► ECANCELED, or too late
//!  nothing due ─► the clock jumps to what comes next, for this core, another one, the wires or a timer
//! ```
//!
//! Everything lies in a [`world`]: files, sockets, descriptors, a clock. Reading writes into an op's memory when its
//! answer is given and not before, as late as a kernel may, so that whoever frees it early is found.
//!
//! **To add an op**, serve it in [`service`], and say in `faults/places.rs` which faults can strike it. What is not
//! modelled answers EOPNOTSUPP and is listed by [`World::unsupported`](handle::World::unsupported).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::{Cheaper, Counters, Park};
use crate::fd::{Fd, SimulatedFd};
use crate::inbox::Inbox;
use crate::inflight::held::{Came, Lent};
use crate::inflight::slots::{Event, Key};
use crate::op::{Answered, Reply, Request};

mod clock;
mod descriptors;
mod faults;
mod files;
pub(crate) mod handle;
mod network;
mod pipes;
mod random;
mod service;
#[cfg(test)]
mod tests;
mod world;

pub use faults::{Fault, Faults};

use descriptors::Waitable;
use faults::places::Kind;
use handle::World;
use service::{Attempt, Given, Served};
use world::{Ahead, Kernel, Shared};

/// One core's part of a simulated world.
pub(crate) struct Simulated {
    shared: Arc<Shared>,
    core: usize,
    inbox: Arc<Inbox>,
    flights: BTreeMap<u64, Flight>,
    /// Only looked up, so that its order decides nothing.
    names: HashMap<Key, u64>,
    agenda: BTreeSet<Due>,
    waiting: BTreeMap<Waitable, BTreeSet<u64>>,
    flights_started: u64,
    /// Which start of the machine the flights belong to.
    boot: u64,
    counters: Counters,
    /// Whether other threads work for this core now, whose wakes the world cannot foresee.
    are_helpers_busy: Box<dyn Fn() -> bool>,
    /// Kept for its memory.
    events: Vec<Event>,
}

/// A request that is not answered.
struct Flight {
    lent: Lent,
    kind: Kind,
    attempt: Attempt,
    boot: u64,
    waits_for: Option<Waitable>,
    /// A cancel came while it was too far on to be stopped: it may finish, but not begin to wait.
    is_cancelled: bool,
}

/// Something that will happen to a flight. Those of the same moment come in drawn order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at_ns: u64,
    order: u64,
    flight: u64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Attempt,
    Cancel,
}

/// What [`Simulated::wait`] does next.
enum Turn {
    /// It returns.
    Over,
    /// Time went on: look again.
    Again,
    /// It waits for another thread, in real time.
    Sleep,
}

/// So many replies are handed over at once: the completion queue's usual size.
const REPLIES_MAX: usize = 4096;

/// So long a core sleeps until it looks whether its helpers are done: they ring only if somebody waits for them.
const HELPERS_PAUSE: Duration = Duration::from_millis(5);

impl Simulated {
    /// The first core of a new world.
    pub fn new(seed: u64, faults: Faults, inbox: Arc<Inbox>) -> Simulated {
        Simulated::in_world(Shared::new(seed, faults), inbox)
    }

    /// One more core of a world. All of a world's cores run on one thread, one after the other: while one of them has
    /// something to do, the others' [`wait`](Simulated::wait) returns at once with nothing.
    pub fn beside(world: &World, inbox: Arc<Inbox>) -> Simulated {
        Simulated::in_world(world.shared().clone(), inbox)
    }

    fn in_world(shared: Arc<Shared>, inbox: Arc<Inbox>) -> Simulated {
        let (core, boot) = {
            let mut kernel = shared.lock();
            (kernel.add_core(inbox.clone()), kernel.boots)
        };
        Simulated {
            shared,
            core,
            inbox,
            flights: BTreeMap::new(),
            names: HashMap::new(),
            agenda: BTreeSet::new(),
            waiting: BTreeMap::new(),
            flights_started: 0,
            boot,
            counters: Counters::default(),
            are_helpers_busy: Box::new(|| false),
            events: Vec::new(),
        }
    }

    /// Tells how to know whether other threads work for this core. While they do, time stands still for it: a clock
    /// that jumps would let everything time out before they had a chance. They should ring the inbox when they are
    /// done.
    pub fn with_helpers(mut self, are_busy: impl Fn() -> bool + 'static) -> Simulated {
        self.are_helpers_busy = Box::new(are_busy);
        self
    }

    /// The world, to look at and act on.
    pub fn world(&self) -> World {
        World::new(self.shared.clone())
    }

    pub fn start(&mut self, mut lent: Lent) {
        let id = self.flights_started;
        self.flights_started += 1;
        self.counters.submitted += 1;
        self.names.insert(lent.key(), id);
        let shared = self.shared.clone();
        let mut kernel = shared.lock();
        let kind = lent.with(|request| kernel.kind(request));
        kernel.set_busy(self.core);
        kernel.tick();
        kernel.unanswered += 1;
        let may_be_missing = lent.with(|request| request.newer_op().is_some());
        let by_thread = may_be_missing && kernel.ledger.strikes(Fault::Missing, kind);
        let attempt = Attempt { may_wait: true, progress: 0, by_thread };
        self.flights
            .insert(id, Flight { lent, kind, attempt, boot: kernel.boots, waits_for: None, is_cancelled: false });
        let mut delay_ns = drawn_delay(&mut kernel, kind);
        if by_thread {
            // There and back.
            delay_ns += kernel.schedule.delay_ns();
        } else if kernel.ledger.strikes(Fault::QueueFull, kind) {
            self.counters.queue_full += 1;
            delay_ns += kernel.schedule.delay_ns();
        }
        self.schedule(&mut kernel, id, What::Attempt, delay_ns);
    }

    /// Asks for an early end. It takes its time, in which the op may end by itself.
    pub fn cancel(&mut self, key: Key) {
        let Some(&id) = self.names.get(&key) else { return };
        let kind = self.flights.get(&id).expect("a name of a flight").kind;
        let shared = self.shared.clone();
        let mut kernel = shared.lock();
        let is_late = kernel.ledger.strikes(Fault::LateCancel, kind);
        let delay_ns = if is_late { kernel.schedule.long_delay_ns() } else { kernel.schedule.below(20_000) };
        self.schedule(&mut kernel, id, What::Cancel, delay_ns);
    }

    /// Does a request now, in the same world: EAGAIN where it would have to wait.
    pub fn call(&mut self, request: &mut Request<'_>) -> Answered {
        let mut kernel = self.shared.lock();
        kernel.tick();
        kernel.settle();
        let served = kernel.serve(request, &mut Attempt { may_wait: false, progress: 0, by_thread: false });
        let discarded = std::mem::take(&mut kernel.discarded);
        drop(kernel);
        drop(discarded);
        match served {
            Served::Done(answer) => answer.map(|given| self.reply(given)),
            Served::Waits(_) => Err(Errno::AGAIN),
        }
    }

    /// As the seed says, so that programs are seen both ways.
    pub fn cheaper(&mut self) -> Cheaper {
        if self.shared.lock().schedule.coin() { Cheaper::Call } else { Cheaper::Op }
    }

    pub fn now(&self) -> Instant {
        self.shared.lock().clock.now()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Hands over what is due. If nothing is, and it may wait, time goes on to what comes next.
    ///
    /// # Errors
    ///
    /// [`Deadlock`](io::ErrorKind::Deadlock) if nothing will ever come: no reply, no timer, no other thread.
    pub fn wait(&mut self, park: Park, mut events: impl FnMut(Event)) -> io::Result<()> {
        self.counters.enters += 1;
        loop {
            match self.turn(park)? {
                Turn::Over => break,
                Turn::Again => {}
                Turn::Sleep => {
                    self.sleep()?;
                    break;
                }
            }
        }
        self.events.drain(..).for_each(&mut events);
        Ok(())
    }

    fn turn(&mut self, park: Park) -> io::Result<Turn> {
        let shared = self.shared.clone();
        let mut kernel = shared.lock();
        if let Park::No = park {
            kernel.tick();
        }
        kernel.settle();
        self.heed(&mut kernel);
        self.answer_due(&mut kernel);
        let turn = match park {
            Park::Until(until) if self.events.is_empty() => self.look_ahead(&mut kernel, until),
            Park::Until(_) | Park::No => {
                kernel.set_busy(self.core);
                Ok(Turn::Over)
            }
        };
        let discarded = std::mem::take(&mut kernel.discarded);
        // A descriptor that is dropped locks the world.
        drop(kernel);
        drop(discarded);
        turn
    }

    /// Lets time go on, if all of the world waits for that.
    fn look_ahead(&self, kernel: &mut Kernel, until: Option<Instant>) -> io::Result<Turn> {
        let until_ns = until.map(|moment| kernel.clock.at(moment));
        if until_ns.is_some_and(|until| until <= kernel.now_ns()) {
            kernel.set_busy(self.core);
            return Ok(Turn::Over);
        }
        if (self.are_helpers_busy)() {
            return Ok(Turn::Sleep);
        }
        // What was just done may be what others wait for.
        kernel.settle();
        kernel.set_idle(self.core, until_ns, self.agenda.first().map(|due| due.at_ns));
        match kernel.ahead() {
            Ahead::Busy => Ok(Turn::Over),
            // Due now, and not ours: another core's turn.
            Ahead::At(moment) if moment <= kernel.now_ns() => Ok(Turn::Over),
            Ahead::At(moment) => {
                kernel.clock.advance_to(moment);
                Ok(Turn::Again)
            }
            Ahead::Nothing => Err(self.deadlock(kernel)),
        }
    }

    fn deadlock(&self, kernel: &Kernel) -> io::Error {
        let waiting: Vec<String> = self.flights.values().map(|flight| format!("{:?}", flight.lent)).collect();
        let waiting = if waiting.is_empty() { "no request is in flight".to_owned() } else { waiting.join("; ") };
        io::Error::new(
            io::ErrorKind::Deadlock,
            format!(
                "nothing will ever happen in this simulated world (seed {}, step {}): no reply is due, no timer runs and no \
                 thread of the runtime's works; what waits is: {waiting}",
                kernel.seed,
                kernel.ledger.steps(),
            ),
        )
    }

    /// Waits for another thread, in real time.
    fn sleep(&self) -> io::Result<()> {
        let eventfd = self.inbox.eventfd();
        let mut fds = [PollFd::from_borrowed_fd(eventfd, PollFlags::IN)];
        let pause = Timespec::try_from(HELPERS_PAUSE).expect("a few milliseconds");
        match rustix::event::poll(&mut fds, Some(&pause)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            Ok(_) => {
                // Only this driver watches it, so it may be read; that nothing is there any more says the same.
                match rustix::io::read(eventfd, &mut [0_u8; 8]) {
                    Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the flights whose socket or pipe became ready another attempt.
    fn heed(&mut self, kernel: &mut Kernel) {
        if self.boot != kernel.boots {
            self.boot = kernel.boots;
            for ids in std::mem::take(&mut self.waiting).into_values() {
                self.try_again(kernel, ids);
            }
        }
        for touched in kernel.take_touched(self.core) {
            if let Some(ids) = self.waiting.remove(&touched) {
                self.try_again(kernel, ids);
            }
        }
    }

    fn try_again(&mut self, kernel: &mut Kernel, ids: BTreeSet<u64>) {
        for id in ids {
            let Some(flight) = self.flights.get_mut(&id) else { continue };
            flight.waits_for = None;
            let delay_ns = drawn_delay(kernel, flight.kind);
            self.schedule(kernel, id, What::Attempt, delay_ns);
        }
    }

    fn schedule(&mut self, kernel: &mut Kernel, flight: u64, what: What, delay_ns: u64) {
        let order = kernel.schedule.next();
        self.agenda.insert(Due { at_ns: kernel.now_ns() + delay_ns, order, flight, what });
    }

    fn answer_due(&mut self, kernel: &mut Kernel) {
        for due in self.take_due(kernel) {
            match due.what {
                What::Attempt => self.attempt(kernel, due.flight),
                What::Cancel => self.end_early(kernel, due.flight),
            }
        }
    }

    /// What happens in this wait, off the agenda. The rest of what is due stays for the next.
    fn take_due(&mut self, kernel: &mut Kernel) -> Vec<Due> {
        let now_ns = kernel.now_ns();
        let is_due = self.agenda.iter().take_while(|due| due.at_ns <= now_ns);
        let (mut taken, mut behind) = (Vec::new(), Vec::new());
        for due in is_due.take(REPLIES_MAX).copied() {
            // An op that was cancelled before its attempt is gone.
            let kind = self.flights.get(&due.flight).map_or(Kind::Nop, |flight| flight.kind);
            if !taken.is_empty() && kernel.ledger.strikes(Fault::Overflow, kind) {
                self.counters.overflows += 1;
                break;
            }
            let late = kernel.ledger.strikes(Fault::Reorder, kind);
            if late { behind.push(due) } else { taken.push(due) }
        }
        taken.append(&mut behind);
        for due in &taken {
            self.agenda.remove(due);
        }
        taken
    }

    fn attempt(&mut self, kernel: &mut Kernel, id: u64) {
        // A cancel may have been faster.
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let Flight { lent, kind, attempt, boot, .. } = flight;
        let kind = *kind;
        let served = if *boot == kernel.boots {
            lent.with(|request| kernel.serve(request, attempt))
        } else {
            // What it was about went with the power.
            Served::Done(Err(Errno::IO))
        };
        match served {
            Served::Waits(_) if flight.is_cancelled => self.stop(kernel, id),
            Served::Waits(waitable) => self.wait_for(id, waitable),
            Served::Done(Ok(given)) if kind.is_many() && !kernel.ledger.strikes(Fault::EndsEarly, kind) => {
                self.give_one(kernel, id, given);
            }
            Served::Done(answer) => {
                let answer = answer.map(|given| self.reply(given));
                self.answer(kernel, id, answer);
            }
        }
    }

    fn wait_for(&mut self, id: u64, waitable: Waitable) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.waits_for = Some(waitable);
            self.waiting.entry(waitable).or_default().insert(id);
        }
    }

    /// One of many replies. What comes next is announced when it is new.
    fn give_one(&mut self, kernel: &mut Kernel, id: u64, given: Given) {
        let reply = self.reply(given);
        let Some(flight) = self.flights.get_mut(&id) else { return };
        self.counters.completed += 1;
        self.events.push(Event::More(flight.lent.key(), Came::Driver(Ok(reply))));
        let polled = flight.lent.with(|request| kernel.polled(request));
        match (flight.kind, polled) {
            (Kind::PollMany, Some(polled)) => self.wait_for(id, polled),
            // Always ready, and never anew.
            (Kind::PollMany, None) => {}
            (kind, _) => {
                let delay_ns = drawn_delay(kernel, kind);
                self.schedule(kernel, id, What::Attempt, delay_ns);
            }
        }
    }

    /// A cancel arrives. What waits ends; what runs already may be past stopping.
    fn end_early(&mut self, kernel: &mut Kernel, id: u64) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let waits = flight.waits_for.is_some() || flight.kind.is_many();
        if !waits && kernel.schedule.coin() {
            flight.is_cancelled = true;
            return;
        }
        self.stop(kernel, id);
    }

    /// Answers what a cancel leaves to say.
    fn stop(&mut self, kernel: &mut Kernel, id: u64) {
        let Some(flight) = self.flights.get(&id) else { return };
        let transferred = match flight.kind {
            Kind::Recv | Kind::Send | Kind::Read | Kind::Write => flight.attempt.progress,
            _ => 0,
        };
        let answer = if transferred > 0 { Ok(Reply::Count(transferred)) } else { Err(Errno::CANCELED) };
        self.answer(kernel, id, answer);
    }

    /// The last reply.
    fn answer(&mut self, kernel: &mut Kernel, id: u64, answer: Answered) {
        let Some(flight) = self.flights.remove(&id) else { return };
        kernel.unanswered -= 1;
        if let Some(waitable) = flight.waits_for
            && let Some(ids) = self.waiting.get_mut(&waitable)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.waiting.remove(&waitable);
            }
        }
        let key = flight.lent.key();
        self.names.remove(&key);
        self.counters.completed += 1;
        self.events.push(Event::Last(key, flight.lent.answer(answer)));
    }

    fn reply(&self, given: Given) -> Reply {
        match given {
            Given::Count(count) => Reply::Count(count),
            Given::Fd(number) => Reply::Fd(self.descriptor(number)),
            Given::Pair(one, other) => Reply::Pair(Box::new((self.descriptor(one), self.descriptor(other)))),
        }
    }

    fn descriptor(&self, number: u32) -> Fd {
        Fd::Simulated(SimulatedFd::new(number, self.shared.clone()))
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        // The requests that are left stay unanswered, so their memory is never freed.
        self.shared.lock().remove_core(self.core);
    }
}

fn drawn_delay(kernel: &mut Kernel, kind: Kind) -> u64 {
    let usual = kernel.schedule.delay_ns();
    if kernel.ledger.strikes(Fault::Delay, kind) { kernel.schedule.long_delay_ns() } else { usual }
}

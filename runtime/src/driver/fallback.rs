//! The driver for machines where io_uring is denied, missing or too old: epoll for what can be waited for, the blocking
//! pool for the rest.
//!
//! ```text
//!  start ─► never blocks ────────────────────────► answered ─► the next wait hands it over
//!        ├► an attempt, or straight away: watched ─► event ─► attempt ─► answered
//!        │                                  ▲ not ready ──────┘
//!        └► may block, or epoll refuses it ─► the pool ─► returned ─► answered
//! ```
//!
//! Requests stay here while they wait, under the index of their slot: a slot is reused only after its last reply, so no
//! two requests claim one place.
//!
//! No descriptor is ever made non-blocking for this: attempts say for themselves that they do not wait. An op in flight
//! keeps its descriptor open, so a number means the same thing as long as somebody waits on it, and not a moment
//! longer: [`watch`] takes nothing for granted that it knew before.
//!
//! Dropping the driver answers nothing. Requests that wait here, or run on the pool, leave their ops held, and those
//! leak: a thread may still write into them.

mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use self::watch::Watch;
use super::errands::Errands;
use super::{Counters, Park};
use crate::blocking::pool::Pool;
use crate::fork::{IN_A_CHILD, Origin};
use crate::inbox::Inbox;
use crate::inflight::held::{Came, Lent};
use crate::inflight::slots::{Event, Key};
use crate::op::ready::Interest;
use crate::op::{Answered, Attempt, Replies, Reply, Request, Way};

/// How many replies one request that wants [all](Replies::All) gets in a turn. What is left comes in the next.
const REPLIES_MAX: usize = 32;

/// Services requests by epoll and the blocking pool.
pub(crate) struct Fallback {
    watch: Watch,
    errands: Errands,
    /// Requests that wait for an event, by the index of their slot. Bound: as many as there ever were ops in flight at
    /// once.
    places: Vec<Option<Waiting>>,
    /// How many these are.
    waiting: usize,
    /// Bound: one for each op in flight, and [`REPLIES_MAX`] for each of many replies.
    answered: Vec<Event>,
    counters: Counters,
    /// In a forked child nothing may reach the epoll, which is the parent's.
    origin: Origin,
}

/// A request that waits for an event.
struct Waiting {
    lent: Lent,
    /// The descriptor's.
    number: usize,
    interest: Interest,
    replies: Replies,
    /// Bytes of a transfer that wants all of them, and has begun.
    moved: usize,
}

/// What becomes of a request at its start.
enum Start {
    Answer(Answered),
    Wait { number: usize, interest: Interest, replies: Replies, moved: usize },
    Pool,
}

impl Fallback {
    /// # Errors
    ///
    /// epoll_create1(2)'s and epoll_ctl(2)'s: out of descriptors or memory.
    pub fn new(inbox: Arc<Inbox>, pool: Arc<Pool>) -> io::Result<Fallback> {
        Ok(Fallback {
            watch: Watch::new(inbox.eventfd())?,
            errands: Errands::new(inbox, pool),
            places: Vec::new(),
            waiting: 0,
            answered: Vec::new(),
            counters: Counters::default(),
            origin: Origin::here(),
        })
    }

    /// Services the request now if that takes no waiting, and otherwise sees to it that it will be.
    pub fn start(&mut self, mut lent: Lent) {
        if self.origin.is_left() {
            // The op leaks, as a copy of the parent's would.
            return drop(lent);
        }
        self.counters.submitted += 1;
        let slot = lent.key().index();
        match lent.with(|request| begin(request, &mut self.watch, slot)) {
            Start::Answer(answered) => self.answer(lent, answered),
            Start::Pool => self.errands.send(lent),
            Start::Wait { number, interest, replies, moved } => {
                self.waiting += 1;
                if slot >= self.places.len() {
                    self.places.resize_with(slot + 1, || None);
                }
                self.places[slot] = Some(Waiting { lent, number, interest, replies, moved });
            }
        }
    }

    /// A request that waits, for an event or for a thread, is answered at the next [`wait`](Fallback::wait): with what
    /// it has moved, or ECANCELED. One that runs on a thread goes on, and its own answer comes.
    pub fn cancel(&mut self, key: Key) {
        let slot = key.index();
        let (lent, moved) = match self.places.get(slot) {
            Some(Some(waiting)) if waiting.lent.key() == key => {
                let number = waiting.number;
                let (mut lent, moved) = self.leave(slot);
                lent.with(|request| self.watch.forget(request, number, slot));
                (lent, moved)
            }
            _ => match self.errands.recall(key) {
                Some(lent) => (lent, 0),
                // It was answered already, or a thread has it.
                None => return,
            },
        };
        self.answer(lent, with_moved(moved, Err(Errno::CANCELED)));
    }

    /// Hands over what was answered; waits for more only if there is nothing, and it may.
    ///
    /// Bound: [`watch::EVENTS_MAX`] descriptors a turn. epoll hands the others over first the next time.
    pub fn wait(&mut self, park: Park, mut events: impl FnMut(Event)) -> io::Result<()> {
        if self.origin.is_left() {
            return Err(io::Error::other(IN_A_CHILD));
        }
        self.collect();
        let park = if self.answered.is_empty() { park } else { Park::No };
        let needless = self.waiting == 0 && matches!(park, Park::No);
        if !needless {
            self.counters.enters += 1;
            let ready = self.watch.wait(park)?;
            for index in 0..ready {
                if let Some((number, came)) = self.watch.event(index) {
                    self.ready(number, came);
                }
            }
            self.collect();
        }
        self.counters.completed += u64::try_from(self.answered.len()).expect("64 bits at most");
        self.answered.drain(..).for_each(&mut events);
        Ok(())
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A descriptor has news: those who wait for them try again, in the order in which they came.
    fn ready(&mut self, number: usize, came: Interest) {
        let mut slots = self.watch.take_waiting(number);
        slots.retain(|&slot| self.still_waits(slot, came));
        self.watch.put_waiting(number, slots);
    }

    fn still_waits(&mut self, slot: usize, came: Interest) -> bool {
        let Some(Some(waiting)) = self.places.get_mut(slot) else {
            unreachable!("a request is forgotten by the watch before its place is empty")
        };
        if !came.intersects(waiting.interest) {
            return true;
        }
        let key = waiting.lent.key();
        for _reply in 0..REPLIES_MAX {
            let attempted = waiting.lent.with(|request| match request.told(came) {
                Some(reply) => Attempt::Done(Ok(reply)),
                None => request.attempt(),
            });
            match attempted {
                Attempt::NotYet => return true,
                Attempt::Moved(count) => waiting.moved += count,
                Attempt::MayBlock => {
                    let (lent, _nothing_moved) = self.leave(slot);
                    self.errands.send(lent);
                    return false;
                }
                Attempt::Done(Ok(reply)) if waiting.replies != Replies::One => {
                    self.answered.push(Event::More(key, Came::Driver(Ok(reply))));
                    if waiting.replies == Replies::OneAnEdge {
                        return true;
                    }
                }
                Attempt::Done(answered) => {
                    let (lent, moved) = self.leave(slot);
                    self.answer(lent, with_moved(moved, answered));
                    return false;
                }
            }
        }
        // There may be more, of which no edge will tell.
        let asked = waiting.lent.with(|request| self.watch.ask_again(request));
        if let Err(error) = asked {
            let (lent, moved) = self.leave(slot);
            self.answer(lent, with_moved(moved, Err(error)));
            return false;
        }
        true
    }

    /// Takes a request out that is to wait no longer, and how much it has moved.
    fn leave(&mut self, slot: usize) -> (Lent, usize) {
        let waiting = self.places[slot].take().expect("who leaves has waited");
        self.waiting -= 1;
        (waiting.lent, waiting.moved)
    }

    /// Takes back what the pool is done with.
    fn collect(&mut self) {
        let Fallback { errands, answered, .. } = self;
        errands.collect(|key, answer| answered.push(Event::Last(key, answer)));
    }

    fn answer(&mut self, lent: Lent, answered: Answered) {
        self.answered.push(Event::Last(lent.key(), lent.answer(answered)));
    }
}

/// Does what can be done now, and watches the descriptor otherwise. To watch comes last: then whatever happens in
/// between is reported.
fn begin(request: &mut Request<'_>, watch: &mut Watch, slot: usize) -> Start {
    let (fd, interest) = match request.way() {
        Way::Inline => return Start::Answer(request.call()),
        Way::Pool => return Start::Pool,
        Way::Ready(fd, interest) => (fd, interest),
    };
    let mut moved = 0;
    // Who comes later does not overtake who waits: the bytes of a stream have an order.
    if !request.expects_to_wait() && !watch.has_waiting(fd.number(), interest) {
        match request.attempt() {
            Attempt::Done(answered) => return Start::Answer(answered),
            Attempt::MayBlock => return Start::Pool,
            Attempt::Moved(count) => moved = count,
            Attempt::NotYet => {}
        }
    }
    match fd.os().and_then(|fd| watch.ask(fd, slot, interest)) {
        Ok(number) => Start::Wait { number, interest, replies: request.replies(), moved },
        // What never waits for others: a regular file, a directory.
        Err(Errno::PERM) => Start::Pool,
        Err(error) => Start::Answer(with_moved(moved, Err(error))),
    }
}

/// Counts what went before. An error after that is told by whatever comes next, as recv(2) and send(2) do it.
fn with_moved(moved: usize, answered: Answered) -> Answered {
    match answered {
        Ok(Reply::Count(count)) => Ok(Reply::Count(moved + count)),
        Err(_) if moved > 0 => Ok(Reply::Count(moved)),
        answered => answered,
    }
}

//! The life of an op in flight.
//!
//! ```text
//!             poll                    reply                  take
//!  start ─► Waiting ───────────────► Done ─────────────────► (gone)
//!              │ drop                  │ drop
//!              ▼                       ▼
//!           Orphaned ── reply ──► abandon ───────────────► (gone)
//!
//!  a stream: Streaming ── reply with more ──► one item queued      ── last reply ──► Streaming with an end ──► (gone)
//!                                     └ an edge: joined with those that nobody has taken
//! ```
//!
//! A slot is freed by the last reply only, whatever the future does: until then the kernel may write into the op. Keys
//! carry a generation, so a reply that comes twice finds nobody.
//!
//! Nothing foreign runs in here: what is to be woken, abandoned or finished is handed out.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::task::Waker;

use super::held::{Answer, Came, Held, Proof};
use crate::op::ready::SEVERAL;
use crate::op::{OnDrop, Replies, Reply};
use crate::task::{Notify, TaskId};

/// Names a slot, and its use: replies to an earlier use find nobody.
///
/// The generation above, the index below.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Key {
    #[inline]
    fn new(index: u32, generation: u32) -> Key {
        Key(u64::from(generation) << 32 | u64::from(index))
    }

    /// Where its slot is: no two ops in flight of one core have the same.
    #[inline]
    pub fn index(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }

    #[inline]
    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// As `user_data`. Never below 2^32: those are the ring's own names.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// From `user_data`.
    #[inline]
    pub fn from_bits(bits: u64) -> Key {
        Key(bits)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

/// A reply, as a driver hands it over.
#[derive(Debug)]
pub(crate) enum Event {
    /// The last one.
    Last(Key, Answer),
    /// One of many.
    More(Key, Came),
}

/// What a reply asks for, once the core's state is free again.
#[must_use]
pub(crate) enum Consequence {
    /// Wake a task of this core: by far the most common.
    WakeTask(TaskId),
    /// Wake who waits.
    Wake(Notify),
    /// Nobody waits: the op deals with it.
    Abandon(Held, Proof),
    /// Nobody waits for this item: only what it brought is dropped.
    Drop(io::Result<Reply>),
    /// So much came that nobody has taken: ask the driver to stop.
    Stop(Key),
    /// Nothing.
    Nothing,
}

/// What became of an op whose future was dropped.
#[must_use]
pub(crate) enum Orphan {
    /// The driver has it: ask it to stop.
    Cancel,
    /// The driver has it, and shall finish it.
    Finish,
    /// The last reply was there already: the op deals with it. Items that nobody took are dropped.
    Answered(Held, Proof, VecDeque<io::Result<Reply>>),
    /// There is no such op (any more).
    Gone,
}

/// What a stream has for its reader.
pub(crate) enum Next {
    /// An item.
    Item(io::Result<Reply>),
    /// The end.
    Last(Held, Proof),
    /// Nothing yet.
    Nothing,
}

struct Slot {
    /// Of the op that is in it; 0, which no key has, when it is free.
    generation: u32,
    state: State,
    held: Option<Held>,
}

enum State {
    /// Where the next free slot is.
    Free(u32),
    /// For a task of this core: by far the most common.
    Waiting(TaskId),
    /// For anybody else.
    WaitingElse(Waker),
    /// `None` only while it is taken.
    Done(Option<Proof>),
    Orphaned,
    Streaming(Box<Stream>),
}

/// Items that came and were not taken yet.
///
/// Bound: [`ITEMS_MAX`], and what the kernel sends before it hears that it shall stop.
struct Stream {
    items: VecDeque<io::Result<Reply>>,
    /// Its replies are masks, of which only the union matters, and is kept here.
    joins: bool,
    edges: usize,
    /// How many replies came since somebody looked.
    untaken: usize,
    is_stopped: bool,
    last: Option<Proof>,
    reader: Option<Notify>,
}

/// So many items that nobody has taken stop their op: what comes must not grow without bound.
const ITEMS_MAX: usize = 64;

/// So many edges that nobody has taken stop their op: what nobody wants to know must cost nothing in the long run.
const EDGES_MAX: usize = 16;

impl Stream {
    #[inline]
    fn put(&mut self, item: io::Result<Reply>) {
        self.untaken += 1;
        match item {
            Ok(Reply::Count(came)) if self.joins => {
                self.edges |= came | if self.edges == 0 { 0 } else { SEVERAL };
            }
            item => self.items.push_back(item),
        }
    }

    /// Whether too much is there that nobody has taken. Says so once.
    #[inline]
    fn must_stop(&mut self) -> bool {
        let max = if self.joins { EDGES_MAX } else { ITEMS_MAX };
        self.untaken > max && !std::mem::replace(&mut self.is_stopped, true)
    }

    #[inline]
    fn take(&mut self) -> Option<io::Result<Reply>> {
        if self.edges != 0 {
            self.untaken = 0;
            return Some(Ok(Reply::Count(std::mem::take(&mut self.edges))));
        }
        let item = self.items.pop_front();
        self.untaken = self.items.len();
        item
    }
}

/// The ops in flight of one core. Freed slots are used again, last one first.
pub(crate) struct Slots {
    slots: Vec<Slot>,
    first_free: u32,
    generation: u32,
}

/// The end of the list of free slots.
const NONE: u32 = u32::MAX;

impl Slots {
    pub fn new() -> Slots {
        Slots { slots: Vec::new(), first_free: NONE, generation: 0 }
    }

    /// How many ops have not had their last reply, or had it and nobody took it. Looks at each slot.
    pub fn len(&self) -> usize {
        self.in_use().count()
    }

    /// Takes an op in: somebody waits for its one reply.
    #[inline]
    pub fn insert(&mut self, held: Held, waiter: Notify) -> Key {
        self.insert_as(held, State::waiting(waiter))
    }

    /// Takes an op in that has many replies.
    pub fn insert_stream(&mut self, held: Held, replies: Replies) -> Key {
        let stream = Stream {
            items: VecDeque::new(),
            joins: replies == Replies::OneAnEdge,
            edges: 0,
            untaken: 0,
            is_stopped: false,
            last: None,
            reader: None,
        };
        self.insert_as(held, State::Streaming(Box::new(stream)))
    }

    #[inline]
    fn insert_as(&mut self, held: Held, state: State) -> Key {
        // 0 is left out, so that no key looks like one of the ring's own names.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let generation = self.generation;
        let index = self.first_free;
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                if let State::Free(next) = slot.state {
                    self.first_free = next;
                }
                slot.generation = generation;
                // A free slot holds nothing to drop, which the compiler does not see.
                std::mem::forget(std::mem::replace(&mut slot.state, state));
                slot.held = Some(held);
                Key::new(index, generation)
            }
            None => self.insert_new(Slot { generation, state, held: Some(held) }),
        }
    }

    #[cold]
    fn insert_new(&mut self, slot: Slot) -> Key {
        let index = u32::try_from(self.slots.len()).ok().filter(|&index| index != NONE);
        let key = Key::new(index.expect("2^32 ops in flight on one core"), slot.generation);
        self.slots.push(slot);
        key
    }

    #[inline]
    fn get(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(key.index()).filter(|slot| slot.generation == key.generation())
    }

    /// Frees the slot, which is in use.
    #[inline]
    fn remove(&mut self, key: Key) -> (State, Held) {
        let slot = &mut self.slots[key.index()];
        slot.generation = 0;
        let state = std::mem::replace(&mut slot.state, State::Free(self.first_free));
        self.first_free = key.index() as u32;
        (state, slot.held.take().expect("a slot in use holds an op"))
    }

    /// A reply came. Always inlined, with the common case: with one codegen unit the compiler would call it instead,
    /// for 40 instructions more.
    #[inline(always)]
    pub fn deliver(&mut self, event: Event) -> Consequence {
        match event {
            Event::Last(key, answer) => self.deliver_last(key, answer),
            Event::More(key, came) => self.deliver_item(key, came),
        }
    }

    #[inline(always)]
    fn deliver_last(&mut self, key: Key, answer: Answer) -> Consequence {
        if let Some(Slot { state, held: Some(held), .. }) = self.get(key)
            && let State::Waiting(task) = *state
        {
            // There is nothing in the old state to drop, which the compiler does not see.
            std::mem::forget(std::mem::replace(state, State::Done(Some(held.accept(answer)))));
            return Consequence::WakeTask(task);
        }
        self.deliver_last_otherwise(key, answer)
    }

    #[cold]
    fn deliver_last_otherwise(&mut self, key: Key, answer: Answer) -> Consequence {
        let Some(Slot { state, held: Some(held), .. }) = self.get(key) else {
            debug_assert!(false, "a reply under key {key:?}, which nobody has");
            return Consequence::Nothing;
        };
        let proof = held.accept(answer);
        match state {
            State::Waiting(_) | State::WaitingElse(_) => std::mem::replace(state, State::Done(Some(proof)))
                .into_waiter()
                .map_or(Consequence::Nothing, Consequence::Wake),
            State::Orphaned => Consequence::Abandon(self.remove(key).1, proof),
            State::Streaming(stream) => {
                stream.last = Some(proof);
                stream.reader.take().map_or(Consequence::Nothing, Consequence::Wake)
            }
            State::Done(_) | State::Free(_) => {
                debug_assert!(false, "two last replies under key {key:?}");
                Consequence::Nothing
            }
        }
    }

    fn deliver_item(&mut self, key: Key, came: Came) -> Consequence {
        let Some(Slot { state, held: Some(held), .. }) = self.get(key) else {
            debug_assert!(false, "an item under key {key:?}, which nobody has");
            return Consequence::Nothing;
        };
        let item = came.item(held);
        match state {
            State::Streaming(stream) => {
                stream.put(item);
                match stream.reader.take() {
                    Some(Notify::Task(task)) => Consequence::WakeTask(task),
                    Some(reader) => Consequence::Wake(reader),
                    None if stream.must_stop() => Consequence::Stop(key),
                    None => Consequence::Nothing,
                }
            }
            State::Waiting(_) | State::WaitingElse(_) | State::Done(_) | State::Orphaned | State::Free(_) => {
                Consequence::Drop(item)
            }
        }
    }

    /// The op and its answer, if that came.
    ///
    /// # Panics
    ///
    /// If there is no such op: the runtime that it belonged to has ended.
    #[inline]
    pub fn poll(&mut self, key: Key) -> Option<(Held, Proof)> {
        let first_free = self.first_free;
        let Some(slot) = self.get(key) else { ended() };
        let State::Done(proof) = &mut slot.state else { return None };
        let (Some(proof), Some(held)) = (proof.take(), slot.held.take()) else { unreachable!("it was done") };
        // As `remove`, of which the compiler makes more than there is: nothing is left in the old state to drop.
        std::mem::forget(std::mem::replace(&mut slot.state, State::Free(first_free)));
        slot.generation = 0;
        self.first_free = key.index() as u32;
        Some((held, proof))
    }

    /// Whether it is `waker`'s wake that the reply will bring, or nobody's.
    pub fn will_wake(&mut self, key: Key, waker: &Waker) -> bool {
        match self.get(key).map(|slot| &slot.state) {
            Some(State::Waiting(task)) => Notify::Task(*task).will_wake(waker),
            Some(State::WaitingElse(kept)) => kept.will_wake(waker),
            _ => true,
        }
    }

    /// Remembers who waits for the reply, and hands out who did so before.
    pub fn set_waiter(&mut self, key: Key, waiter: Notify) -> Option<Notify> {
        match self.get(key).map(|slot| &mut slot.state) {
            Some(state @ (State::Waiting(_) | State::WaitingElse(_))) => {
                std::mem::replace(state, State::waiting(waiter)).into_waiter()
            }
            _ => Some(waiter),
        }
    }

    /// What a stream has.
    #[inline]
    pub fn next(&mut self, key: Key) -> Next {
        let Some(slot) = self.get(key) else { panic!("a stream of a runtime that has ended is polled") };
        let State::Streaming(stream) = &mut slot.state else { return Next::Nothing };
        if let Some(item) = stream.take() {
            return Next::Item(item);
        }
        match stream.last.take() {
            Some(proof) => Next::Last(self.remove(key).1, proof),
            None => Next::Nothing,
        }
    }

    /// Remembers who reads a stream, and hands out who did so before.
    #[inline]
    pub fn set_reader(&mut self, key: Key, reader: Notify) -> Option<Notify> {
        match self.get(key).map(|slot| &mut slot.state) {
            Some(State::Streaming(stream)) => stream.reader.replace(reader),
            _ => Some(reader),
        }
    }

    /// The future is dropped. What is handed out may run foreign code when it is dropped.
    pub fn orphan(&mut self, key: Key) -> (Orphan, Option<Notify>) {
        let Some(slot) = self.get(key) else { return (Orphan::Gone, None) };
        if slot.is_answered() {
            return match self.remove(key) {
                (State::Done(Some(proof)), held) => (Orphan::Answered(held, proof, VecDeque::new()), None),
                (State::Streaming(stream), held) => match stream.last {
                    Some(proof) => (Orphan::Answered(held, proof, stream.items), stream.reader),
                    None => unreachable!("it had its last reply"),
                },
                _ => unreachable!("it had its last reply"),
            };
        }
        let orphan = match slot.held.as_ref().map(Held::on_drop) {
            Some(OnDrop::Finish) => Orphan::Finish,
            Some(OnDrop::Cancel) | None => Orphan::Cancel,
        };
        match std::mem::replace(&mut slot.state, State::Orphaned) {
            waiting @ (State::Waiting(_) | State::WaitingElse(_)) => (orphan, waiting.into_waiter()),
            State::Streaming(stream) => {
                // Items that nobody took close what they brought; that is our own code, not a foreign Drop.
                drop(stream.items);
                (orphan, stream.reader)
            }
            State::Orphaned | State::Done(_) | State::Free(_) => (orphan, None),
        }
    }

    /// The keys of all ops, for the end of the runtime.
    pub fn keys(&self) -> Vec<Key> {
        self.in_use().map(|(key, _, _)| key).collect()
    }

    /// Another number than before, if an op was started since.
    pub fn started(&self) -> u32 {
        self.generation
    }

    /// How many ops still wait for their last reply.
    pub fn unanswered(&self) -> usize {
        self.in_use().filter(|(_, slot, _)| !slot.is_answered()).count()
    }

    /// A line for each op, for dumps.
    pub fn describe(&self) -> Vec<String> {
        let line = |(key, slot, held): (Key, &Slot, &Held)| {
            let state = match &slot.state {
                State::Waiting(_) | State::WaitingElse(_) => "waiting",
                State::Done(_) => "done, not read",
                State::Orphaned => "orphaned",
                State::Streaming(_) => "streaming",
                State::Free(_) => "free",
            };
            format!("op {key:?}: {} ({state})", held.name())
        };
        self.in_use().map(line).collect()
    }

    fn in_use(&self) -> impl Iterator<Item = (Key, &Slot, &Held)> {
        self.slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, index)| Some((Key::new(index, slot.generation), slot, slot.held.as_ref()?)))
    }
}

impl State {
    #[inline]
    fn waiting(waiter: Notify) -> State {
        match waiter {
            Notify::Task(task) => State::Waiting(task),
            Notify::Waker(waker) => State::WaitingElse(waker),
        }
    }

    fn into_waiter(self) -> Option<Notify> {
        match self {
            State::Waiting(task) => Some(Notify::Task(task)),
            State::WaitingElse(waker) => Some(Notify::Waker(waker)),
            State::Free(_) | State::Done(_) | State::Orphaned | State::Streaming(_) => None,
        }
    }
}

#[cold]
fn ended() -> ! {
    panic!("an op of a runtime that has ended is polled")
}

impl Slot {
    fn is_answered(&self) -> bool {
        match &self.state {
            State::Done(_) => true,
            State::Streaming(stream) => stream.last.is_some(),
            State::Waiting(_) | State::WaitingElse(_) | State::Orphaned | State::Free(_) => false,
        }
    }
}

//! The timers of one core: a hierarchy of slots, and in each a list of entries.
//!
//! It is a pure data structure. It reads no clock and runs nobody's code: times come in as nanoseconds since the core's
//! epoch, and due entries go out one at a time, so that whoever wakes a task does so without holding the wheel.
//!
//! ```text
//! deadline, by six bits:   … │ level 3  │ level 2 │ level 1 │ level 0 │
//!                            │ 262 us   │ 4.1 us  │ 64 ns   │ 1 ns    │  the width of one slot
//! ```
//!
//! **Where an entry lives** follows from its deadline and from `elapsed`, the time that the wheel has reached: its
//! level is that of the highest group of six bits in which the two differ, its slot is the deadline's own group there.
//! Hence every entry of a lower level is due before every entry of a higher one, the slots of a level are in order, and
//! the first slot of the first level that has any holds the earliest deadline. Two bit scans find it: nothing is
//! searched.
//!
//! **Granularity is one nanosecond.** The kernel's wait overshoots by 10 us only, so a wheel that rounds to a
//! millisecond would be the largest part of a short sleep's lateness. Each slot keeps the least deadline put into it,
//! so [`Wheel::next_expiry`] is exact on every level, and a wait for it does not end early to move entries about. One
//! exception: a cancelled entry leaves its deadline behind as its slot's minimum. A core may wake for it once, finds
//! nothing due, and the split that follows makes the minima exact again.
//!
//! **Splitting.** When the earliest slot comes due and holds several entries, `elapsed` moves to the slot's minimum,
//! and the entries move to lower levels: at most ten moves in the life of an entry, usually two or three, and none for
//! one that is alone in its slot. What comes out is ordered by deadline, and by insertion where deadlines are equal.
//!
//! **Bounds.** 2^32 - 1 entries, beyond which `insert` panics. Entries live in one vector and are linked by index, each
//! in the list of its slot or in that of the free ones. The vector is given back when the wheel is empty; up to
//! [`KEPT_ENTRIES`] it stays, so that a steady state allocates nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// An empty wheel keeps memory for this many entries (about 200 KiB) and gives back what is beyond.
const KEPT_ENTRIES: usize = 4096;

const BITS_PER_LEVEL: u32 = 6;
const SLOTS_PER_LEVEL: u32 = 1 << BITS_PER_LEVEL;
/// As many as it takes for six bits each to cover 64.
const LEVELS: u32 = u64::BITS.div_ceil(BITS_PER_LEVEL);

/// «No entry», in links.
const NIL: u32 = u32::MAX;
/// «In no slot»: where an entry is that never comes due.
const UNLINKED: u32 = u32::MAX;
/// The generation of an entry that is free: no key has it.
const FREE: u64 = u64::MAX;

/// Names one entry, and never another: keys of entries that are gone find nobody, on this wheel and on any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey {
    index: u32,
    generation: u64,
}

/// Timers with a payload each, which comes back when the timer is due.
pub(crate) struct Wheel<P> {
    entries: Vec<Entry<P>>,
    /// The first of the free entries.
    first_free: u32,
    /// How many entries are not free.
    len: usize,
    /// All levels in one piece, lowest first.
    slots: Box<[Slot]>,
    /// One bit a level that has entries.
    levels_in_use: u32,
    /// One bit a slot that has entries, by level.
    slots_in_use: [u64; LEVELS as usize],
    /// No linked entry was due before this, except those that were past when they came; see the header for what hangs
    /// on it.
    elapsed_ns: u64,
    next_generation: u64,
}

struct Entry<P> {
    deadline_ns: u64,
    /// That of the key, or [`FREE`].
    generation: u64,
    /// In the slot's list, or in that of the free entries.
    next: u32,
    previous: u32,
    slot: u32,
    /// `None` if the entry is free.
    payload: Option<P>,
}

#[derive(Clone, Copy)]
struct Slot {
    /// At most the deadline of every entry here. Means nothing while the slot is empty.
    least_ns: u64,
    first: u32,
    last: u32,
}

impl<P> Wheel<P> {
    pub(crate) fn new() -> Self {
        let empty = Slot { least_ns: NEVER, first: NIL, last: NIL };
        Wheel {
            entries: Vec::new(),
            first_free: NIL,
            len: 0,
            slots: vec![empty; (LEVELS * SLOTS_PER_LEVEL) as usize].into_boxed_slice(),
            levels_in_use: 0,
            slots_in_use: [0; LEVELS as usize],
            elapsed_ns: 0,
            next_generation: first_generation(),
        }
    }

    /// How many entries there are, those included that never come due.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an entry that is due once `deadline_ns` is reached: at once if it is past, never if it is [`NEVER`].
    #[inline]
    pub(crate) fn insert(&mut self, deadline_ns: u64, payload: P) -> TimerKey {
        if self.first_free == NIL {
            self.grow();
        }
        let index = self.first_free;
        let generation = self.next_generation;
        self.next_generation += 1;
        self.len += 1;
        // Field by field: to make an entry elsewhere and move it here costs half as much again.
        let entry = &mut self.entries[index as usize];
        self.first_free = entry.next;
        entry.deadline_ns = deadline_ns;
        entry.generation = generation;
        entry.payload = Some(payload);
        if deadline_ns == NEVER {
            entry.slot = UNLINKED;
        } else {
            self.link(index, deadline_ns);
        }
        TimerKey { index, generation }
    }

    /// Takes an entry out before it is due. `None` if it is gone already.
    #[inline]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<P> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        if entry.slot != UNLINKED {
            self.unlink(key.index);
        }
        self.free(key.index)
    }

    /// The payload of an entry that is still there.
    pub(crate) fn payload_mut(&mut self, key: TimerKey) -> Option<&mut P> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        entry.payload.as_mut()
    }

    /// What all timers carried, at the end of the wheel.
    pub(crate) fn into_payloads(self) -> impl Iterator<Item = P> {
        self.entries.into_iter().filter_map(|entry| entry.payload)
    }

    /// When something may be due: never later than the earliest deadline, and earlier only if the timer that was due
    /// then has been cancelled. `None` when nothing ever is.
    ///
    /// After [`pop_expired`](Self::pop_expired) has said `None` for some time, this is later than that time: a core
    /// that waits for it does not spin.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        Some(self.slots[self.first_slot()? as usize].least_ns)
    }

    /// Takes out the earliest entry, if it is due at `now_ns`. Call it until it says `None`.
    ///
    /// Entries come in the order of their deadlines, and of their insertion where those are equal; those that were past
    /// when they were inserted count as due at the time the wheel had reached. Never a nanosecond early. A `now_ns`
    /// that goes back counts as the latest one.
    pub(crate) fn pop_expired(&mut self, now_ns: u64) -> Option<(TimerKey, P)> {
        let now_ns = now_ns.max(self.elapsed_ns);
        loop {
            let Some(slot_number) = self.first_slot() else {
                self.elapsed_ns = now_ns;
                return None;
            };
            let slot = self.slots[slot_number as usize];
            if slot.least_ns > now_ns {
                // Moving on keeps what is inserted next on low levels. It is allowed up to the first slot that has
                // entries.
                if self.slot_start(slot_number) > now_ns {
                    self.elapsed_ns = now_ns;
                }
                return None;
            }
            // The entries of a slot on level 0 are all due at the same nanosecond, or were past when they came.
            if slot_number < SLOTS_PER_LEVEL || slot.first == slot.last {
                if let Some(due) = self.pop_first(slot_number, now_ns) {
                    return Some(due);
                }
            } else {
                self.split(slot_number);
            }
        }
    }

    /// Takes the first entry of a slot. `None` if it is not due: then it is alone, and what was due here was cancelled.
    fn pop_first(&mut self, slot_number: u32, now_ns: u64) -> Option<(TimerKey, P)> {
        let slot = &mut self.slots[slot_number as usize];
        let index = slot.first;
        let Entry { deadline_ns, generation, .. } = self.entries[index as usize];
        if deadline_ns > now_ns {
            slot.least_ns = deadline_ns;
            return None;
        }
        self.unlink(index);
        let payload = self.free(index)?;
        Some((TimerKey { index, generation }, payload))
    }

    /// Moves the entries of the earliest slot to lower levels, by letting `elapsed` reach the slot's minimum.
    fn split(&mut self, slot_number: u32) {
        let slot = self.slots[slot_number as usize];
        debug_assert!(slot.least_ns >= self.elapsed_ns, "a slot above level 0 holds nothing that is past");
        self.elapsed_ns = slot.least_ns;
        self.mark_empty(slot_number);
        let mut index = slot.first;
        while index != NIL {
            let Entry { next, deadline_ns, .. } = self.entries[index as usize];
            self.link(index, deadline_ns);
            index = next;
        }
    }

    /// Puts an entry at the end of the slot where it belongs.
    fn link(&mut self, index: u32, deadline_ns: u64) {
        let (level, slot_number) = place(deadline_ns, self.elapsed_ns);
        let slot = &mut self.slots[slot_number as usize];
        let bit = 1 << (slot_number % SLOTS_PER_LEVEL);
        let in_use = &mut self.slots_in_use[level as usize];
        let previous = if *in_use & bit == 0 {
            *in_use |= bit;
            self.levels_in_use |= 1 << level;
            *slot = Slot { least_ns: deadline_ns, first: index, last: index };
            NIL
        } else {
            let last = slot.last;
            slot.least_ns = slot.least_ns.min(deadline_ns);
            slot.last = index;
            self.entries[last as usize].next = index;
            last
        };
        let entry = &mut self.entries[index as usize];
        entry.next = NIL;
        entry.previous = previous;
        entry.slot = slot_number;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { next, previous, slot: slot_number, .. } = self.entries[index as usize];
        if next == NIL && previous == NIL {
            self.mark_empty(slot_number);
            return;
        }
        match previous {
            NIL => self.slots[slot_number as usize].first = next,
            _ => self.entries[previous as usize].next = next,
        }
        match next {
            NIL => self.slots[slot_number as usize].last = previous,
            _ => self.entries[next as usize].previous = previous,
        }
    }

    fn mark_empty(&mut self, slot_number: u32) {
        let level = slot_number / SLOTS_PER_LEVEL;
        let in_use = &mut self.slots_in_use[level as usize];
        *in_use &= !(1 << (slot_number % SLOTS_PER_LEVEL));
        if *in_use == 0 {
            self.levels_in_use &= !(1 << level);
        }
    }

    /// Adds a free entry, where there is none.
    #[cold]
    fn grow(&mut self) {
        let index = match u32::try_from(self.entries.len()) {
            Ok(index) if index != NIL => index,
            _ => panic!("more than 2^32 - 1 timers on one core"),
        };
        self.entries.push(Entry {
            deadline_ns: NEVER,
            generation: FREE,
            next: NIL,
            previous: NIL,
            slot: UNLINKED,
            payload: None,
        });
        self.first_free = index;
    }

    /// Frees an entry that no slot links.
    fn free(&mut self, index: u32) -> Option<P> {
        let entry = &mut self.entries[index as usize];
        entry.generation = FREE;
        entry.next = self.first_free;
        let payload = entry.payload.take();
        self.first_free = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > KEPT_ENTRIES {
            self.entries = Vec::new();
            self.first_free = NIL;
        }
        payload
    }

    /// The slot of the earliest deadline.
    fn first_slot(&self) -> Option<u32> {
        if self.levels_in_use == 0 {
            return None;
        }
        let level = self.levels_in_use.trailing_zeros();
        Some(level * SLOTS_PER_LEVEL + self.slots_in_use[level as usize].trailing_zeros())
    }

    /// The first nanosecond that belongs to a slot in use.
    fn slot_start(&self, slot_number: u32) -> u64 {
        let shift = slot_number / SLOTS_PER_LEVEL * BITS_PER_LEVEL;
        let above = self.elapsed_ns.checked_shr(shift + BITS_PER_LEVEL).unwrap_or(0);
        ((above << BITS_PER_LEVEL) | u64::from(slot_number % SLOTS_PER_LEVEL)) << shift
    }
}

/// The level of a deadline, and the number of its slot among those of all levels.
fn place(deadline_ns: u64, elapsed_ns: u64) -> (u32, u32) {
    let key_ns = deadline_ns.max(elapsed_ns);
    // The lowest bit is set so that equal times land on level 0; it changes no other level.
    let differing = (key_ns ^ elapsed_ns) | 1;
    let level = differing.ilog2() / BITS_PER_LEVEL;
    let group = (key_ns >> (level * BITS_PER_LEVEL)) % u64::from(SLOTS_PER_LEVEL);
    (level, level * SLOTS_PER_LEVEL + group as u32)
}

/// Generations of different wheels do not meet, so that a key which outlives its runtime finds nobody in the next one.
/// A wheel would have to insert 2^40 entries, and the other exist by then, before one came twice.
fn first_generation() -> u64 {
    static WHEELS_MADE: AtomicU64 = AtomicU64::new(0);
    WHEELS_MADE.fetch_add(1, Ordering::Relaxed) << 40
}

#[cfg(test)]
mod tests;

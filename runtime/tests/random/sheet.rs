//! What each byte of a file may be, now and after a power cut: it is written all over, by one task, one write at a
//! time.
//!
//! A write that was dropped is on its way, or over, or was never begun: its bytes may be there or not. The next write
//! or sync of the same handle waits for it, so after that it is known, unless that tells of an error.

use crate::dice::{byte, count};
use crate::script::SHEET_LEN;

/// The few values that a byte may have.
#[derive(Debug, Clone, Copy, Default)]
struct Values {
    known: [u8; 6],
    len: usize,
    /// More than fit.
    is_any: bool,
}

impl Values {
    fn only(value: u8) -> Values {
        let mut values = Values::default();
        values.add(value);
        values
    }

    fn add(&mut self, value: u8) {
        if self.allow(value) {
            return;
        }
        match self.known.get_mut(self.len) {
            Some(place) => {
                *place = value;
                self.len += 1;
            }
            None => self.is_any = true,
        }
    }

    fn add_all(&mut self, other: Values) {
        other.known[..other.len].iter().for_each(|&value| self.add(value));
        self.is_any |= other.is_any;
    }

    fn allow(&self, value: u8) -> bool {
        self.is_any || self.known[..self.len].contains(&value)
    }

    fn is_empty(&self) -> bool {
        self.len == 0 && !self.is_any
    }
}

/// A file of one task's.
pub struct Sheet {
    now: Vec<Values>,
    /// What a power cut may leave, beside what is pending.
    durable: Vec<Values>,
    /// Written since the last sync.
    pending: Vec<Values>,
    /// Dropped writes that nobody was told of since, in their order.
    undecided: Vec<Dropped>,
    /// A sync was dropped, and none was awaited since. Writes do not wait for it: it may fail behind them, and lose
    /// them.
    has_dropped_sync: bool,
    /// Lost for the disk, perhaps, so that no sync makes it durable.
    is_doubtful: Vec<bool>,
}

/// A write that was dropped.
#[derive(Debug, Clone, Copy)]
struct Dropped {
    name: u64,
    at: usize,
    len: usize,
    /// It was in flight at once.
    is_sure: bool,
}

impl Sheet {
    /// A file of these bytes, and what the disk has of it.
    pub fn new(contents: &[u8], synced: &[u8]) -> Sheet {
        let known = |bytes: &[u8]| -> Vec<Values> { bytes.iter().map(|&value| Values::only(value)).collect() };
        let pending = contents
            .iter()
            .zip(synced)
            .map(|(now, durable)| if now == durable { Values::default() } else { Values::only(*now) });
        Sheet {
            now: known(contents),
            durable: known(synced),
            pending: pending.collect(),
            undecided: Vec::new(),
            has_dropped_sync: false,
            is_doubtful: vec![false; contents.len()],
        }
    }

    /// Whether all that was dropped is decided, so that a write need not wait.
    pub fn is_settled(&self) -> bool {
        self.undecided.is_empty()
    }

    /// Whether a sync that was dropped may fail yet, which the handle tells of and no other.
    pub fn has_dropped_sync(&self) -> bool {
        self.has_dropped_sync
    }

    /// A write began: its bytes may be there from now on.
    pub fn begin(&mut self, name: u64, at: u64, len: usize) {
        for (offset, place) in places(at, len) {
            self.now[place].add(byte(name, offset));
            self.pending[place].add(byte(name, offset));
        }
    }

    /// It returned that so many bytes are written. `before` is what there was when it began.
    pub fn wrote(&mut self, before: &Before, name: u64, at: u64, count: usize) {
        self.now.clone_from(&before.now);
        self.went_well();
        for (offset, place) in places(at, count) {
            self.now[place] = Values::only(byte(name, offset));
            self.is_doubtful[place] = false;
        }
    }

    /// It failed, perhaps with the error of one before. If it is one call it has written nothing.
    pub fn failed(&mut self, before: &Before, is_one_call: bool) {
        if is_one_call {
            self.now.clone_from(&before.now);
        }
        self.went_wrong();
    }

    /// A close or the like told of an error, perhaps that of one before.
    pub fn went_wrong(&mut self) {
        self.undecided.clear();
        if self.has_dropped_sync {
            for (pending, is_doubtful) in self.pending.iter().zip(&mut self.is_doubtful) {
                *is_doubtful |= !pending.is_empty();
            }
        }
    }

    /// It was dropped.
    pub fn dropped(&mut self, name: u64, at: u64, len: usize, is_sure: bool) {
        self.undecided.push(Dropped { name, at: index(at), len, is_sure });
    }

    /// What to go back to when it is known that nothing was written.
    pub fn before(&self) -> Before {
        Before { now: self.now.clone() }
    }

    /// A write, a sync or a close was told of no error, so what was dropped before is whole.
    pub fn went_well(&mut self) {
        for dropped in std::mem::take(&mut self.undecided) {
            for place in 0..dropped.len {
                let value = byte(dropped.name, count(place));
                let values = &mut self.now[dropped.at + place];
                if dropped.is_sure { *values = Values::only(value) } else { values.add(value) }
            }
        }
    }

    /// A sync returned, with what its result was.
    pub fn synced(&mut self, is_ok: bool) {
        if is_ok {
            self.went_well()
        } else {
            self.went_wrong()
        }
        self.has_dropped_sync = false;
        for place in 0..self.now.len() {
            let pending = std::mem::take(&mut self.pending[place]);
            if pending.is_empty() {
                continue;
            }
            if is_ok && !self.is_doubtful[place] {
                self.durable[place] = self.now[place];
            } else {
                // What the disk did not take it never will, since the kernel takes it for written.
                self.durable[place].add_all(self.now[place]);
                self.durable[place].add_all(pending);
                // Not by the next sync either, unless a write goes there before.
                self.is_doubtful[place] = true;
            }
        }
    }

    /// A sync was dropped: it was done, or not, or failed.
    pub fn sync_dropped(&mut self) {
        self.has_dropped_sync = true;
        for place in 0..self.now.len() {
            if !self.pending[place].is_empty() {
                let now = self.now[place];
                self.durable[place].add_all(now);
            }
        }
    }

    /// What of `read`, from `at` on, cannot be there.
    pub fn wrong(&self, at: u64, read: &[u8]) -> Option<String> {
        let wrong = read.iter().zip(index(at)..).find(|(value, place)| {
            let is_allowed = self.now.get(*place).is_some_and(|values| values.allow(**value));
            !is_allowed
        });
        wrong.map(|(value, place)| format!("byte {place} is {value}, it may be {:?}", self.now.get(place)))
    }

    /// What of the file as the disk has it for sure cannot be there, if the power went now.
    pub fn wrong_durable(&self, synced: &[u8]) -> Option<String> {
        if synced.len() != self.durable.len() {
            return Some(format!("{} of {} bytes are left", synced.len(), self.durable.len()));
        }
        let wrong = synced.iter().enumerate().find(|&(place, &value)| {
            !self.durable[place].allow(value) && !self.pending[place].allow(value) && !self.now[place].allow(value)
        });
        wrong.map(|(place, value)| {
            format!("byte {place} is {value}; durable is {:?}, pending {:?}", self.durable[place], self.pending[place])
        })
    }
}

/// What there was before a write.
pub struct Before {
    now: Vec<Values>,
}

fn places(at: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    (0..).zip(index(at)..(index(at) + len).min(SHEET_LEN))
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("small")
}

//! What was written in order, to a stream or to a log, and whether what arrived can be just that.
//!
//! Each write has bytes of its own, so that they are recognised on the other side. How much of it must be there follows
//! from how it ended:
//!
//! | the write | what arrives of it |
//! | --- | --- |
//! | returned `Ok(n)` | the first `n` bytes |
//! | failed | nothing; of a write that is several calls, a part |
//! | dropped, lent, to a stream | nothing; of a write that is several calls, a part |
//! | dropped, given, in flight | all, unless a later call returns the error |
//! | dropped, given, perhaps still in line | all or nothing, unless a later call returns the error |

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::rc::Rc;

use crate::dice::byte;

/// The writes of one direction, in the order of their turns, which is that of their first polls.
#[derive(Default)]
pub struct Outgoing {
    entries: RefCell<Vec<Entry>>,
    /// Writes have a time limit, which may stop one before its future is dropped.
    pub is_limited: Cell<bool>,
    over: Cell<usize>,
}

struct Entry {
    name: u64,
    len: usize,
    kind: Kind,
    /// Nobody was before it when it began, so that it was in flight at once.
    is_sure: bool,
    /// When it is over, so is all that was dropped before it.
    is_proof: bool,
    outcome: Outcome,
    /// How many were over before it: a flush overtakes what waits in line.
    over_at: usize,
}

/// What kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From lent memory, by one call.
    Lent,
    /// From lent memory, by several calls.
    LentParts,
    /// What is in flight goes on when it is dropped.
    Given,
    /// So it does, and it is several calls.
    GivenParts,
    /// So it does, but it may have to wait for a buffer before.
    Copied,
    /// It writes nothing, and waits for what was dropped.
    Flush,
    /// It writes nothing and hears of no error, but takes its turn.
    Seek,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Live,
    Dropped,
    Done(usize),
    /// With an error, perhaps that of one before.
    Failed,
    /// With its time over, perhaps in line.
    Expired,
}

/// How what arrived came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All that was written is there.
    Well,
    /// The end may be missing.
    Broken,
    /// So it may, and writes that failed may have been under way.
    PowerCut,
}

/// A write that has begun. Dropped without an outcome, it was dropped.
pub struct Begun {
    outgoing: Rc<Outgoing>,
    index: usize,
}

impl Outgoing {
    /// To be called at the first poll.
    pub fn begin(self: &Rc<Outgoing>, name: u64, len: usize, kind: Kind) -> Begun {
        let mut entries = self.entries.borrow_mut();
        let is_proof = match kind {
            Kind::Flush => entries.iter().all(|entry| entry.outcome != Outcome::Live),
            Kind::Seek => false,
            _ => true,
        };
        let goes_on = matches!(kind, Kind::Given | Kind::GivenParts) && !self.is_limited.get();
        let is_sure = goes_on && is_free(&entries);
        entries.push(Entry { name, len, kind, is_sure, is_proof, outcome: Outcome::Live, over_at: 0 });
        Begun { outgoing: self.clone(), index: entries.len() - 1 }
    }

    /// Whether `arrived` is what was written.
    ///
    /// # Errors
    ///
    /// What cannot be explained.
    pub fn explain(&self, arrived: &[u8], ending: Ending) -> Result<(), String> {
        let entries = self.entries.borrow();
        let mut positions = BTreeSet::from([0]);
        for (index, entry) in entries.iter().enumerate() {
            let amounts = amounts(&entries, index, ending);
            let mut next = BTreeSet::new();
            for &position in &positions {
                let matching = entry.matching(&arrived[position..]);
                if ending != Ending::Well && position + matching == arrived.len() && matching <= *amounts.end() {
                    return Ok(());
                }
                // Where a part may be there, it is as long as it matches, but for a few bytes that match by chance.
                let nearly = matching.saturating_sub(3).max(*amounts.start());
                if is_whole_or_nothing(&entries, index, ending) {
                    let both = [*amounts.start(), *amounts.end()].into_iter();
                    next.extend(both.filter(|amount| *amount <= matching).map(|amount| position + amount));
                } else {
                    next.extend((nearly..=matching.min(*amounts.end())).map(|amount| position + amount));
                }
            }
            if next.is_empty() {
                return Err(format!(
                    "write {index} ({} bytes, {:?}, {:?}, sure {}) should be there with {amounts:?} bytes, at one of \
                     {positions:?} of {} that arrived",
                    entry.len,
                    entry.kind,
                    entry.outcome,
                    entry.is_sure,
                    arrived.len()
                ));
            }
            positions = next;
        }
        if positions.contains(&arrived.len()) {
            return Ok(());
        }
        Err(format!("{} bytes arrived, the writes explain one of {positions:?}", arrived.len()))
    }
}

/// Whether nobody has the turn or waits for it.
fn is_free(entries: &[Entry]) -> bool {
    let last_dropped = entries.iter().rposition(|entry| entry.outcome == Outcome::Dropped);
    let last_over =
        entries.iter().rposition(|entry| entry.is_proof && matches!(entry.outcome, Outcome::Done(_) | Outcome::Failed));
    last_dropped <= last_over && entries.iter().all(|entry| entry.outcome != Outcome::Live)
}

/// How many bytes of an entry may be there.
fn amounts(entries: &[Entry], index: usize, ending: Ending) -> RangeInclusive<usize> {
    let entry = &entries[index];
    let most = match entry.kind {
        Kind::Lent | Kind::Flush | Kind::Seek => 0,
        Kind::LentParts | Kind::Given | Kind::GivenParts | Kind::Copied => entry.len,
    };
    let has_parts = matches!(entry.kind, Kind::LentParts | Kind::GivenParts);
    match entry.outcome {
        Outcome::Done(count) => count..=count,
        Outcome::Failed | Outcome::Expired if has_parts || ending == Ending::PowerCut => 0..=most,
        Outcome::Failed | Outcome::Expired => 0..=0,
        Outcome::Live | Outcome::Dropped => {
            let is_whole = entry.is_sure && went_well(entries, index) && ending == Ending::Well;
            if is_whole { most..=most } else { 0..=most }
        }
    }
}

/// Whether who was told next what became of the dropped ones, was told of no error.
fn went_well(entries: &[Entry], index: usize) -> bool {
    let is_told = |entry: &&Entry| {
        entry.outcome == Outcome::Failed || entry.is_proof && matches!(entry.outcome, Outcome::Done(_))
    };
    let told = entries[index + 1..].iter().filter(is_told).min_by_key(|entry| entry.over_at);
    told.is_some_and(|told| told.outcome != Outcome::Failed)
}

/// Whether it was dropped, and no error was told since.
fn is_whole_or_nothing(entries: &[Entry], index: usize, ending: Ending) -> bool {
    let Entry { outcome, kind, .. } = entries[index];
    let goes_on = matches!(kind, Kind::Given | Kind::GivenParts | Kind::Copied);
    outcome == Outcome::Dropped && goes_on && went_well(entries, index) && ending == Ending::Well
}

impl Entry {
    fn matching(&self, arrived: &[u8]) -> usize {
        let expected = (0..).take(self.len).map(|offset| byte(self.name, offset));
        arrived.iter().zip(expected).take_while(|(arrived, expected)| **arrived == *expected).count()
    }
}

impl Begun {
    pub fn done(self, count: usize) {
        self.set(Outcome::Done(count));
    }

    pub fn failed(self) {
        self.set(Outcome::Failed);
    }

    pub fn expired(self) {
        self.set(Outcome::Expired);
    }

    fn set(&self, outcome: Outcome) {
        let entry = &mut self.outgoing.entries.borrow_mut()[self.index];
        entry.outcome = outcome;
        entry.over_at = self.outgoing.over.replace(self.outgoing.over.get() + 1);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut entries = self.outgoing.entries.borrow_mut();
        let outcome = &mut entries[self.index].outcome;
        if *outcome == Outcome::Live {
            *outcome = Outcome::Dropped;
        }
    }
}

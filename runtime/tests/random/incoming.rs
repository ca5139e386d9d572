//! What is read in order, from a stream or from a file at its cursor: each byte once, whoever reads it.

use std::cell::Cell;

use crate::dice::{byte, count};
use crate::verdict::Verdict;

/// The bytes of one name, as they are taken.
pub struct Incoming {
    name: u64,
    taken: Cell<u64>,
    /// How many bytes there were when a read told of the end.
    ended_at: Cell<Option<u64>>,
}

impl Incoming {
    pub fn new(name: u64) -> Incoming {
        Incoming { name, taken: Cell::new(0), ended_at: Cell::new(None) }
    }

    /// A read returned `bytes`; none of them say that it is the end. So many were sent.
    pub fn take(&self, bytes: &[u8], sent: u64, verdict: &Verdict) {
        self.show(bytes, sent, verdict);
        verdict.blame_unless(bytes.is_empty() || self.is_open(), || format!("{:#x} goes on after its end", self.name));
        if bytes.is_empty() {
            self.ended_at.set(Some(self.taken.get()));
        }
        self.taken.set(self.taken.get() + count(bytes.len()));
    }

    /// What is next, which stays there.
    pub fn show(&self, bytes: &[u8], sent: u64, verdict: &Verdict) {
        let taken = self.taken.get();
        let wrong = (taken..).zip(bytes).find(|(offset, found)| byte(self.name, *offset) != **found);
        if let Some((offset, _)) = wrong {
            verdict.blame(format!(
                "byte {offset} of {:#x} is not what was sent; {} were read from {taken} on",
                self.name,
                bytes.len()
            ));
        }
        verdict.blame_unless(taken + count(bytes.len()) <= sent, || {
            format!("{} bytes of {:#x} were read, {sent} were sent", taken + count(bytes.len()), self.name)
        });
    }

    /// Whether nobody was told of the end.
    pub fn is_open(&self) -> bool {
        self.ended_at.get().is_none()
    }

    /// Whether the end was told when all was read.
    pub fn is_complete(&self, sent: u64) -> bool {
        self.ended_at.get() == Some(sent)
    }

    pub fn describe(&self) -> String {
        format!("{} were read, the end was told at {:?}", self.taken.get(), self.ended_at.get())
    }
}

//! What a log must hold, told from outside: what was there before, and of what was appended since a first part that
//! reaches at least as far as the acknowledgements.

use std::fmt;

/// What one log was told, and what it answered.
#[derive(Debug, Default)]
pub struct Model {
    /// What the last opening found: it may never go away, nor change.
    known: Vec<Record>,
    /// What was appended since, in order.
    appended: Vec<Record>,
    /// How many of those were acknowledged.
    acknowledged: usize,
    /// Over all lives.
    acknowledged_in_all: u64,
}

/// A record that says briefly what it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Record(pub Vec<u8>);

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = String::from_utf8_lossy(&self.0[..self.0.len().min(24)]);
        write!(f, "{start:?} ({} bytes)", self.0.len())
    }
}

impl Model {
    /// A record is about to be appended.
    pub fn append(&mut self, bytes: Vec<u8>) {
        self.appended.push(Record(bytes));
    }

    /// The record `number` is said to be durable, and with it all before it.
    pub fn acknowledge(&mut self, number: u64) {
        let number = usize::try_from(number).expect("few records");
        let of_these = number.checked_sub(self.known.len()).expect("a number that is new");
        assert!((1..=self.appended.len()).contains(&of_these), "record {number} was acknowledged, and never appended");
        self.acknowledged = self.acknowledged.max(of_these);
    }

    /// The log was opened anew, and holds `found`. Returns how many records it holds that nobody had acknowledged.
    #[track_caller]
    pub fn check(&mut self, found: Vec<Record>) -> usize {
        let Model { known, appended, acknowledged, .. } = self;
        let must: Vec<&Record> = known.iter().chain(&appended[..*acknowledged]).collect();
        let may: Vec<&Record> = known.iter().chain(&*appended).collect();
        for (index, must) in must.iter().enumerate() {
            let number = index + 1;
            let found = found.get(index);
            assert!(found == Some(must), "record {number} was acknowledged as {must:?}, and now is {found:?}");
        }
        for (index, found) in found.iter().enumerate().skip(must.len()) {
            let number = index + 1;
            let appended = may.get(index);
            assert!(appended == Some(&found), "record {number} is {found:?}, and there was appended {appended:?}");
        }
        self.acknowledged_in_all += u64::try_from(self.acknowledged).expect("64 bits");
        let unacknowledged = found.len() - must.len();
        self.known = found;
        self.appended.clear();
        self.acknowledged = 0;
        unacknowledged
    }

    /// How many acknowledgements were kept, over all lives.
    pub fn acknowledged_in_all(&self) -> u64 {
        self.acknowledged_in_all
    }
}

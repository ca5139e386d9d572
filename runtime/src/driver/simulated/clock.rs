//! The time of a simulated world: it passes only when the world says so.

use std::time::{Duration, Instant};

/// Time since the world began, in nanoseconds, and when that was. Bound: 584 years, then it stands still.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    elapsed_ns: u64,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { began: Instant::now(), elapsed_ns: 0 }
    }

    /// Nanoseconds since the world began.
    pub fn elapsed_ns(&self) -> u64 {
        self.elapsed_ns
    }

    /// Now, in the currency of timers.
    pub fn now(&self) -> Instant {
        self.began.checked_add(Duration::from_nanos(self.elapsed_ns)).unwrap_or(self.began)
    }

    /// A moment as nanoseconds since the world began; what lay before is 0.
    pub fn at(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.began);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Goes on to `elapsed_ns`. Time never goes back.
    pub fn advance_to(&mut self, elapsed_ns: u64) {
        self.elapsed_ns = self.elapsed_ns.max(elapsed_ns);
    }
}

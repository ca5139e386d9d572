//! What is serviced beside the ring: at once what no op does and never blocks, and on the blocking pool what has an op
//! that this kernel lacks. Whoever asks cannot tell.

use std::sync::Arc;

use rustix::io::Errno;

use crate::blocking::pool::Pool;
use crate::driver::errands::Errands;
use crate::inbox::Inbox;
use crate::inflight::held::Lent;
use crate::inflight::slots::{Event, Key};
use crate::op::{Answered, Way};

/// Requests that the ring never sees, and their answers.
pub(super) struct Beside {
    /// Bound: one for each op in flight.
    answered: Vec<Event>,
    errands: Errands,
}

impl Beside {
    pub fn new(inbox: Arc<Inbox>, pool: Arc<Pool>) -> Beside {
        Beside { answered: Vec::new(), errands: Errands::new(inbox, pool) }
    }

    /// Whether there is nothing to hand over, nor to come.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.answered.is_empty() && self.errands.is_idle()
    }

    /// Does it now.
    #[cold]
    pub fn call(&mut self, mut lent: Lent) {
        let answered = lent.with(|request| request.call());
        self.answer(lent, answered);
    }

    /// Has a thread do it, which is right for what may block for as long as a disk takes and no longer.
    #[cold]
    pub fn send(&mut self, mut lent: Lent) {
        debug_assert!(lent.with(|request| matches!(request.way(), Way::Pool)), "{lent:?} would occupy a thread");
        self.errands.send(lent);
    }

    /// Whether the request is the pool's. Then it is answered ECANCELED, or a thread has it and its own answer comes.
    #[cold]
    pub fn cancel(&mut self, key: Key) -> bool {
        let is_here = self.errands.has(key);
        if let Some(lent) = self.errands.recall(key) {
            self.answer(lent, Err(Errno::CANCELED));
        }
        is_here
    }

    /// Hands over what is answered. Returns how much that was.
    #[cold]
    pub fn hand_over(&mut self, events: &mut impl FnMut(Event)) -> usize {
        self.errands.collect(|key, answer| self.answered.push(Event::Last(key, answer)));
        let came = self.answered.len();
        self.answered.drain(..).for_each(events);
        came
    }

    fn answer(&mut self, lent: Lent, answered: Answered) {
        self.answered.push(Event::Last(lent.key(), lent.answer(answered)));
    }
}

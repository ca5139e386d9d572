//! How a core ends: in steps, so that cores which share a thread can end side by side.

use std::collections::HashSet;
use std::io;
use std::time::Instant;

use super::Core;
use crate::driver::Park;
use crate::inflight::slots::Key;

/// What has been asked to end.
#[derive(Default)]
pub(crate) struct Told(HashSet<Key>);

impl Core {
    /// Asks for the end of all ops in flight, once each. Nobody waits for them any more; ops whose future was leaked or
    /// kept beyond the runtime end here too. Tells how many have not ended.
    pub fn ask_for_the_end(&self, told: &mut Told) -> usize {
        // In each round those that are new: what an op's `abandon` starts must end too.
        let keys = self.flights.borrow().slots.keys();
        for key in keys {
            if told.0.insert(key) {
                self.orphan(key);
                self.cancel(key);
            }
        }
        self.flights.borrow().slots.unanswered()
    }

    /// Waits for replies, until `deadline` at most.
    ///
    /// # Errors
    ///
    /// The driver's: it is unusable then.
    pub fn wait_for_the_end(&self, deadline: Instant) -> io::Result<()> {
        // The pool's threads ring only for who says that it sleeps.
        self.tasks.accept_mail();
        if self.inbox.prepare_to_park() {
            let waited = self.wait(Park::Until(Some(deadline)));
            self.inbox.unparked();
            waited
        } else {
            self.wait(Park::No)
        }
    }

    /// A line for each op that did not end.
    pub fn left(&self) -> Vec<String> {
        self.flights.borrow().slots.describe()
    }
}

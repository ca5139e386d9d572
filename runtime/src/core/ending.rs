//! How a core ends: in steps, so that cores which share a thread can end side by side.

use std::collections::HashSet;
use std::io;
use std::time::Instant;

use super::{Core, Flights};
use crate::driver::{Driver, Park};
use crate::inflight::slots::{Key, Slots};
use crate::task::contain;
use crate::time::wheel::Wheel;

/// What has been asked to end.
#[derive(Default)]
pub(crate) struct Told {
    orphaned: HashSet<Key>,
    cancelled: HashSet<Key>,
    /// How many ops had been started when they were last looked through, and whether it was late then.
    looked: Option<(u32, bool)>,
}

impl Core {
    /// Asks for the end of all ops in flight, once each. Nobody waits for them any more; ops whose future was leaked or
    /// kept beyond the runtime end here too. What is to be [finished](crate::op::OnDrop::Finish) goes on until
    /// `is_late`. Tells how many have not ended.
    pub fn ask_for_the_end(&self, told: &mut Told, is_late: bool) -> usize {
        let started = self.ops.flights.borrow().slots.started();
        // In each round those that are new: what an op's `abandon` starts must end too.
        if told.looked.replace((started, is_late)) != Some((started, is_late)) {
            let keys = self.ops.flights.borrow().slots.keys();
            for key in keys {
                if told.orphaned.insert(key) {
                    // The last that it does, and all of it that may panic.
                    contain("the Drop of a waker", || self.ops.orphan(key));
                }
                if is_late && told.cancelled.insert(key) {
                    self.ops.cancel(key);
                }
            }
        }
        self.ops.flights.borrow().slots.unanswered()
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

    /// Lets go of who waits for a time that does not come any more: futures that were forgotten, or live on.
    pub fn drop_timers(&self) {
        let wheel = std::mem::replace(&mut self.timers.borrow_mut().wheel, Wheel::new());
        for waiter in wheel.into_payloads() {
            contain("the Drop of a waker", || drop(waiter));
        }
    }

    /// Closes the driver, now that nothing is in flight or all that is was given up: futures of ops may live on.
    pub fn close_driver(&self) {
        let ended = Flights { slots: Slots::new(), driver: Driver::Ended };
        let flights = self.ops.flights.replace(ended);
        // Outside of the borrow: it drops descriptors, closures and wakers. Ops that were given up leak.
        drop(flights);
        self.ops.cells.release();
    }

    /// A line for each op that did not end.
    pub fn left(&self) -> Vec<String> {
        self.ops.flights.borrow().slots.describe()
    }
}

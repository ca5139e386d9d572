//! How another thread makes a core give up, with words: when a test takes too long, or when a core beside it is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Core;
use crate::inbox::Inbox;

/// Makes a core panic, with a reason and a dump, from any thread.
#[derive(Clone)]
pub(crate) struct Alarm {
    state: Arc<State>,
    inbox: Arc<Inbox>,
}

struct State {
    rung: AtomicBool,
    reason: Mutex<String>,
}

impl Alarm {
    pub(super) fn new(inbox: Arc<Inbox>) -> Alarm {
        Alarm { state: Arc::new(State { rung: AtomicBool::new(false), reason: Mutex::default() }), inbox }
    }

    /// The first reason stays.
    pub fn ring(&self, reason: &str) {
        let mut known = self.state.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            reason.clone_into(&mut known);
        }
        drop(known);
        // Release: the reason, for the core that sees this.
        self.state.rung.store(true, Ordering::Release);
        self.inbox.notify_only();
    }

    fn reason(&self) -> String {
        self.state.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Core {
    /// What rings this core's alarm.
    pub fn alarm(&self) -> Alarm {
        self.alarm.clone()
    }

    /// If the alarm was rung: says why, and what everybody here waits for, and panics.
    #[inline]
    pub fn answer_alarm(&self) {
        if self.is_alarmed() {
            self.give_up(&self.describe());
        }
    }

    #[inline]
    pub fn is_alarmed(&self) -> bool {
        self.alarm.state.rung.load(Ordering::Acquire)
    }

    /// Panics, with the alarm's reason and a dump.
    #[cold]
    pub fn give_up(&self, dump: &[String]) -> ! {
        panic!("{}. What there is:\n  {}", self.alarm.reason(), dump.join("\n  "));
    }

    /// A line for each thing that is there.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = self.ops.flights.borrow().slots.describe();
        let of = if self.place.addresses.len() == 1 { String::new() } else { format!(" of core {}", self.place.index) };
        lines.push(format!("tasks{of}: {} alive, {} ready", self.tasks.alive(), self.tasks.ready()));
        lines.push(format!("timers{of}: {}", self.timers.borrow().wheel.len()));
        lines
    }
}

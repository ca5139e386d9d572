//! Who waits for something: what op slots, timers and joins store.

use super::{TaskId, cell::id_here};
use std::task::Waker;

/// Whom to tell. Most often a task of this core, for which an id does: nothing is counted, and an id that comes late
/// finds nobody. To be told by [`Tasks::notify`](super::Tasks::notify).
#[derive(Clone, Debug)]
pub(crate) enum Notify {
    /// A task of this core, or its root.
    Task(TaskId),
    /// Anybody else: another core's task, or a combinator with wakers of its own.
    Waker(Waker),
}

impl Notify {
    /// Remembers `waker`. Runs foreign code (a clone) if it is not a waker of the core that runs here.
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Notify {
        match id_here(waker) {
            Some(id) => Notify::Task(id),
            None => Notify::Waker(waker.clone()),
        }
    }

    /// Whether this stands for `waker` already.
    #[inline]
    pub(crate) fn will_wake(&self, waker: &Waker) -> bool {
        match self {
            Notify::Task(id) => id_here(waker) == Some(*id),
            Notify::Waker(kept) => kept.will_wake(waker),
        }
    }
}

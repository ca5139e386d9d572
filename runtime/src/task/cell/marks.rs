//! How a task stands with its core, in one byte: who wakes it, or gives it its turn, looks once.

use super::Local;

/// A set of what is below.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Marks(u8);

impl Marks {
    /// It waits for a wake.
    pub(super) const NONE: Marks = Marks(0);
    /// In the run queue.
    pub(super) const QUEUED: Marks = Marks(1);
    /// In `poll`, or in the future's Drop.
    pub(super) const RUNNING: Marks = Marks(2);
    /// There is no future any more.
    pub(super) const DONE: Marks = Marks(4);
    /// The next turn drops the future instead of polling it.
    pub(super) const ABORTED: Marks = Marks(8);
    /// Only for the root.
    pub(super) const WOKEN: Marks = Marks(16);

    #[inline]
    pub(super) const fn with(self, others: Marks) -> Marks {
        Marks(self.0 | others.0)
    }

    #[inline]
    pub(super) const fn without(self, others: Marks) -> Marks {
        Marks(self.0 & !others.0)
    }

    #[inline]
    pub(super) const fn has_any(self, of: Marks) -> bool {
        self.0 & of.0 != 0
    }
}

impl Local {
    /// The root is in no queue: that it was woken is all.
    #[inline]
    pub(in crate::task) fn set_woken(&self) {
        self.mark(Marks::WOKEN);
    }

    /// Whether the root was woken since the last time.
    #[inline]
    pub(in crate::task) fn take_woken(&self) -> bool {
        let woken = self.is_woken();
        if woken {
            self.own().marks.set(self.own().marks.get().without(Marks::WOKEN));
        }
        woken
    }

    #[inline]
    pub(in crate::task) fn is_woken(&self) -> bool {
        self.own().marks.get().has_any(Marks::WOKEN)
    }

    #[inline]
    pub(in crate::task) fn is_done(&self) -> bool {
        self.own().marks.get().has_any(Marks::DONE)
    }

    pub(super) fn is_running(&self) -> bool {
        self.own().marks.get().has_any(Marks::RUNNING)
    }

    /// Done and emptied, without a handle that relies on the local side's reference, and not queued. Nobody needs the
    /// task any more: its core can forget it, and its cell can go.
    #[inline]
    pub(in crate::task) fn is_over(&self) -> bool {
        self.is_done() && !self.own().handle_alive.get() && !self.own().marks.get().has_any(Marks::QUEUED)
    }

    pub(in crate::task) fn request_abort(&self) {
        self.mark(Marks::ABORTED);
    }

    /// For who ends the task.
    ///
    /// # Panics
    ///
    /// If it is done, or if this is called from within its own poll.
    pub(super) fn start_turn(&self) {
        let busy = self.own().marks.get().has_any(Marks::RUNNING.with(Marks::DONE));
        assert!(!busy, "a task was ended from within itself, or when it was done");
        self.mark(Marks::RUNNING);
    }

    /// There is no future any more. It may still be in the queue.
    #[inline]
    pub(super) fn end_turn(&self) {
        let marks = self.own().marks.get();
        self.own().marks.set(marks.without(Marks::RUNNING).with(Marks::DONE));
    }

    #[inline]
    fn mark(&self, marks: Marks) {
        self.own().marks.set(self.own().marks.get().with(marks));
    }
}

//! How other threads reach a core.
//!
//! ```text
//!  any thread                                        the core
//!  ──────────                                        ────────
//!  set a bit in the task's mail                      drain: take the whole stack, oldest first
//!  it was empty? push the task ──────► stack ──────► for each: read and clear its mail, act on it
//!  fence                                             nothing to do? sleeping = true
//!  sleeping? ring the bell ──────────► eventfd ────► fence, look once more, park
//! ```
//!
//! The queue runs through the task headers themselves, so a wake allocates nothing and the queue needs no limit: a
//! task stands in it at most once, since only who finds its mail empty pushes it.
//!
//! **No wake is lost.** Both sides write first and then look at what the other wrote: the sender pushes and reads
//! `sleeping`, the core sets `sleeping` and reads the stack. The fences between make it impossible that both look too
//! early (KERNEL: «sleeping = 1, re-check, park»). Against a core that is awake a wake costs no syscall.

mod bell;

use self::bell::Bell;
use crate::{
    sync::{Arc, AtomicBool, Ordering, fence},
    task::{Closed, Drained, Shared, Stack},
};
use std::{io, os::fd::BorrowedFd};

/// Where wakes, aborts and joins from other threads arrive. Shared by the core and all its tasks' wakers.
pub(crate) struct Inbox {
    stack: Stack,
    /// The core is parked, or just about to be: the next sender must ring the bell.
    sleeping: AtomicBool,
    /// Somebody who sent no task wants the core to go around once more.
    nudged: AtomicBool,
    bell: Bell,
}

impl Inbox {
    /// # Errors
    ///
    /// eventfd(2)'s: out of descriptors or memory.
    pub(crate) fn new() -> io::Result<Arc<Inbox>> {
        Ok(Arc::new(Inbox {
            stack: Stack::new(),
            sleeping: AtomicBool::new(false),
            nudged: AtomicBool::new(false),
            bell: Bell::new()?,
        }))
    }

    /// Hands a task with fresh mail to its core, and wakes the core if it sleeps. Never blocks or allocates.
    ///
    /// # Errors
    ///
    /// After the end of the core. The core looks once more at every task that it knows after closing its inbox, so only
    /// one that it has never seen is left to whoever sends it.
    #[inline]
    pub(crate) fn push(&self, task: Shared) -> Result<(), Closed> {
        self.stack.push(task)?;
        self.interrupt();
        Ok(())
    }

    /// Makes the core go around its loop at least once after this call, even if it was about to park: for whoever has
    /// left it something elsewhere than in a task's mail.
    pub(crate) fn notify_only(&self) {
        // Release: what was left elsewhere is visible to the core that takes the nudge.
        self.nudged.store(true, Ordering::Release);
        self.interrupt();
    }

    /// The descriptor that becomes readable when a parked core is wanted. Watch it edge-triggered: nobody reads it.
    pub(crate) fn eventfd(&self) -> BorrowedFd<'_> {
        self.bell.eventfd()
    }

    /// Whether there is mail. One relaxed load, for the core's busy loop: what it misses now it sees before parking.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        !self.stack.is_empty()
    }

    /// Whether the core should go around: there is mail, or a nudge. As [`has_mail`](Inbox::has_mail), it may miss what
    /// is just coming.
    pub(crate) fn is_wanted(&self) -> bool {
        self.has_mail() || self.nudged.load(Ordering::Relaxed)
    }

    /// All that has arrived, oldest first. For the core only.
    #[inline]
    pub(crate) fn drain(&self) -> Drained {
        self.stack.drain()
    }

    /// Ends the inbox: later pushes are dropped. Answers what had arrived before. For the core only.
    pub(crate) fn close(&self) -> Drained {
        self.stack.close()
    }

    /// Tells senders that this core is about to sleep, and whether it may. `false`: something has arrived, go around.
    /// After `true`, park with the eventfd watched, and call [`unparked`](Inbox::unparked) whatever ended the park.
    #[must_use]
    pub(crate) fn prepare_to_park(&self) -> bool {
        self.sleeping.store(true, Ordering::Relaxed);
        // Pairs with the fence in `interrupt`: either we see what was sent, or the sender sees that we sleep.
        fence(Ordering::SeqCst);
        if self.stack.is_empty() && !self.nudged.load(Ordering::Relaxed) {
            return true;
        }
        self.unparked();
        false
    }

    /// The core is awake: senders need not ring any more.
    pub(crate) fn unparked(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
        // The core goes around now, which is all that a nudge asks for. Acquire: see `notify_only`.
        if self.nudged.load(Ordering::Relaxed) {
            self.nudged.swap(false, Ordering::Acquire);
        }
    }

    #[inline]
    fn interrupt(&self) {
        // Pairs with the fence in `prepare_to_park`.
        fence(Ordering::SeqCst);
        // The load spares the common case, a core that is awake, a second locked instruction. Only who finds `true`
        // writes: a late `false` must not stand beside the core's next `true`.
        let taken = self.sleeping.load(Ordering::Relaxed)
            && self.sleeping.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if taken {
            self.bell.ring();
        }
    }

    /// Parks as a driver would, for models.
    #[cfg(loom)]
    pub(crate) fn park(&self) {
        self.bell.wait();
    }
}

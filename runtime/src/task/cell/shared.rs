//! [unsafe] A task in the hands of anyone: a counted reference to its header, its mail, and the stack it travels in.
//!
//! Another thread never changes a task. It sets a bit of the task's mail, and whoever finds the mail empty before hands
//! the task to its core, with one reference. The core acts on the bits:
//!
//! ```text
//!  fetch_or(bit) ─► was empty ─► push to the inbox ─► taken by drain: read `next`, then swap(mail, 0) ─► act
//!               ├─► was not   ─► somebody else's push brings our bit along
//!               └─► GONE      ─► the core is no more: a wake has nobody to go to, a handle looks after itself
//! ```

use super::{super::table::Tasks, Header, PENDING, block::Block};
use crate::sync::{AtomicPtr, Ordering};
use std::{
    process,
    ptr::{self, NonNull},
};

/// A counted reference to a task. What wakers are made of.
pub(crate) struct Shared {
    header: NonNull<Header>,
}

// SAFETY: through a `Shared` only the header's atomics, its lock and what never changes are reached (all of which other
// threads may use), and on the task's own thread, by way of `Local::find`, the rest. The last reference may be dropped
// anywhere: future and output are gone by then, what is left are the inbox (shared by design) and memory.
unsafe impl Send for Shared {}
// SAFETY: as above; there is nothing that `&Shared` can do and `Shared` cannot.
unsafe impl Sync for Shared {}

/// What other threads want of a task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::task) struct Mail(u8);

impl Mail {
    pub(in crate::task) const NONE: Mail = Mail(0);
    /// Poll it.
    pub(in crate::task) const WAKE: Mail = Mail(1);
    /// Drop its future.
    pub(in crate::task) const ABORT: Mail = Mail(2);
    /// Its join handle is gone.
    pub(in crate::task) const HANDLE_DROPPED: Mail = Mail(4);
    /// Somebody waits in `foreign_joiner`.
    pub(in crate::task) const JOIN: Mail = Mail(8);
    /// Set by the core, for ever: it reads no more mail.
    pub(in crate::task) const GONE: Mail = Mail(16);
    /// The core sees this task for the first time: it is a [`Parcel`](super::Parcel).
    pub(in crate::task) const SPAWN: Mail = Mail(32);

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn from_bits(bits: u8) -> Mail {
        Mail(bits)
    }

    pub(in crate::task) const fn contains(self, wanted: Mail) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// Whether a core will see the mail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub(super) enum Posted {
    ToItsCore,
    /// The core is no more, and will never touch this task again. What it did to it is visible from now on.
    CoreIsGone,
}

impl Shared {
    /// # Safety
    ///
    /// One of the header's references becomes this one's, or (in a `ManuallyDrop`) is held by somebody else for as
    /// long.
    #[inline]
    pub(super) unsafe fn from_raw(header: NonNull<Header>) -> Shared {
        Shared { header }
    }

    #[inline]
    pub(super) fn as_ptr(&self) -> NonNull<Header> {
        self.header
    }

    #[inline]
    pub(super) fn header(&self) -> &Header {
        // SAFETY: `as_ref` wants a live, initialised header to which only shared references exist. Our reference keeps
        // it; headers are only changed through cells.
        unsafe { self.header.as_ref() }
    }

    /// Leaves mail for the task's core. `&self` keeps the header, and with it the inbox, alive until the bell has rung,
    /// however quickly the core drops what it gets.
    #[inline]
    pub(super) fn post(&self, mail: Mail) -> Posted {
        // Release: what the sender did before is visible to the core that takes this bit, also if it comes along with
        // somebody else's push. Acquire: what the core did before it said «gone».
        let before = Mail(self.header().mail.fetch_or(mail.0, Ordering::AcqRel));
        if before.contains(Mail::GONE) {
            return Posted::CoreIsGone;
        }
        if before == Mail::NONE {
            // Closed: its core looks at this task once more, and finds the bit.
            let (Ok(()) | Err(Closed)) = self.header().inbox.push(self.clone());
        }
        Posted::ToItsCore
    }

    /// Wakes the task, from any thread.
    #[inline]
    pub(super) fn wake(&self) {
        let header = self.header();
        if let Some(tasks) = Tasks::current_is(header.core) {
            tasks.wake(self);
        } else if header.outcome.load(Ordering::Relaxed) == PENDING {
            // A core that is gone needs no wake.
            let (Posted::ToItsCore | Posted::CoreIsGone) = self.post(Mail::WAKE);
        }
    }

    /// The mail so far, leaving none. For the core, which has just got the task from its inbox.
    #[inline]
    pub(in crate::task) fn take_mail(&self) -> Mail {
        // Acquire: see `post`. Release costs nothing here, and keeps the chain of releases that a later `retire` reads.
        Mail(self.header().mail.swap(0, Ordering::AcqRel))
    }
}

impl Clone for Shared {
    #[inline]
    fn clone(&self) -> Shared {
        // Relaxed: who clones has a reference, so nothing is about to be freed.
        if self.header().references.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
            // Only by leaking wakers on purpose; as in std's Arc, an overflow would free what is in use.
            process::abort();
        }
        Shared { header: self.header }
    }
}

impl Drop for Shared {
    #[inline]
    fn drop(&mut self) {
        // Release: whatever was done through this reference comes before the block is freed.
        if self.header().references.fetch_sub(1, Ordering::Release) == 1 {
            // Acquire: … and the free comes after it. A load, not a fence, since ThreadSanitizer understands loads.
            self.header().references.load(Ordering::Acquire);
            // SAFETY: `from_raw` wants a block that nobody uses any more: this was the last reference.
            drop(unsafe { Block::from_raw(self.header) });
        }
    }
}

/// A stack of tasks that runs through their headers: any thread pushes, the core takes all at once (so no task can come
/// back under a pusher's nose: no ABA). Bounded by the number of tasks, since a task is in it at most once.
pub(crate) struct Stack {
    /// The newest task; null: none; [`CLOSED`].
    newest: AtomicPtr<Header>,
}

/// No header has this address: they are aligned.
const CLOSED: *mut Header = ptr::without_provenance_mut(1);

impl Stack {
    pub(crate) fn new() -> Stack {
        Stack { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// # Errors
    ///
    /// If the stack is closed; the reference is dropped.
    #[inline]
    pub(crate) fn push(&self, task: Shared) -> Result<(), Closed> {
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            if newest == CLOSED {
                return Err(Closed);
            }
            task.header().next.store(newest, Ordering::Relaxed);
            // Release: `next`, for the core.
            match self.newest.compare_exchange_weak(newest, task.header.as_ptr(), Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => {
                    // The stack has the reference now.
                    std::mem::forget(task);
                    return Ok(());
                }
                Err(changed) => newest = changed,
            }
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::Relaxed).is_null()
    }

    /// Takes all. Once closed, there is nothing.
    #[inline]
    pub(crate) fn drain(&self) -> Drained {
        // Only the core closes, and only the core drains, so this cannot reopen.
        if self.newest.load(Ordering::Relaxed) == CLOSED {
            return Drained { oldest: ptr::null_mut() };
        }
        // Acquire: `next`s of all that were pushed.
        Drained::oldest_first(self.newest.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Takes all, and lets nothing in any more.
    pub(crate) fn close(&self) -> Drained {
        let newest = self.newest.swap(CLOSED, Ordering::Acquire);
        Drained::oldest_first(if newest == CLOSED { ptr::null_mut() } else { newest })
    }
}

/// The stack is closed.
#[derive(Debug)]
pub(crate) struct Closed;

/// What was on a stack, oldest first.
pub(crate) struct Drained {
    oldest: *mut Header,
}

impl Drained {
    fn oldest_first(mut newest: *mut Header) -> Drained {
        let mut oldest = ptr::null_mut();
        while let Some(header) = NonNull::new(newest) {
            // SAFETY: `as_ref` wants a live header: the stack had one reference to each, and they are ours now. Nobody
            // else writes `next` before the mail is taken.
            let next = unsafe { &header.as_ref().next };
            newest = next.load(Ordering::Relaxed);
            next.store(oldest, Ordering::Relaxed);
            oldest = header.as_ptr();
        }
        Drained { oldest }
    }
}

impl Iterator for Drained {
    type Item = Shared;

    #[inline]
    fn next(&mut self) -> Option<Shared> {
        // SAFETY: `from_raw` wants a reference to become this one's: the one that `push` gave to the stack.
        let task = unsafe { Shared::from_raw(NonNull::new(self.oldest)?) };
        // Before the caller takes the mail: from then on the task may be pushed again, which overwrites `next`.
        self.oldest = task.header().next.load(Ordering::Relaxed);
        Some(task)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

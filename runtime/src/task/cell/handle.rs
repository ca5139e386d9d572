//! [unsafe] The join handle's end of a task cell.
//!
//! On the core's own thread it speaks with the core directly; anywhere else, by mail. Once the core is gone the handle
//! is alone with the cell, and cleans up itself.

use super::{
    FORGOTTEN, Header, Local, OUTPUT, PENDING, TAKEN,
    shared::{Mail, Posted, Shared},
};
use crate::{
    sync::Ordering,
    task::{JoinError, contain, table::Tasks},
};
use std::{
    marker::PhantomData,
    mem::{ManuallyDrop, MaybeUninit},
    ptr::NonNull,
    rc::Rc,
    task::{Poll, Waker},
};

/// The one handle of a task whose output is a `T`.
pub(in crate::task) struct Handle<T> {
    /// Borrows the local side's reference, which is kept while the handle lives. Not dropped with the handle.
    task: ManuallyDrop<Shared>,
    _hands_out: PhantomData<fn() -> T>,
    /// `Send` and `Sync` only as said below.
    _stays: PhantomData<*mut ()>,
}

// SAFETY: all that a handle reaches beyond what a `Shared` does is the output, a `T`, which it takes or drops on the
// thread where it is: so `T` must be one that may be sent there. (A panic's payload is `Send` by its type.)
unsafe impl<T: Send> Send for Handle<T> {}
// SAFETY: `&Handle` only looks at atomics and leaves mail. `T: Send` is not needed, but who shares a handle whose
// output cannot leave its thread has most likely made a mistake.
unsafe impl<T: Send> Sync for Handle<T> {}

impl<T> Handle<T> {
    /// # Safety
    ///
    /// The only handle of a live task whose output is a `T`, with `handle_alive` set while it lives.
    pub(super) unsafe fn new(header: NonNull<Header>) -> Handle<T> {
        // SAFETY: `from_raw` wants the reference to be held by somebody else: the local side, while the handle lives.
        let task = unsafe { Shared::from_raw(header) };
        Handle { task: ManuallyDrop::new(task), _hands_out: PhantomData, _stays: PhantomData }
    }

    /// The output, or later a wake of `waker` (and not of those of earlier calls).
    ///
    /// # Panics
    ///
    /// If the output has been taken before.
    #[inline]
    pub(in crate::task) fn poll(&mut self, waker: &Waker) -> Poll<Result<T, JoinError>> {
        if self.is_finished() {
            return Poll::Ready(self.take_output());
        }
        if let Some((_, task)) = self.on_its_own_core() {
            task.set_joiner(waker);
            return Poll::Pending;
        }
        if !self.leave_waker(waker) || self.task.post(Mail::JOIN) == Posted::ToItsCore {
            return Poll::Pending;
        }
        // The core has ended since we looked. It has left an output, and will wake nobody.
        drop(self.task.header().take_foreign_joiner());
        Poll::Ready(self.take_output())
    }

    #[inline]
    pub(in crate::task) fn is_finished(&self) -> bool {
        // Acquire: the output.
        self.task.header().outcome.load(Ordering::Acquire) != PENDING
    }

    pub(in crate::task) fn abort(&self) {
        if self.is_finished() {
            return;
        }
        match self.on_its_own_core() {
            Some((core, task)) => core.abort(task),
            // A core that is gone has dropped the future.
            None => {
                let (Posted::ToItsCore | Posted::CoreIsGone) = self.task.post(Mail::ABORT);
            }
        }
    }

    #[inline]
    fn on_its_own_core(&self) -> Option<(Rc<Tasks>, Local)> {
        let tasks = Tasks::current_is(self.task.header().core)?;
        let task = tasks.find(&self.task).expect("a task with a handle has its local side");
        Some((tasks, task))
    }

    /// Leaves a waker for the core to find. Whether it must be told: not if this very waker is waiting there already,
    /// as its mail is on the way or has come.
    fn leave_waker(&self, waker: &Waker) -> bool {
        let waiting = &self.task.header().foreign_joiner;
        let lock = || waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if lock().as_ref().is_some_and(|waiting| waiting.will_wake(waker)) {
            return false;
        }
        // Foreign code, so not under the lock: the clone before, the old one's Drop after.
        let newest = waker.clone();
        let old = lock().replace(newest);
        drop(old);
        true
    }

    #[inline]
    fn take_output(&mut self) -> Result<T, JoinError> {
        let header = self.task.header();
        // Relaxed, here and below: the caller has seen that the outcome is the handle's.
        match header.outcome.load(Ordering::Relaxed) {
            OUTPUT => {}
            FORGOTTEN => return Err(JoinError::cancelled()),
            _ => panic!("a JoinHandle was polled again after it had given its output"),
        }
        header.outcome.store(TAKEN, Ordering::Relaxed);
        let mut output = MaybeUninit::<Result<T, JoinError>>::uninit();
        // SAFETY: `take_output` wants a live cell of the vtable's own type, which the handle keeps; the stage, which is
        // the handle's by now, with the output in it; and room for that, whose type is `T`. It leaves it initialised.
        unsafe {
            (header.vtable.take_output)(self.task.as_ptr(), NonNull::from_mut(&mut output).cast());
            output.assume_init()
        }
    }
}

impl<T> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some((core, task)) = self.on_its_own_core() {
            core.handle_dropped(task);
            return;
        }
        // A reference of our own: once the mail is out the core may let the task go, while we still ring its bell.
        let task = Shared::clone(&self.task);
        if task.post(Mail::HANDLE_DROPPED) == Posted::ToItsCore {
            return;
        }
        contain("the Drop of a waker", || drop(task.header().take_foreign_joiner()));
        if task.header().outcome.load(Ordering::Relaxed) == OUTPUT {
            // SAFETY: `drop_output` wants a live cell of the vtable's own type, which `task` keeps, and the stage,
            // which is ours: the core has left it for ever, and it knew that this handle lives.
            unsafe { (task.header().vtable.drop_output)(task.as_ptr()) };
        }
        // SAFETY: `from_raw` wants a reference to become its own: the local side's, which a core that ends leaves to
        // the handle.
        drop(unsafe { Shared::from_raw(task.as_ptr()) });
    }
}

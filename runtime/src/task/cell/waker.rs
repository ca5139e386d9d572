//! [unsafe] A task's waker: a reference to its cell, as std wants to see it.

use super::{Header, Local, shared::Shared};
use crate::task::{TaskId, table::Tasks};
use std::{
    mem::{self, ManuallyDrop},
    ptr::{self, NonNull},
    task::{RawWaker, RawWakerVTable, Waker},
};

/// A static, not a constant: its address tells our wakers from others.
static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

/// The waker of a task, on the local side's reference: to be lent, not dropped, while the `Local` lives.
#[inline]
pub(super) fn of(task: &Local) -> Waker {
    // SAFETY: `from_raw` wants the vtable to keep RawWaker's contract: its functions may be called from any thread at
    // any time, as `Shared` may. Each waker stands for one reference of the task that its data points to; this one is
    // only lent, as said above.
    unsafe { Waker::from_raw(RawWaker::new(task.header.as_ptr().cast_const().cast(), &VTABLE)) }
}

/// The task that this waker wakes, if it is one of the core that runs here and now. It may be over already: its id
/// finds nobody then.
#[inline]
pub(in crate::task) fn id_here(waker: &Waker) -> Option<TaskId> {
    if !ptr::eq(waker.vtable(), &VTABLE) {
        return None;
    }
    // SAFETY: `lent` wants a waker's data, and the waker to live as long: it has our vtable, and is borrowed.
    let task = unsafe { lent(waker.data()) };
    // A core is current on its own thread alone, so its plain cells are ours to read.
    (task.header().core == Tasks::current_id()).then(|| task.header().own.id.get())
}

/// # Safety
///
/// `data` is that of a waker with our vtable, which lives as long as what comes back is used.
#[inline]
unsafe fn lent(data: *const ()) -> ManuallyDrop<Shared> {
    // SAFETY: `new_unchecked` wants a pointer that is not null: `of` and `clone` made it from one. `from_raw` wants a
    // reference that somebody holds: the waker.
    ManuallyDrop::new(unsafe { Shared::from_raw(NonNull::new_unchecked(data.cast_mut().cast::<Header>())) })
}

/// # Safety
///
/// This and the three below are called by std only, with the data of a waker that has our vtable.
unsafe fn clone(data: *const ()) -> RawWaker {
    // SAFETY: std calls this with the data of a waker that lives.
    let task = unsafe { lent(data) };
    // The new waker's reference.
    mem::forget(Shared::clone(&task));
    RawWaker::new(data, &VTABLE)
}

/// # Safety
///
/// See [`clone`].
unsafe fn wake(data: *const ()) {
    // SAFETY: std gives the waker up, so its reference is ours to drop, also if the wake should panic.
    let task = ManuallyDrop::into_inner(unsafe { lent(data) });
    task.wake();
}

/// # Safety
///
/// See [`clone`].
unsafe fn wake_by_ref(data: *const ()) {
    // SAFETY: std calls this with the data of a waker that lives.
    unsafe { lent(data) }.wake();
}

/// # Safety
///
/// See [`clone`].
unsafe fn drop_waker(data: *const ()) {
    // SAFETY: std gives the waker up, so its reference is ours to drop.
    drop(ManuallyDrop::into_inner(unsafe { lent(data) }));
}

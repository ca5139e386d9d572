//! [unsafe] The run queue: a list through the headers of the tasks that wait for their turn, first come first served.
//!
//! It needs no memory of its own, so a wake allocates nothing, and no limit: a task stands in it at most once, which
//! its mark tells. The mark is set and taken here alone, except that a parcel bears it until its core unpacks it.
//!
//! **Who keeps the cells.** Nobody is counted here: a cell whose task is queued, or runs, is not over, and only what is
//! over is freed by the last [`Local`] or given to the pool.

use super::{Header, Local, Marks, waker};
use std::{
    cell::Cell,
    mem::ManuallyDrop,
    ptr::NonNull,
    task::{Context, Poll},
};

/// Used by the core's own thread only, as the [`Local`]s that come in and out.
pub(in crate::task) struct Queue {
    first: Cell<Option<NonNull<Header>>>,
    /// Means nothing while there is no first.
    last: Cell<NonNull<Header>>,
}

/// What became of the task whose turn it was.
pub(in crate::task) enum Turn {
    /// It goes on, when it is woken.
    Pending,
    /// It is done by this turn. Its output waits for the handle, or is dropped.
    Ended(Local),
    /// It was not polled: it was done before, or is aborted.
    NotPolled(Local),
    /// Nobody is in the queue.
    Nobodys,
}

impl Queue {
    pub(in crate::task) fn new() -> Queue {
        Queue { first: Cell::new(None), last: Cell::new(NonNull::dangling()) }
    }

    #[inline]
    pub(in crate::task) fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    /// Puts a task at the back, unless it is in the queue, or done.
    #[inline(always)]
    pub(in crate::task) fn push(&self, task: &Local) {
        let own = task.own();
        if own.marks.get().has_any(Marks::QUEUED.with(Marks::DONE)) {
            return;
        }
        own.marks.set(own.marks.get().with(Marks::QUEUED));
        own.next_queued.set(None);
        if self.first.get().is_some() {
            // SAFETY: `as_ref` wants a live header: the last one is in the queue, so its cell is kept.
            unsafe { self.last.get().as_ref() }.own.next_queued.set(Some(task.header));
        } else {
            self.first.set(Some(task.header));
        }
        self.last.set(task.header);
    }

    /// The task at the front, which is in the queue no more.
    pub(in crate::task) fn pop(&self) -> Option<Local> {
        let task = self.first()?;
        // From here on it is the caller's who keeps it.
        let task = Local::clone(&task);
        self.first.set(task.own().next_queued.get());
        task.own().marks.set(task.own().marks.get().without(Marks::QUEUED));
        Some(task)
    }

    /// Takes the task at the front, polls its future once, and counts that in `polls`.
    ///
    /// # Panics
    ///
    /// If this is called from within that task's own poll.
    #[inline(always)]
    pub(in crate::task) fn poll_first(&self, polls: &Cell<u64>) -> Turn {
        let Some(task) = self.first() else { return Turn::Nobodys };
        let own = task.own();
        if own.marks.get() != Marks::QUEUED {
            return self.pop().map_or(Turn::Nobodys, |task| {
                assert!(!task.is_running(), "a task was polled from within itself");
                Turn::NotPolled(task)
            });
        }
        self.first.set(own.next_queued.get());
        own.marks.set(Marks::RUNNING);
        polls.set(polls.get() + 1);
        // A waker that is not counted: it is only lent, for as long as the task runs.
        let waker = ManuallyDrop::new(waker::of(&task));
        // SAFETY: a task that runs keeps its cell, the vtable is its own, and before it is done the stage is the
        // core's, on whose thread we are. The marks said that nobody is using it further up on the stack.
        match unsafe { (task.header().vtable.poll)(task.header, &mut Context::from_waker(&waker)) } {
            Poll::Pending => {
                own.marks.set(own.marks.get().without(Marks::RUNNING));
                Turn::Pending
            }
            Poll::Ready(()) => {
                // Before it is done, from when on it must be kept.
                let task = Local::clone(&task);
                task.finish_turn();
                Turn::Ended(task)
            }
        }
    }

    /// How many there are, by looking at each.
    pub(in crate::task) fn len(&self) -> usize {
        // SAFETY: `as_ref` wants a live header: what is in the queue is kept.
        let next = |header: &NonNull<Header>| unsafe { header.as_ref() }.own.next_queued.get();
        std::iter::successors(self.first.get(), next).count()
    }

    /// Not counted: good while the task is in the queue, or runs.
    #[inline(always)]
    fn first(&self) -> Option<ManuallyDrop<Local>> {
        self.first.get().map(|header| ManuallyDrop::new(Local { header }))
    }
}

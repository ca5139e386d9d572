//! [unsafe] The task cell: one block of memory that holds a task from its spawn to its last waker.
//!
//! ```text
//!  Local  ─┐ (the core: table, run queue)     ┌──────────────┐
//!  Handle ─┤ (JoinHandle: any thread)         │ Header       │  same for all tasks; outlives the future
//!  Shared ─┤ (mail on its way)         ─────► ├──────────────┤
//!  Waker  ─┤ (anyone, at any time)            │ Stage        │  Future ──► Output ──► Empty
//!  Parcel ─┘ (its sender, before the core)    └──────────────┘
//! ```
//!
//! **Who may touch what.** `Header::own` belongs to the thread of the task's core: one gets there only through a
//! [`Local`], which cannot leave that thread (and a [`Parcel`], which no core has seen yet). The stage belongs to the
//! core until the outcome says otherwise, and then to the join handle, until that says goodbye (mail, or a call on the
//! core's own thread) and it is the core's again. The rest of the header is atomics and a lock.
//!
//! **Who frees.** `references` counts wakers, mail on its way, and 1 for the local side together: all `Local`s, and
//! the join handle while it lives. Future and output are gone when the local side goes, so the last reference,
//! wherever it is dropped, frees mere memory. On the core's own path nothing is counted atomically: a `Local` is
//! counted in a plain cell, and the local side that finds itself alone gives the block to the pool.

#![allow(unsafe_code)]

mod block;
mod handle;
mod marks;
mod parcel;
mod queue;
mod shared;
mod waker;

use self::marks::Marks;
pub(crate) use self::shared::{Closed, Drained, Shared, Stack};
pub(super) use self::{
    block::Pool,
    handle::Handle,
    parcel::Parcel,
    queue::{Queue, Turn},
    shared::Mail,
    waker::id_here,
};
use super::{JoinError, Notify, TaskId, contain, panic_message};
use crate::{
    inbox::Inbox,
    sync::{Arc, AtomicPtr, AtomicU8, AtomicUsize, Mutex, Ordering, UnsafeCell},
};
use std::{
    alloc::Layout,
    any::Any,
    cell::Cell,
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    ptr::{self, NonNull},
    sync::atomic::AtomicU64,
    task::{Context, Poll, Waker},
};

/// The proof of being on a core's own thread: there is one for each core, it cannot be copied, and neither it nor a
/// reference to it can leave the thread on which it was made.
pub(crate) struct Home {
    id: u64,
    _stays_on_its_thread: PhantomData<*mut ()>,
}

impl Home {
    /// Here, on this thread, the core of `site` lives from now on.
    pub(crate) fn new(site: Site) -> Home {
        Home { id: site.id, _stays_on_its_thread: PhantomData }
    }

    /// Never 0, and never the id of another core, also of one that is gone.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// A core to be: it has a name, and no thread yet. There is one for each core, and it becomes one [`Home`].
pub(crate) struct Site {
    id: u64,
}

impl Site {
    pub(crate) fn new() -> Site {
        // std's atomic, also under loom, which has no statics: it only numbers.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Site { id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// See [`Home::id`].
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// What all tasks have.
pub(super) struct Header {
    /// Only the task's core goes beyond this, by way of a [`Local`].
    own: Own,
    /// See «Who frees» above.
    references: AtomicUsize,
    /// What other threads want of this task. Empty, or the task is on its way to the inbox or in it.
    mail: AtomicU8,
    /// Where the task stands, as its join handle sees it: [`PENDING`] or one of those below it. From `OUTPUT` on it is
    /// the handle's, together with the stage.
    outcome: AtomicU8,
    /// The task's core, by [`Home::id`].
    core: u64,
    vtable: &'static VTable,
    inbox: Arc<Inbox>,
    /// The next older task in the inbox's stack.
    next: AtomicPtr<Header>,
    /// Who waits for the output on another thread. Its mail is `JOIN`.
    foreign_joiner: Mutex<Option<Waker>>,
    /// What to free; the block may be larger than this task needs.
    block: Layout,
    /// The pool's class of the block, if it has one.
    class: Option<usize>,
}

/// The task goes on.
const PENDING: u8 = 0;
/// The stage holds the output.
const OUTPUT: u8 = 1;
/// The output has been taken; the stage is empty.
const TAKEN: u8 = 2;
/// There is no output: the future is still in the stage, leaked.
const FORGOTTEN: u8 = 3;

/// The part of the header that only the core's own thread uses.
struct Own {
    id: Cell<TaskId>,
    /// How many [`Local`]s there are. 0: the local side is gone, only wakers are left.
    locals: Cell<u32>,
    marks: Cell<Marks>,
    handle_alive: Cell<bool>,
    /// A `JOIN` has arrived: on completion look at `foreign_joiner`. Spares the others the lock.
    joined_from_elsewhere: Cell<bool>,
    /// The task of this core that waits for the output, or [`TaskId::NOBODY`]. Nearly all joins are of this kind.
    joiner: Cell<TaskId>,
    /// Who else waits for it on this core: a waker that is not our own.
    other_joiner: Cell<Option<Waker>>,
    /// Who is behind it in the run queue.
    next_queued: Cell<Option<NonNull<Header>>>,
}

/// A task with its future. The header comes first, so that a pointer to one is a pointer to the other.
#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

enum Stage<F: Future> {
    Future(F),
    Output(Result<F::Output, JoinError>),
    Empty,
}

/// What is done to a stage whose type the caller does not know. All want a live cell of the type they were made for,
/// and that the caller be the one to whom the stage belongs now; none of them unwinds.
struct VTable {
    /// Polls the future; when it is ready or has panicked, drops it and leaves the output.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<()>,
    /// Drops the future and leaves a «cancelled».
    cancel: unsafe fn(NonNull<Header>),
    /// Drops the output, which is there.
    drop_output: unsafe fn(NonNull<Header>),
    /// Moves the output, which is there, to uninitialised room for a `Result<F::Output, JoinError>`.
    take_output: unsafe fn(NonNull<Header>, NonNull<()>),
}

/// A task in the hands of its core: a counted pointer without atomics, which cannot leave the thread.
pub(super) struct Local {
    header: NonNull<Header>,
}

impl Local {
    /// Places `future` in a cell of its own.
    pub(super) fn with_handle<F: Future + 'static>(
        pool: &Pool,
        home: &Home,
        inbox: &Arc<Inbox>,
        id: TaskId,
        future: F,
    ) -> (Local, Handle<F::Output>) {
        let task = Local::new(pool, home, inbox, id, future);
        task.own().handle_alive.set(true);
        // SAFETY: `new` wants the only handle of a task whose output has this type, and `handle_alive` set for as long
        // as it lives: nobody else makes one, and only the handle's own goodbye clears it.
        let handle = unsafe { Handle::new(task.header) };
        (task, handle)
    }

    /// The same for a task that nobody joins.
    pub(super) fn new<F: Future + 'static>(
        pool: &Pool,
        home: &Home,
        inbox: &Arc<Inbox>,
        id: TaskId,
        future: F,
    ) -> Local {
        let class = const { block::class_of(Layout::new::<TaskCell<F>>()) };
        let header = pool.allocate(class, Layout::new::<TaskCell<F>>(), vtable::<F>(), home, inbox);
        // SAFETY: `allocate` gives a block that fits a `TaskCell<F>` and is nobody else's.
        unsafe { set_stage(header, future) };
        // The block's one reference is the local side's, and this is its one `Local`.
        let task = Local { header };
        task.own().id.set(id);
        task
    }

    /// The task as its core sees it, unless its local side is gone.
    ///
    /// # Panics
    ///
    /// If it is another core's task.
    #[inline]
    pub(super) fn find(task: &Shared, home: &Home) -> Option<Local> {
        assert_eq!(task.header().core, home.id, "a task came to a core that is not its own");
        // `home` is the proof that this is the thread of that core, so its plain cells are ours to use.
        let own = &task.header().own;
        let locals = own.locals.get();
        (locals > 0).then(|| {
            own.locals.set(locals + 1);
            Local { header: task.as_ptr() }
        })
    }

    /// A waker of its own, counted.
    pub(super) fn waker(&self) -> Waker {
        Waker::clone(&ManuallyDrop::new(waker::of(self)))
    }

    #[inline]
    pub(super) fn id(&self) -> TaskId {
        self.own().id.get()
    }

    /// Drops the future; the output is a «cancelled».
    ///
    /// # Panics
    ///
    /// If the task is done, or if this is called from within its own poll.
    pub(super) fn cancel(&self) {
        self.start_turn();
        // SAFETY: a `Local` keeps the cell alive, the vtable is its own, and before it is done the stage is the core's,
        // on whose thread we are. `start_turn` has seen that nobody is using it further up on the stack.
        unsafe { (self.header().vtable.cancel)(self.header) };
        self.finish_turn();
    }

    /// Leaks the future, and its cell with it: what is pinned may be forgotten, but its memory never used again. The
    /// handle finds a «cancelled».
    ///
    /// # Panics
    ///
    /// As `cancel`.
    pub(super) fn forget(&self) {
        self.start_turn();
        self.end_turn();
        self.header().outcome.store(FORGOTTEN, Ordering::Release);
        mem::forget(self.share());
    }

    #[inline]
    fn finish_turn(&self) {
        self.end_turn();
        // Release: the output is visible to the handle that sees this, on whatever thread it is.
        self.header().outcome.store(OUTPUT, Ordering::Release);
        if !self.own().handle_alive.get() {
            // SAFETY: a `Local` keeps the cell alive; without a handle the stage is the core's.
            unsafe { (self.header().vtable.drop_output)(self.header) };
        }
    }

    /// Remembers who waits for the output on this core: the newest waker wins.
    #[inline]
    pub(super) fn set_joiner(&self, waker: &Waker) {
        let own = self.own();
        let (joiner, other) = match id_here(waker) {
            Some(id) => (id, None),
            None => (TaskId::NOBODY, Some(waker.clone())),
        };
        own.joiner.set(joiner);
        // Foreign code, a Drop, runs when the new one is in its place.
        drop(own.other_joiner.replace(other));
    }

    /// Who waits for the output on this core.
    #[inline]
    pub(super) fn take_joiner(&self) -> Option<Notify> {
        let joiner = self.own().joiner.replace(TaskId::NOBODY);
        if joiner == TaskId::NOBODY {
            self.own().other_joiner.take().map(Notify::Waker)
        } else {
            Some(Notify::Task(joiner))
        }
    }

    /// Somebody waits for the output on another thread.
    pub(super) fn join_from_elsewhere(&self) {
        self.own().joined_from_elsewhere.set(true);
    }

    /// Who waits for the output on another thread, if their mail has come.
    #[inline]
    pub(super) fn take_foreign_joiner(&self) -> Option<Waker> {
        if self.own().joined_from_elsewhere.replace(false) { self.header().take_foreign_joiner() } else { None }
    }

    /// The handle is gone: the output, if there is one, has nobody to go to.
    #[inline]
    pub(super) fn handle_dropped(&self) {
        let had_handle = self.own().handle_alive.replace(false);
        assert!(had_handle, "a join handle was dropped twice");
        if let Some(waker) = self.own().other_joiner.take() {
            contain("the Drop of a waker", || drop(waker));
        }
        if let Some(waker) = self.take_foreign_joiner() {
            contain("the Drop of a waker", || drop(waker));
        }
        // Relaxed: that the handle was the last to write it, and is gone, we know by its goodbye.
        if self.header().outcome.load(Ordering::Relaxed) == OUTPUT {
            // SAFETY: a `Local` keeps the cell alive; the handle has just given the stage back.
            unsafe { (self.header().vtable.drop_output)(self.header) };
        }
    }

    /// Tells all other threads that this task's core is gone, and answers the mail they had left until then. From now
    /// on the handle, if it lives, stands for the local side.
    pub(super) fn retire(&self) -> Mail {
        // Acquire: what came with the mail. Release: the outcome, and the output, for the handle that finds «gone».
        Mail::from_bits(self.header().mail.swap(Mail::GONE.bits(), Ordering::AcqRel))
    }

    /// One more reference to the cell, counted.
    pub(super) fn share(&self) -> Shared {
        // SAFETY: `from_raw` wants a reference; the local side's is borrowed here, and not dropped.
        let borrowed = ManuallyDrop::new(unsafe { Shared::from_raw(self.header) });
        Shared::clone(&borrowed)
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: `as_ref` wants a live, initialised header to which only shared references exist: a `Local` counts
        // as (a part of) the local side's reference, and headers are only changed through cells.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    fn own(&self) -> &Own {
        // A `Local` was made on the core's thread and cannot leave it.
        &self.header().own
    }
}

impl Clone for Local {
    #[inline]
    fn clone(&self) -> Local {
        let locals = &self.own().locals;
        locals.set(locals.get().checked_add(1).expect("2^32 pointers to one task"));
        Local { header: self.header }
    }
}

impl Drop for Local {
    #[inline]
    fn drop(&mut self) {
        let locals = self.own().locals.get() - 1;
        self.own().locals.set(locals);
        // A cell that still holds a future, whose handle lives, or that is queued keeps the local side's reference: at
        // a handle's goodbye after the end it is the handle's to drop, and otherwise memory is leaked rather than freed
        // under somebody.
        if locals == 0 && self.is_over() {
            // SAFETY: `from_raw` wants a reference that is nobody else's: the local side's, which ends here.
            drop(unsafe { Shared::from_raw(self.header) });
        }
    }
}

impl Header {
    fn take_foreign_joiner(&self) -> Option<Waker> {
        self.foreign_joiner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}

/// Puts `future` into a new cell.
///
/// # Safety
///
/// The block behind `header` fits a `TaskCell<F>`, and is the caller's alone; its header is initialised, its stage is
/// not.
unsafe fn set_stage<F: Future>(header: NonNull<Header>, future: F) {
    // SAFETY: `write` through a raw pointer wants a place that is valid and aligned, and drops nothing there.
    unsafe { (&raw mut (*header.cast::<TaskCell<F>>().as_ptr()).stage).write(UnsafeCell::new(Stage::Future(future))) };
}

fn vtable<F: Future + 'static>() -> &'static VTable {
    const { &VTable { poll: poll::<F>, cancel: cancel::<F>, drop_output: drop_output::<F>, take_output: take_output::<F> } }
}

/// # Safety
///
/// See [`VTable`].
unsafe fn poll<F: Future>(header: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
    // SAFETY: the caller has a live cell of this type; all access to it is shared, the stage is in an `UnsafeCell`.
    let cell = unsafe { header.cast::<TaskCell<F>>().as_ref() };
    cell.stage.with_mut(|stage| {
        // SAFETY: the caller is the one to whom the stage belongs, so this is the only reference to it.
        let Stage::Future(future) = (unsafe { &mut *stage }) else { unreachable!("a task that is done was polled") };
        // SAFETY: `new_unchecked` wants the future never to move again: it stays in its cell until `replace_future`
        // drops it there.
        let future = unsafe { Pin::new_unchecked(future) };
        let output = match panic::catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(payload) => {
                tell_of_panic(&*payload);
                Err(JoinError::panicked(payload))
            }
        };
        // SAFETY: the stage is still the caller's, and holds the future.
        unsafe { replace_future(stage, output) };
        Poll::Ready(())
    })
}

/// Whoever has the handle learns of it, too; but the handle may be gone, and the panic hook be silent.
#[cold]
fn tell_of_panic(payload: &(dyn Any + Send)) {
    tracing::error!("a task panicked; its core goes on: {}", panic_message(payload));
}

/// # Safety
///
/// See [`VTable`].
unsafe fn cancel<F: Future>(header: NonNull<Header>) {
    // SAFETY: as in `poll`.
    let cell = unsafe { header.cast::<TaskCell<F>>().as_ref() };
    // SAFETY: the stage is the caller's; tasks that are not done hold a future.
    cell.stage.with_mut(|stage| unsafe { replace_future(stage, Err(JoinError::cancelled())) });
}

/// # Safety
///
/// See [`VTable`].
unsafe fn drop_output<F: Future>(header: NonNull<Header>) {
    // SAFETY: as in `poll`.
    let cell = unsafe { header.cast::<TaskCell<F>>().as_ref() };
    cell.stage.with_mut(|stage| {
        // SAFETY: the stage is the caller's.
        let output = unsafe { mem::replace(&mut *stage, Stage::Empty) };
        if mem::needs_drop::<F::Output>() || matches!(output, Stage::Output(Err(_))) {
            contain("the Drop of a task's output", || drop(output));
        }
    });
}

/// # Safety
///
/// See [`VTable`].
unsafe fn take_output<F: Future>(header: NonNull<Header>, taken: NonNull<()>) {
    // SAFETY: as in `poll`.
    let cell = unsafe { header.cast::<TaskCell<F>>().as_ref() };
    cell.stage.with_mut(|stage| {
        // SAFETY: the stage is the caller's.
        let Stage::Output(output) = (unsafe { mem::replace(&mut *stage, Stage::Empty) }) else {
            unreachable!("a task's output was taken when it was not there")
        };
        // SAFETY: `write` wants a valid place of this type, and drops nothing: the caller's is uninitialised.
        unsafe { taken.cast().write(output) };
    });
}

/// Drops the future in place, and puts the task's output there.
///
/// # Safety
///
/// `stage` holds a future and is the caller's.
unsafe fn replace_future<F: Future>(stage: *mut Stage<F>, output: Result<F::Output, JoinError>) {
    if mem::needs_drop::<F>() {
        contain("the Drop of a task's future", || {
            // SAFETY: `drop_in_place` wants a valid, aligned, initialised value that nobody uses afterwards: it is
            // overwritten below, also when its Drop panics. What runs in there finds the task running, so nobody comes
            // back to the stage.
            unsafe { ptr::drop_in_place(stage) }
        });
    }
    // SAFETY: `write` wants a valid place, and drops nothing: what was there is dropped.
    unsafe { stage.write(Stage::Output(output)) };
}

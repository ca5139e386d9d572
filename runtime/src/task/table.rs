//! One core's tasks: who is alive, and who runs next.
//!
//! ```text
//!            spawn                        run_next: pop, poll
//!  future ─────────► table ──► queue ──────────────────────────► pending: waits for a wake ──► queue (at its back)
//!                      ▲                          └─────────────► ready: output to the handle, or dropped
//!                      │                                                     │
//!                      └── leaves when it is done, its handle is gone, and it is not queued
//! ```
//!
//! Used by the core's own thread only. Nothing foreign (a future, a waker, a Drop of either's) runs while a `RefCell`
//! here is borrowed: they all may spawn, wake, abort, and drop handles.

use super::{
    JoinHandle, Notify, TaskId,
    cell::{Home, Local, Mail, Pool, Queue, Shared, Site, Turn},
    contain,
};
use crate::{
    inbox::Inbox,
    sync::{Arc, thread_local_constant},
};
use slab::Slab;
use std::{
    cell::{Cell, RefCell},
    future,
    marker::PhantomData,
    mem::{self, ManuallyDrop},
    rc::Rc,
    task::Waker,
};

/// How often the end of a core looks for tasks that the Drop of others has spawned. What is left then is leaked, and
/// reported: somebody respawns without end.
const DROP_ROUNDS_MAX: usize = 100;

/// The tasks of one core.
pub(crate) struct Tasks {
    home: Home,
    inbox: Arc<Inbox>,
    /// All tasks that are not over, by [`TaskId::slot`].
    table: RefCell<Slab<Local>>,
    /// Who runs next.
    queue: Queue,
    pool: Pool,
    /// The future of `block_on` lives on the stack of its caller; this task only lends it a waker.
    root: Local,
    next_generation: Cell<u32>,
    /// Tasks whose future still lives.
    alive: Cell<usize>,
    closed: Cell<bool>,
    polls: Cell<u64>,
    remote_wakes: Cell<u64>,
    remote_spawns: Cell<u64>,
}

/// What a core has done with its tasks so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub(crate) struct Counters {
    /// How often a task was polled; the root is not counted.
    pub(crate) polls: u64,
    /// How often a task came through the inbox: several wakes before the core looks are one.
    pub(crate) remote_wakes: u64,
    /// How many tasks other threads have sent.
    pub(crate) remote_spawns: u64,
}

impl Tasks {
    /// Those of the core at `site`, from now on on this thread.
    pub(crate) fn new(site: Site, inbox: Arc<Inbox>) -> Rc<Tasks> {
        let home = Home::new(site);
        let pool = Pool::new();
        let root = Local::new(&pool, &home, &inbox, TaskId::ROOT, future::pending::<()>());
        Rc::new(Tasks {
            home,
            inbox,
            table: RefCell::new(Slab::new()),
            queue: Queue::new(),
            pool,
            root,
            next_generation: Cell::new(0),
            alive: Cell::new(0),
            closed: Cell::new(false),
            polls: Cell::new(0),
            remote_wakes: Cell::new(0),
            remote_spawns: Cell::new(0),
        })
    }

    /// Makes `tasks` the ones of this thread, until the guard goes. Then those before it are again, so that several
    /// cores may take turns on one thread.
    #[must_use = "they are the current ones for as long as the guard lives"]
    pub(crate) fn enter(tasks: &Rc<Tasks>) -> Entered {
        Entered { previous: CURRENT.with(|current| current.replace(Some(Rc::clone(tasks)))), _stays: PhantomData }
    }

    /// The tasks of the core that runs on this thread now.
    #[inline]
    pub(crate) fn current() -> Option<Rc<Tasks>> {
        CURRENT.with(|current| Option::clone(&current.tasks.borrow()))
    }

    /// The same, if they are those of core `id`, and not closed.
    #[inline]
    pub(super) fn current_is(id: u64) -> Option<Rc<Tasks>> {
        CURRENT.with(|current| {
            if current.id.get() != id {
                return None;
            }
            current.tasks.borrow().as_ref().filter(|tasks| !tasks.closed.get()).cloned()
        })
    }

    /// The core that runs on this thread now, by [`Home::id`]; 0: none.
    #[inline]
    pub(super) fn current_id() -> u64 {
        CURRENT.with(|current| current.id.get())
    }

    /// Takes a future on. It is polled when its turn comes, not before this returns.
    ///
    /// # Panics
    ///
    /// After [`close`](Tasks::close); with 2^32 tasks alive.
    #[inline]
    pub(crate) fn spawn<F: Future + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        assert!(!self.closed.get(), "spawned a task on a runtime that has ended");
        let handle = self.admit(|id| Local::with_handle(&self.pool, &self.home, &self.inbox, id, future));
        JoinHandle::new(handle)
    }

    /// Takes on what `place` makes of an id of its own: it stands in the table, and in the queue.
    #[inline]
    fn admit<R>(&self, place: impl FnOnce(TaskId) -> (Local, R)) -> R {
        let generation = self.next_generation.get();
        self.next_generation.set(generation.wrapping_add(1));
        let mut table = self.table.borrow_mut();
        let entry = table.vacant_entry();
        let index = u32::try_from(entry.key()).ok().filter(|&index| (index as usize) < TaskId::NOBODY.slot());
        let id = TaskId::new(index.expect("2^32 tasks on one core"), generation);
        let (task, placed) = place(id);
        entry.insert(task.clone());
        self.alive.set(self.alive.get() + 1);
        self.queue.push(&task);
        placed
    }

    /// Runs the task whose turn it is. `false`: nobody is ready.
    #[inline(always)]
    pub(crate) fn run_next(&self) -> bool {
        match self.queue.poll_first(&self.polls) {
            Turn::Pending => {}
            Turn::Ended(task) => self.finish(task),
            Turn::NotPolled(task) => self.end_in_turn(task),
            Turn::Nobodys => return false,
        }
        true
    }

    /// A task whose turn it is, and which is done or aborted.
    #[cold]
    fn end_in_turn(&self, task: Local) {
        if task.is_done() {
            self.forget_if_over(task);
        } else {
            task.cancel();
            self.finish(task);
        }
    }

    /// Acts on what other threads have left since the last time.
    #[inline]
    pub(crate) fn accept_mail(&self) {
        if self.inbox.has_mail() {
            self.act_on(self.inbox.drain());
        }
    }

    /// Tells who waits. Runs foreign code if it is none of this core's tasks: a waker that panics is logged.
    #[inline]
    pub(crate) fn notify(&self, waiting: Notify) {
        match waiting {
            Notify::Task(id) => self.wake_by_id(id),
            Notify::Waker(waker) => contain("a waker", || waker.wake()),
        }
    }

    /// Queues the task `id`, or marks the root as woken. Runs nothing foreign.
    #[inline(always)]
    pub(crate) fn wake_by_id(&self, id: TaskId) {
        match self.table.borrow_mut().get(id.slot()) {
            Some(task) if task.id() == id => self.queue.push(task),
            // Otherwise it is over: nobody is there to be told.
            _ => self.wake_if_root(id),
        }
    }

    #[cold]
    fn wake_if_root(&self, id: TaskId) {
        if id == TaskId::ROOT {
            self.root.set_woken();
        }
    }

    /// A waker for the future of `block_on`; see [`take_root_wake`](Tasks::take_root_wake).
    pub(crate) fn root(&self) -> Waker {
        self.root.waker()
    }

    /// Whether the root has been woken since the last time.
    #[inline]
    pub(crate) fn take_root_wake(&self) -> bool {
        self.root.take_woken()
    }

    /// Drops the futures of all tasks, here, as their core; their handles find «cancelled». What a Drop spawns is
    /// dropped likewise, for up to 100 rounds; what then is left is leaked and reported.
    pub(crate) fn drop_all(tasks: &Rc<Tasks>) {
        let _entered = Tasks::enter(tasks);
        tasks.cancel_all();
    }

    /// Ends the traffic with other threads, after `drop_all`: handles and wakers that are left know from now on that
    /// nobody is here.
    pub(crate) fn close(&self) {
        // Nothing is left to cancel, unless the runtime did not come to its orderly end.
        self.cancel_all();
        if self.closed.replace(true) {
            return;
        }
        self.act_on(self.inbox.close());
        // Tasks that others had sent, and that came only now.
        self.cancel_all();
        loop {
            // One at a time: what is dropped here may drop other handles of this table.
            let Some(task) = self.queue.pop() else { break };
            self.forget_if_over(task);
        }
        let table = mem::take(&mut *self.table.borrow_mut());
        for (_, task) in table {
            // From `retire` on the handle, if it lives, stands for the local side, and may free the cell at any moment:
            // this keeps it until our `Local` is gone as well.
            let _keeps_the_cell = task.share();
            let last_mail = task.retire();
            self.act(&task, last_mail);
            drop(task);
        }
        self.root.cancel();
        self.root.retire();
    }

    /// Whether this core takes no more tasks.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// How many tasks have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.alive.get()
    }

    /// How many tasks wait for their turn.
    pub(crate) fn ready(&self) -> usize {
        self.queue.len()
    }

    /// Whether anybody waits for a turn, the root included.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.root.is_woken() || !self.queue.is_empty()
    }

    /// How other threads reach this core.
    #[cfg(test)]
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            polls: self.polls.get(),
            remote_wakes: self.remote_wakes.get(),
            remote_spawns: self.remote_spawns.get(),
        }
    }

    /// The task as this core sees it, unless it is over.
    #[inline]
    pub(super) fn find(&self, task: &Shared) -> Option<Local> {
        Local::find(task, &self.home)
    }

    /// Wakes a task of this core, from this core.
    #[inline]
    pub(super) fn wake(&self, task: &Shared) {
        if let Some(task) = self.find(task) {
            self.enqueue(task);
        }
    }

    pub(super) fn abort(&self, task: Local) {
        task.request_abort();
        // Its future is dropped when its turn comes, not within whatever calls this now.
        self.enqueue(task);
    }

    #[inline]
    pub(super) fn handle_dropped(&self, task: Local) {
        task.handle_dropped();
        self.forget_if_over(task);
    }

    #[inline(always)]
    fn enqueue(&self, task: Local) {
        if task.id() == TaskId::ROOT {
            task.set_woken();
        } else {
            self.queue.push(&task);
        }
    }

    fn act_on(&self, mail: impl Iterator<Item = Shared>) {
        for task in mail {
            let wanted = task.take_mail();
            if wanted.contains(Mail::SPAWN) {
                self.remote_spawns.set(self.remote_spawns.get() + 1);
                self.admit(|id| (Local::unpack(&task, &self.home, id), ()));
            } else {
                self.remote_wakes.set(self.remote_wakes.get() + 1);
            }
            if let Some(task) = self.find(&task) {
                self.act(&task, wanted);
            }
        }
    }

    fn act(&self, task: &Local, wanted: Mail) {
        if wanted.contains(Mail::JOIN) {
            task.join_from_elsewhere();
            if task.is_done() {
                self.tell_joiners(task);
            }
        }
        if wanted.contains(Mail::ABORT) {
            self.abort(task.clone());
        } else if wanted.contains(Mail::WAKE) {
            self.enqueue(task.clone());
        }
        if wanted.contains(Mail::HANDLE_DROPPED) {
            self.handle_dropped(task.clone());
        }
    }

    /// A task has just become done.
    #[inline]
    fn finish(&self, task: Local) {
        self.alive.set(self.alive.get() - 1);
        self.tell_joiners(&task);
        self.forget_if_over(task);
    }

    #[inline]
    fn tell_joiners(&self, task: &Local) {
        if let Some(joiner) = task.take_joiner() {
            self.notify(joiner);
        }
        if let Some(joiner) = task.take_foreign_joiner() {
            self.notify(Notify::Waker(joiner));
        }
    }

    #[inline]
    fn forget_if_over(&self, task: Local) {
        if task.is_over() {
            // Not there: `close` has emptied the table. What is dropped here only counts down, `task` keeps the cell,
            // and must go first: the pool takes a cell to which there is one pointer.
            drop(self.table.borrow_mut().try_remove(task.id().slot()));
            self.pool.recycle(task);
        }
    }

    fn cancel_all(&self) {
        for _ in 0..DROP_ROUNDS_MAX {
            if self.alive.get() == 0 {
                return;
            }
            for task in self.not_done() {
                // Unless the Drop of one before it has run it, which only a nested loop could.
                if !task.is_done() {
                    task.cancel();
                    self.finish(task);
                }
            }
        }
        let left = self.not_done();
        tracing::error!("{} tasks leaked: after {DROP_ROUNDS_MAX} rounds their Drop still spawns new ones", left.len());
        for task in left {
            task.forget();
            self.finish(task);
        }
    }

    fn not_done(&self) -> Vec<Local> {
        self.table.borrow().iter().map(|(_, task)| task).filter(|task| !task.is_done()).cloned().collect()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.close();
    }
}

/// As long as it lives, its tasks are the current ones of this thread.
pub(crate) struct Entered {
    previous: Option<Rc<Tasks>>,
    _stays: PhantomData<*mut ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| current.replace(self.previous.take()));
        drop(left);
    }
}

/// Whose turn it is on this thread.
struct Current {
    /// Their core's id, 0 for none: most wakes only need to compare it.
    id: Cell<u64>,
    /// Without a Drop, so that it can be used until the thread is gone, and nothing is freed behind our back then.
    tasks: RefCell<ManuallyDrop<Option<Rc<Tasks>>>>,
}

impl Current {
    fn replace(&self, tasks: Option<Rc<Tasks>>) -> Option<Rc<Tasks>> {
        self.id.set(tasks.as_ref().map_or(0, |tasks| tasks.home.id()));
        ManuallyDrop::into_inner(self.tasks.replace(ManuallyDrop::new(tasks)))
    }
}

thread_local_constant! {
    static CURRENT: Current = Current { id: Cell::new(0), tasks: RefCell::new(ManuallyDrop::new(None)) };
}

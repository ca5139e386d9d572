//! What one core owns: the ops in flight and their driver, the timers, the tasks; and the thread-local pointer to the core
//! that runs now.
//!
//! **Nothing foreign runs while the core's state is borrowed.** Wakers, `request`, `finish`, `abandon` and Drop are the
//! user's code and may come back here at any depth. So each function below borrows, moves out what must happen, lets go,
//! and then acts.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::blocking::pool::Pool;
use crate::buf::pool::{Buffers, Take};
use crate::driver::setup::Feature;
use crate::driver::simulated::handle::World;
use crate::driver::{Driver, Park};
use crate::inbox::Inbox;
use crate::inflight::held::{Cells, Held, Proof};
use crate::inflight::slots::{self, Consequence, Key, Orphan, Slots};
use crate::metrics::Metrics;
use crate::op::{Op, Reply, Request, StreamOp};
use crate::task::{Address, Entered, Notify, Site, Tasks, contain};
use crate::time::wheel::{TimerKey, Wheel};

mod alarm;
mod ending;

pub(crate) use self::alarm::Alarm;
pub(crate) use self::ending::Told;

thread_local! {
    /// The core that runs on this thread now. Its owner is the `Runtime`: the end of a thread frees nothing here.
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// One core.
pub(crate) struct Core {
    pub place: Place,
    pub tasks: Rc<Tasks>,
    pub inbox: Arc<Inbox>,
    pub pool: Arc<Pool>,
    cells: Cells,
    flights: RefCell<Flights>,
    timers: RefCell<Timers>,
    /// What replies ask for and must not happen under a borrow. Kept for its memory.
    late: Cell<Vec<Consequence>>,
    /// How many more operations the task that runs now may do inline before it lets others have a turn.
    inline_left: Cell<u32>,
    pub ticks: Cell<u64>,
    pub stalls: Cell<u64>,
    alarm: Alarm,
    pub buffers: Buffers,
}

/// Which core it is, and how the cores of its runtime reach each other.
#[derive(Clone)]
pub(crate) struct Place {
    /// Below `addresses.len()`.
    pub index: usize,
    pub addresses: Arc<[Address]>,
}

struct Flights {
    slots: Slots,
    driver: Driver,
}

/// As long as it lives, its core is the current one of this thread.
pub(crate) struct Here {
    previous: Option<Rc<Core>>,
    _tasks: Entered,
}

impl Drop for Here {
    fn drop(&mut self) {
        let left = CURRENT.try_with(|current| current.replace(self.previous.take()));
        drop(left);
    }
}

struct Timers {
    wheel: Wheel<Notify>,
    epoch: Instant,
}

/// Names an op in flight: its slot, and its core, which it finds without asking the thread.
pub(crate) struct Flight {
    key: Key,
    /// Not kept by this: a future that is forgotten, or lives longer than its runtime, keeps no ring open.
    core: Weak<Core>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.core.upgrade() {
            Some(core) => write!(f, "op {:?} of core {}", self.key, core.place.index),
            None => write!(f, "op {:?} of a core that is gone", self.key),
        }
    }
}

/// What a stream of replies has next.
pub(crate) enum Next<T> {
    /// A reply, and how many more are unread.
    Item(io::Result<Reply>, usize),
    Last(T, io::Result<Reply>),
    Nothing,
}

/// How many operations a task may do inline in one turn: enough for a burst, too few to starve others.
const INLINE_MAX: u32 = 64;

impl Core {
    pub fn new(site: Site, place: Place, driver: Driver, pool: Arc<Pool>, buffers: usize) -> Rc<Core> {
        let epoch = driver.now();
        let inbox = place.addresses[place.index].inbox().clone();
        Rc::new(Core {
            place,
            tasks: Tasks::new(site, inbox.clone()),
            alarm: Alarm::new(inbox.clone()),
            inbox,
            pool,
            cells: Cells::new(),
            flights: RefCell::new(Flights { slots: Slots::new(), driver }),
            timers: RefCell::new(Timers { wheel: Wheel::new(), epoch }),
            late: Cell::default(),
            inline_left: Cell::new(INLINE_MAX),
            ticks: Cell::new(0),
            stalls: Cell::new(0),
            buffers: Buffers::new(buffers),
        })
    }

    /// Makes this the core of its thread. `false`: there is one already, which stays.
    #[must_use]
    pub fn install(self: &Rc<Core>) -> bool {
        CURRENT.with(|current| match current.try_borrow_mut() {
            Ok(mut current) if current.is_none() => {
                *current = Some(self.clone());
                true
            }
            _ => false,
        })
    }

    /// Undoes [`install`](Core::install).
    pub fn uninstall(self: &Rc<Core>) {
        // At the end of a thread the pointer may be gone before the runtime.
        let _gone = CURRENT.try_with(|current| current.take());
    }

    /// Makes this the core of its thread until the guard goes. Then the one before is again, so that several cores may
    /// take turns on one thread.
    #[must_use = "it is the current one for as long as the guard lives"]
    pub fn enter(self: &Rc<Core>) -> Here {
        // At the end of a thread the pointer may be gone before the runtime.
        let previous = CURRENT.try_with(|current| current.replace(Some(self.clone()))).ok().flatten();
        Here { previous, _tasks: Tasks::enter(&self.tasks) }
    }

    /// # Panics
    ///
    /// On another driver than the simulated one.
    pub fn world(&self) -> World {
        match &self.flights.borrow().driver {
            Driver::Simulated(simulated) => simulated.world(),
            other => panic!("there is no simulated world here: this runtime is on the {} driver", other.name()),
        }
    }

    #[inline]
    fn start<T: Op>(self: Rc<Core>, op: T, waker: &Waker) -> Flight {
        let (held, loan) = Held::place(op, &self.cells);
        let waiter = Notify::of(waker);
        let mut flights = self.flights.borrow_mut();
        let key = flights.slots.insert(held, waiter);
        flights.driver.start(loan.under(key));
        drop(flights);
        Flight { key, core: Rc::downgrade(&self) }
    }

    fn start_stream<T: StreamOp>(self: &Rc<Core>, op: T) -> Flight {
        let (held, loan) = Held::place(op, &self.cells);
        let mut flights = self.flights.borrow_mut();
        let key = flights.slots.insert_stream(held);
        flights.driver.start(loan.under(key));
        Flight { key, core: Rc::downgrade(self) }
    }

    /// Remembers the newest waker, if it is another one than before.
    fn wait_as(&self, key: Key, waker: &Waker) {
        let known = match self.flights.borrow_mut().slots.waiter(key) {
            Some(waiter) => waiter.will_wake(waker),
            None => true,
        };
        if !known {
            let mut waiter = Notify::of(waker);
            if let Some(place) = self.flights.borrow_mut().slots.waiter(key) {
                std::mem::swap(place, &mut waiter);
            }
            drop(waiter);
        }
    }

    fn cancel(&self, key: Key) {
        self.flights.borrow_mut().driver.cancel(key);
    }

    fn orphan(&self, key: Key) {
        let mut flights = self.flights.borrow_mut();
        let (orphan, waiter) = flights.slots.orphan(key);
        if let Orphan::Cancel = orphan {
            flights.driver.cancel(key);
        }
        drop(flights);
        drop(waiter);
        if let Orphan::Answered(held, proof, items) = orphan {
            drop(items);
            self.abandon(held, proof);
        }
    }

    fn abandon(&self, held: Held, proof: Proof) {
        contain("the `abandon` of an op", || held.abandon(proof, &self.cells));
    }

    /// Lets the driver hand over what came, and wait for more if it may; then acts on it.
    ///
    /// # Errors
    ///
    /// The driver's: it is unusable then.
    pub fn wait(&self, park: Park) -> io::Result<()> {
        let mut late = self.late.take();
        let waited = {
            let mut flights = self.flights.borrow_mut();
            let Flights { slots, driver } = &mut *flights;
            driver.wait(park, |event| match slots.deliver(event) {
                // A task of our own is queued, not run: nothing foreign in that.
                Consequence::Wake(waiter @ Notify::Task(_)) => self.tasks.notify(waiter),
                Consequence::Nothing => {}
                other => late.push(other),
            })
        };
        if !late.is_empty() {
            self.act_on(&mut late);
        }
        self.late.set(late);
        waited
    }

    #[cold]
    fn act_on(&self, late: &mut Vec<Consequence>) {
        for consequence in late.drain(..) {
            match consequence {
                Consequence::Wake(waiter) => self.tasks.notify(waiter),
                Consequence::Abandon(held, proof) => self.abandon(held, proof),
                Consequence::Drop(reply) => drop(reply),
                Consequence::Nothing => {}
            }
        }
    }

    /// Whether the kernel should hear of what is queued before more tasks run.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.flights.borrow().driver.is_due()
    }

    pub fn now(&self) -> Instant {
        self.flights.borrow().driver.now()
    }

    /// Wakes whose time has come, and tells when the next may be due. Reads the clock only if there is a timer.
    #[inline]
    pub fn fire_timers(&self) -> Option<Instant> {
        if self.timers.borrow().wheel.len() == 0 { None } else { self.fire_due_timers() }
    }

    fn fire_due_timers(&self) -> Option<Instant> {
        let now = self.now();
        loop {
            let mut timers = self.timers.borrow_mut();
            let now = timers.since_epoch(now);
            let Some((_, waiter)) = timers.wheel.pop_expired(now) else {
                let due = timers.wheel.next_expiry()?;
                return timers.epoch.checked_add(Duration::from_nanos(due));
            };
            drop(timers);
            self.tasks.notify(waiter);
        }
    }

    /// A task has its turn.
    #[inline]
    pub fn refill_inline(&self) {
        self.inline_left.set(INLINE_MAX);
    }

    pub fn metrics(&self) -> Metrics {
        let flights = self.flights.borrow();
        let tasks = self.tasks.counters();
        let driver = flights.driver.counters();
        let pool = self.pool.counters();
        Metrics {
            core: self.place.index,
            driver: flights.driver.name(),
            ticks: self.ticks.get(),
            stalls: self.stalls.get(),
            enters: driver.enters,
            submitted: driver.submitted,
            completed: driver.completed,
            overflows: driver.overflows,
            queue_full: driver.queue_full,
            in_flight: flights.slots.len(),
            tasks: self.tasks.alive(),
            polls: tasks.polls,
            remote_wakes: tasks.remote_wakes,
            remote_spawns: tasks.remote_spawns,
            timers: self.timers.borrow().wheel.len(),
            buffers: self.buffers.taken(),
            pool_threads: pool.threads,
            pool_queued: pool.queued,
            pool_jobs: pool.run,
        }
    }
}

impl Timers {
    /// Nanoseconds since the core began. 584 years fit; what is beyond them never comes.
    fn since_epoch(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cold]
fn no_runtime() -> ! {
    panic!("no runtime on this thread: call this within `Runtime::block_on` or `#[runtime::main]`")
}

#[cold]
fn wrong_runtime() -> ! {
    panic!("an op of one runtime is polled under another: handles and their ops stay on the core where they began")
}

#[cold]
fn ended_runtime() -> ! {
    panic!("an op of a runtime that has ended is polled")
}

/// The core that runs on this thread, counted.
#[inline]
fn current() -> Rc<Core> {
    match CURRENT.with(|current| current.borrow().clone()) {
        Some(core) => core,
        None => no_runtime(),
    }
}

#[inline]
fn with<R>(act: impl FnOnce(&Rc<Core>) -> R) -> R {
    CURRENT.with(|current| match &*current.borrow() {
        Some(core) => act(core),
        None => no_runtime(),
    })
}

/// For what is dropped anywhere, also where the runtime is gone: then its ops have ended with it.
fn try_with<R>(act: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    CURRENT.try_with(|current| current.try_borrow().ok()?.as_ref().map(act)).ok().flatten()
}

#[inline]
pub(crate) fn start<T: Op>(op: T, waker: &Waker) -> Flight {
    current().start(op, waker)
}

pub(crate) fn start_stream<T: StreamOp>(op: T) -> Flight {
    with(|core| core.start_stream(op))
}

impl Flight {
    /// Gives the op and its reply, if that came, to `settle`; otherwise the newest waker is remembered.
    #[inline]
    pub fn settle<T: Op, R>(&self, waker: &Waker, settle: impl FnOnce(T, io::Result<Reply>) -> R) -> Option<R> {
        let core = self.core();
        let answered = core.flights.borrow_mut().slots.poll(self.key);
        match answered {
            Some((held, proof)) => Some(held.settle(proof, &core.cells, settle)),
            None => {
                must_be_here(&core);
                core.wait_as(self.key, waker);
                None
            }
        }
    }

    pub fn next_reply<T: StreamOp>(&self, waker: &Waker) -> Next<T> {
        let core = self.core();
        must_be_here(&core);
        let reader = Notify::of(waker);
        let mut flights = core.flights.borrow_mut();
        match flights.slots.next(self.key) {
            slots::Next::Item(reply) => {
                let unread = flights.slots.unread(self.key);
                Next::Item(reply, unread)
            }
            slots::Next::Last(held, proof) => {
                drop(flights);
                held.settle(proof, &core.cells, Next::Last)
            }
            slots::Next::Nothing => {
                let before = flights.slots.set_reader(self.key, reader);
                drop(flights);
                drop(before);
                Next::Nothing
            }
        }
    }

    /// Asks for an early reply. It comes all the same.
    pub fn cancel(&self) {
        if let Some(core) = self.core.upgrade() {
            core.cancel(self.key);
        }
    }

    /// Nobody waits for the reply any more. Nothing is left to do when the runtime has ended: its ops have ended with it.
    pub fn orphan(&self) {
        if let Some(core) = self.core.upgrade() {
            core.orphan(self.key);
        }
    }

    #[inline]
    fn core(&self) -> Rc<Core> {
        self.core.upgrade().unwrap_or_else(|| ended_runtime())
    }
}

fn must_be_here(own: &Rc<Core>) {
    with(|core| {
        if !Rc::ptr_eq(core, own) {
            wrong_runtime()
        }
    });
}

/// Does a request now, without waiting.
#[inline]
pub(crate) fn call(request: &mut Request<'_>) -> io::Result<Reply> {
    with(|core| core.flights.borrow_mut().driver.call(request)).map_err(io::Error::from)
}

/// Spends one of the inline operations that the task may do in this turn. `false`: let others have theirs.
#[inline]
pub(crate) fn spend_inline() -> bool {
    with(|core| match core.inline_left.get() {
        0 => false,
        left => {
            core.inline_left.set(left - 1);
            true
        }
    })
}

/// Whether this core's driver serves what only newer kernels' rings have.
pub(crate) fn offers(feature: Feature) -> bool {
    with(|core| core.flights.borrow().driver.offers(feature))
}

/// Whether plain system calls reach the kernel that this core's program runs on. A simulated one lists `what` it was to be
/// passed by with.
pub(crate) fn may_pass(what: &str) -> bool {
    with(|core| match &core.flights.borrow().driver {
        Driver::Ring(_) | Driver::Fallback(_) => true,
        Driver::Simulated(simulated) => {
            simulated.world().note_unsupported(what);
            false
        }
    })
}

/// The simulated world of this core.
pub(crate) fn world() -> World {
    with(|core| core.world())
}

/// How core `index` of this runtime is reached. `None`: it is this one, and may be spawned on.
///
/// # Panics
///
/// Outside a runtime, and if there is no such core.
#[track_caller]
pub(crate) fn address(index: usize) -> Option<Address> {
    let (addresses, may_spawn) = place(|place| (place.addresses.clone(), place.index == index));
    let cores = addresses.len();
    assert!(index < cores, "there is no core {index}: this runtime has {cores}, see Builder::cores");
    // One that has ended takes no more tasks, as others that have.
    (!may_spawn || with(|core| core.tasks.is_closed())).then(|| addresses[index].clone())
}

/// Which core runs here, and how the others are reached.
pub(crate) fn place<R>(look: impl FnOnce(&Place) -> R) -> R {
    with(|core| look(&core.place))
}

pub(crate) fn pool() -> Arc<Pool> {
    with(|core| core.pool.clone())
}

pub(crate) fn metrics() -> Metrics {
    with(|core| core.metrics())
}

#[inline]
pub(crate) fn now() -> Instant {
    with(|core| core.now())
}

pub(crate) fn timer_start(deadline: Instant, waker: &Waker) -> TimerKey {
    let waiter = Notify::of(waker);
    with(|core| {
        let mut timers = core.timers.borrow_mut();
        let due = timers.since_epoch(deadline);
        timers.wheel.insert(due, waiter)
    })
}

/// Remembers the newest waker. `false`: the timer has fired, or belongs to another core.
pub(crate) fn timer_update(key: TimerKey, waker: &Waker) -> bool {
    let mut changed = false;
    let pending = with(|core| match core.timers.borrow_mut().wheel.payload_mut(key) {
        Some(known) if known.will_wake(waker) => true,
        Some(_) => {
            changed = true;
            true
        }
        None => false,
    });
    if changed {
        let mut waiter = Notify::of(waker);
        with(|core| {
            if let Some(place) = core.timers.borrow_mut().wheel.payload_mut(key) {
                std::mem::swap(place, &mut waiter);
            }
        });
        drop(waiter);
    }
    pending
}

/// Moves a timer, if it has not fired.
pub(crate) fn timer_reset(key: TimerKey, deadline: Instant) -> Option<TimerKey> {
    with(|core| {
        let mut timers = core.timers.borrow_mut();
        let due = timers.since_epoch(deadline);
        let waiter = timers.wheel.remove(key)?;
        Some(timers.wheel.insert(due, waiter))
    })
}

pub(crate) fn timer_cancel(key: TimerKey) {
    // The waiter may run foreign code when it is dropped, so it leaves the borrow first.
    drop(try_with(|core| core.timers.borrow_mut().wheel.remove(key)));
}

pub(crate) fn take_buffer(len: usize) -> Take {
    with(|core| core.buffers.take(len))
}

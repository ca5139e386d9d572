//! What one core owns: the ops in flight and their driver, the timers, the tasks; and the thread-local pointer to the
//! core that runs now.
//!
//! **Nothing foreign runs while the core's state is borrowed.** Wakers, `request`, `finish`, `abandon`, Drop and who
//! hears what we tell are the user's code and may come back here at any depth. So each function below borrows, moves
//! out what must happen, lets go, and then acts.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::blocking::pool::{Pool, Source};
use crate::buf::pool::{Buffers, Take};
use crate::driver::setup::Feature;
use crate::driver::simulated::handle::World;
use crate::driver::{Cheaper, Driver, Park};
use crate::fork::Origin;
use crate::inbox::Inbox;
use crate::inflight::slots::Consequence;
use crate::metrics::Metrics;
use crate::op::{Op, Reply, Request, StreamOp};
use crate::task::{Address, Entered, Notify, Site, Tasks};
use crate::time::wheel::{NEVER, TimerKey, Wheel};

mod alarm;
mod ending;
mod ops;

pub(crate) use self::alarm::Alarm;
pub(crate) use self::ending::Told;
pub(crate) use self::ops::{Flight, Next};
use self::ops::{Flights, Ops};

thread_local! {
    /// The core that runs on this thread now. Its owner is the `Runtime`: the end of a thread frees nothing here, so
    /// there is no Drop, which every access would have to ask whether it has been.
    static CURRENT: RefCell<ManuallyDrop<Option<Rc<Core>>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Makes `core` the current one of this thread, and gives the one before.
fn replace_current(core: Option<Rc<Core>>) -> Option<Rc<Core>> {
    ManuallyDrop::into_inner(CURRENT.with(|current| current.replace(ManuallyDrop::new(core))))
}

/// One core.
pub(crate) struct Core {
    pub place: Place,
    pub origin: Origin,
    pub tasks: Rc<Tasks>,
    pub inbox: Arc<Inbox>,
    pub pool: Arc<Pool>,
    /// What the core's tasks have for the pool.
    jobs: Arc<Source>,
    ops: Rc<Ops>,
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

/// As long as it lives, its core is the current one of this thread.
pub(crate) struct Here {
    previous: Option<Rc<Core>>,
    _tasks: Entered,
}

impl Drop for Here {
    fn drop(&mut self) {
        let left = replace_current(self.previous.take());
        drop(left);
    }
}

struct Timers {
    wheel: Wheel<Notify>,
    epoch: Instant,
}

/// How many operations a task may do inline in one turn: enough for a burst, too few to starve others.
const INLINE_MAX: u32 = 64;

impl Core {
    pub fn new(site: Site, place: Place, driver: Driver, pool: Arc<Pool>, buffers: usize) -> Rc<Core> {
        let epoch = driver.now();
        let index = place.index;
        let inbox = place.addresses[index].inbox().clone();
        Rc::new(Core {
            place,
            origin: Origin::here(),
            tasks: Tasks::new(site, inbox.clone()),
            alarm: Alarm::new(inbox.clone()),
            inbox,
            jobs: Arc::new(pool.source()),
            pool,
            ops: Rc::new(Ops::new(index, driver)),
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
                **current = Some(self.clone());
                true
            }
            _ => false,
        })
    }

    /// Undoes [`install`](Core::install).
    pub fn uninstall(self: &Rc<Core>) {
        drop(replace_current(None));
    }

    /// Makes this the core of its thread until the guard goes. Then the one before is again, so that several cores may
    /// take turns on one thread.
    #[must_use = "it is the current one for as long as the guard lives"]
    pub fn enter(self: &Rc<Core>) -> Here {
        Here { previous: replace_current(Some(self.clone())), _tasks: Tasks::enter(&self.tasks) }
    }

    /// # Panics
    ///
    /// On another driver than the simulated one.
    pub fn world(&self) -> World {
        match &self.ops.flights.borrow().driver {
            Driver::Simulated(simulated) => simulated.world(),
            other => panic!("there is no simulated world here: this runtime is on the {} driver", other.name()),
        }
    }

    /// Lets the driver hand over what came, and wait for more if it may; then acts on it.
    ///
    /// # Errors
    ///
    /// The driver's: it is unusable then.
    pub fn wait(&self, park: Park) -> io::Result<()> {
        let mut late = self.late.take();
        let tasks = &*self.tasks;
        let (waited, untold) = {
            let mut flights = self.ops.flights.borrow_mut();
            let Flights { slots, driver } = &mut *flights;
            let waited = driver.wait(
                park,
                // Always, since the compiler sees a closure that three drivers have, and calls it: 20 instructions a
                // reply, with one codegen unit.
                #[inline(always)]
                |event| match slots.deliver(event) {
                    // A task of our own is queued, not run: nothing foreign in that.
                    Consequence::WakeTask(task) => tasks.wake_by_id(task),
                    Consequence::Nothing => {}
                    other => late.push(other),
                },
            );
            (waited, driver.untold())
        };
        self.ops.look_what_is_due();
        if !late.is_empty() {
            self.act_on(&mut late);
        }
        self.late.set(late);
        if let Some(overflow) = untold {
            overflow.tell();
        }
        waited
    }

    #[cold]
    fn act_on(&self, late: &mut Vec<Consequence>) {
        for consequence in late.drain(..) {
            match consequence {
                Consequence::WakeTask(task) => self.tasks.wake_by_id(task),
                Consequence::Wake(waiter) => self.tasks.notify(waiter),
                Consequence::Abandon(held, proof) => self.ops.abandon(held, proof),
                Consequence::Drop(reply) => drop(reply),
                Consequence::Stop(key) => self.ops.cancel(key),
                Consequence::Nothing => {}
            }
        }
    }

    /// Whether the kernel should hear of what is queued before more tasks run.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.ops.is_due.get()
    }

    pub fn now(&self) -> Instant {
        self.ops.flights.borrow().driver.now()
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

    #[inline]
    fn spend_inline(&self) -> bool {
        let left = self.inline_left.get();
        self.inline_left.set(left.saturating_sub(1));
        left > 0
    }

    /// A task has its turn.
    #[inline]
    pub fn refill_inline(&self) {
        self.inline_left.set(INLINE_MAX);
    }

    pub fn metrics(&self) -> Metrics {
        let flights = self.ops.flights.borrow();
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
            pool_queued: pool.queued + pool.in_line,
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

#[inline]
fn with<R>(act: impl FnOnce(&Rc<Core>) -> R) -> R {
    CURRENT.with(|current| match &**current.borrow() {
        Some(core) => act(core),
        None => no_runtime(),
    })
}

/// For what is dropped anywhere, also where the runtime is gone: then its ops have ended with it.
fn try_with<R>(act: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    CURRENT.with(|current| current.try_borrow().ok()?.as_ref().map(act))
}

#[inline]
pub(crate) fn start<T: Op>(op: T, waker: &Waker) -> Flight {
    // Counted, since placing an op runs foreign code.
    with(|core| core.ops.clone()).start(op, waker)
}

pub(crate) fn start_stream<T: StreamOp>(op: T) -> Flight {
    with(|core| core.ops.clone()).start_stream(op)
}

/// Does a request now, without waiting.
#[inline]
pub(crate) fn call(request: &mut Request<'_>) -> io::Result<Reply> {
    with(|core| core.ops.flights.borrow_mut().driver.call(request)).map_err(io::Error::from)
}

/// As [`call`], and also where no runtime is: there it asks the kernel that is real.
pub(crate) fn call_anywhere(request: &mut Request<'_>) -> io::Result<Reply> {
    let called = try_with(|core| core.ops.flights.borrow_mut().driver.call(request));
    called.unwrap_or_else(|| request.call()).map_err(io::Error::from)
}

/// Spends one of the inline operations that the task may do in this turn. `false`: let others have theirs.
#[inline]
pub(crate) fn spend_inline() -> bool {
    with(|core| core.spend_inline())
}

/// Spends one of them on a request, which is done now. `None`: let others have theirs.
#[inline]
pub(crate) fn spend_on_call(request: &mut Request<'_>) -> Option<io::Result<Reply>> {
    with(|core| {
        core.spend_inline().then(|| core.ops.flights.borrow_mut().driver.call(request).map_err(io::Error::from))
    })
}

/// What costs less for the task that runs now: see [`Driver::cheaper`].
#[inline]
pub(crate) fn cheaper() -> Cheaper {
    with(|core| core.ops.flights.borrow_mut().driver.cheaper(!core.tasks.is_ready()))
}

/// Whether this core's driver serves what only newer kernels' rings have.
pub(crate) fn offers(feature: Feature) -> bool {
    with(|core| core.ops.flights.borrow().driver.offers(feature))
}

/// Whether plain system calls reach the kernel that this core's program runs on. A simulated one lists `what` it was to
/// be passed by with.
pub(crate) fn may_pass(what: &str) -> bool {
    with(|core| match &core.ops.flights.borrow().driver {
        Driver::Ring(_) | Driver::Fallback(_) | Driver::Ended => true,
        Driver::Simulated(simulated) => {
            simulated.world().note_unsupported(what);
            false
        }
    })
}

/// A simulated world of this core's lists what it does not serve.
pub(crate) fn note_unsupported(what: &str) {
    try_with(|core| {
        if let Driver::Simulated(simulated) = &core.ops.flights.borrow().driver {
            simulated.world().note_unsupported(what);
        }
    });
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

pub(crate) fn jobs() -> Arc<Source> {
    with(|core| core.jobs.clone())
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

/// A timer that does not fire until it is [reset](timer_reset).
pub(crate) fn timer_never(waker: &Waker) -> TimerKey {
    let waiter = Notify::of(waker);
    with(|core| core.timers.borrow_mut().wheel.insert(NEVER, waiter))
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

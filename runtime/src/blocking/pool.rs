//! The threads, their queue, and the line of those who wait for room in it.
//!
//! All of it is one state under one mutex, held for a few instructions and, when a thread has to be made, for as long
//! as that takes (tens of microseconds, at most `threads_max` times in a burst). No job, waker or destructor of
//! somebody else's runs while it is held.
//!
//! **No job is forgotten**, because of one invariant: `queue.len() <= idle`, or all the threads that may exist do. A
//! thread counts as idle from its birth, and until it takes a job; it looks at the queue before it sleeps and again
//! before it ends, also when its idle time has run out. So a job in the queue always has either a thread of its own
//! that is on its way to it, or a full set of threads that come by when they finish. «Is anybody idle?» would not do:
//! two jobs would be promised the same thread.
//!
//! **Bounds.** `threads_max` threads. `queue_max` jobs queued: beyond it `submit` gives the job back, and
//! `submit_or_wait` gives its caller a place in line. A place in line costs a waker, and is bounded by the tasks that
//! stand there. Room that comes free is granted to the first in line, and is his until he uses it or leaves; nobody
//! overtakes.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

/// How many threads a pool has at most, unless the builder says otherwise.
///
/// Enough to keep a disk's queue filled when the fallback driver does all file I/O here, and to let a few dozen slow
/// look-ups wait side by side; few enough that an overload queues, where it is seen and costs 16 bytes a job, and does
/// not become a thousand stacks that fight for two cores. On the ring driver almost nothing comes here.
pub(crate) const THREADS_MAX: usize = 64;

/// How many jobs a pool queues at most, unless the builder says otherwise: 64 for each thread.
pub(crate) const QUEUE_MAX: usize = 4096;

/// How long a thread waits for work before it ends.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// What a thread is to run. It may be dropped without being run, when the pool is closed: whoever waits for its result
/// must learn that from the drop.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Threads for what would block a core.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// One more job is queued, or the pool is closed.
    work: Condvar,
    /// The last thread of a closed pool has ended.
    ended: Condvar,
    threads_max: usize,
    queue_max: usize,
    idle_time: Duration,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Those who wait for room, by ticket, in ascending order.
    line: VecDeque<(Ticket, Waker)>,
    next_ticket: u64,
    /// Places in the queue that belong to tickets called up from the line.
    granted: usize,
    threads: usize,
    /// Threads without a job, those included that are just starting or waking up.
    idle: usize,
    closed: bool,
    /// Why there are no more threads.
    untold: Option<io::Error>,
    threads_made: u64,
    jobs_run: u64,
}

/// A place in line. It must be used, by another `submit_or_wait`, or given up by `leave_line`: room may be kept for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Why a job was not taken. It comes back, except from a closed pool, which drops it.
pub(crate) enum Refused {
    /// The queue is full.
    Full(Job),
    /// The queue is full, and this place in line is the caller's.
    Waiting(Job, Ticket),
    /// The pool is closed, or was while the job stood in line.
    Closed,
    /// There is no thread to run it, and none could be started.
    NoThread(io::Error),
}

/// A pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Threads that exist.
    pub(crate) threads: usize,
    /// Threads among these that have nothing to do.
    pub(crate) idle: usize,
    /// Jobs that wait for a thread.
    pub(crate) queued: usize,
    /// Jobs that wait for room in the queue.
    pub(crate) in_line: usize,
    /// Jobs that have been run to their end since the pool was made.
    pub(crate) run: u64,
}

/// What outlived the closing of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "threads that are left behind should be reported"]
pub(crate) struct Left {
    /// Threads that still run their last job.
    pub(crate) threads: usize,
}

impl Pool {
    /// A pool without threads: they are made when jobs come.
    ///
    /// # Panics
    ///
    /// If either limit is zero: nothing could ever run.
    pub(crate) fn new(threads_max: usize, queue_max: usize) -> Arc<Self> {
        Self::with_idle_time(threads_max, queue_max, IDLE_TIME)
    }

    pub(super) fn with_idle_time(threads_max: usize, queue_max: usize, idle_time: Duration) -> Arc<Self> {
        assert!(threads_max > 0, "the blocking pool needs at least one thread");
        assert!(queue_max > 0, "the blocking pool needs room for at least one job");
        Arc::new(Pool {
            state: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            threads_max,
            queue_max,
            idle_time,
        })
    }

    /// Queues a job. Never blocks on work, and never answers [`Refused::Waiting`].
    pub(crate) fn submit(self: &Arc<Self>, job: Job) -> Result<(), Refused> {
        let state = self.lock();
        if !state.closed && !state.has_room(self.queue_max) {
            return Err(Refused::Full(job));
        }
        self.push(state, job)
    }

    /// Queues a job, or stands in line with it: then `waker` is woken when the ticket is called up, or the pool closes.
    ///
    /// With a `ticket` from before, takes the place that it was promised, or goes on waiting for it with the new waker.
    pub(crate) fn submit_or_wait(
        self: &Arc<Self>,
        job: Job,
        ticket: Option<Ticket>,
        mut waker: Waker,
    ) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return self.push(state, job);
        }
        let ticket = match ticket {
            Some(ticket) => match state.place_in_line(ticket) {
                Some(place) => {
                    mem::swap(&mut state.line[place].1, &mut waker);
                    ticket
                }
                None => {
                    state.granted -= 1;
                    return self.push(state, job);
                }
            },
            None if state.has_room(self.queue_max) => return self.push(state, job),
            None => {
                let ticket = Ticket(state.next_ticket);
                state.next_ticket += 1;
                state.line.push_back((ticket, waker));
                return Err(Refused::Waiting(job, ticket));
            }
        };
        // The old waker is dropped after the lock: it is foreign.
        drop(state);
        drop(waker);
        Err(Refused::Waiting(job, ticket))
    }

    /// Gives up a place in line, or the room that was granted for it, which then goes to the next.
    pub(crate) fn leave_line(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let foreign = match state.place_in_line(ticket) {
            Some(place) => Foreign::Unneeded(state.line.remove(place).map(|(_, waker)| waker)),
            None => {
                state.granted -= 1;
                Foreign::Wake(state.call_up(self.queue_max))
            }
        };
        drop(state);
        foreign.settle();
    }

    /// Whether a job runs, or waits to.
    pub(crate) fn is_busy(&self) -> bool {
        let counters = self.counters();
        counters.threads > counters.idle || counters.queued + counters.in_line > 0
    }

    /// How busy the pool is.
    pub(crate) fn counters(&self) -> Counters {
        let state = self.lock();
        Counters {
            threads: state.threads,
            idle: state.idle,
            queued: state.queue.len(),
            in_line: state.line.len(),
            run: state.jobs_run,
        }
    }

    /// Ends the pool: takes no more jobs, drops those that have not begun, and waits for those that run, but not beyond
    /// `until` on the system's clock. Threads that are still busy then are left to finish by themselves.
    ///
    /// It blocks the calling thread, whose own job it would wait for in vain if that thread is of the pool.
    pub(crate) fn close(&self, until: Instant) -> Left {
        let mut state = self.lock();
        state.closed = true;
        let jobs = mem::take(&mut state.queue);
        let line = mem::take(&mut state.line);
        drop(state);
        self.work.notify_all();
        for job in jobs {
            shielded("dropping a job that was never run", || drop(job));
        }
        for (_, waker) in line {
            shielded("waking a task that waits for room", || waker.wake());
        }
        let mut state = self.lock();
        while state.threads > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Left { threads: state.threads }
    }

    /// Queues a job for which there is room, and sees to it that a thread comes.
    fn push(self: &Arc<Self>, mut state: MutexGuard<'_, State>, job: Job) -> Result<(), Refused> {
        if state.closed {
            drop(state);
            shielded("dropping a job that came after the end", || drop(job));
            return Err(Refused::Closed);
        }
        state.queue.push_back(job);
        if state.queue.len() <= state.idle {
            drop(state);
            self.work.notify_one();
            return Ok(());
        }
        if state.threads == self.threads_max {
            return Ok(());
        }
        match self.start_thread(state.threads_made) {
            Ok(()) => {
                state.threads_made += 1;
                state.threads += 1;
                state.idle += 1;
                Ok(())
            }
            Err(error) if state.threads == 0 => {
                let job = state.queue.pop_back();
                drop(state);
                shielded("dropping a job that has no thread", || drop(job));
                Err(Refused::NoThread(error))
            }
            Err(error) => {
                // Told by the next thread that comes by: here a core may be borrowed, and a subscriber is foreign.
                state.untold = Some(error);
                Ok(())
            }
        }
    }

    fn start_thread(self: &Arc<Self>, number: u64) -> io::Result<()> {
        let pool = Arc::clone(self);
        thread::Builder::new().name(format!("gimmal-blocking-{number}")).spawn(move || pool.work()).map(drop)
    }

    /// The life of a thread. It begins and ends idle.
    fn work(&self) {
        let mut state = self.lock();
        let mut timed_out = false;
        loop {
            if let Some(error) = state.untold.take() {
                let threads = state.threads;
                drop(state);
                shielded("telling", || {
                    tracing::warn!(%error, threads, "the blocking pool cannot start another thread and goes on with those it has");
                });
                state = self.lock();
            }
            if let Some(job) = state.queue.pop_front() {
                state.idle -= 1;
                let called_up = state.call_up(self.queue_max);
                drop(state);
                Foreign::Wake(called_up).settle();
                shielded("running a job", job);
                state = self.lock();
                state.idle += 1;
                state.jobs_run += 1;
                timed_out = false;
                continue;
            }
            if state.closed || timed_out {
                break;
            }
            let (reacquired, wait) =
                self.work.wait_timeout(state, self.idle_time).unwrap_or_else(PoisonError::into_inner);
            state = reacquired;
            timed_out = wait.timed_out();
        }
        state.idle -= 1;
        state.threads -= 1;
        if state.threads == 0 {
            self.ended.notify_all();
        }
    }

    /// Nobody's code panics under the lock, so the state is whole even if the mutex says otherwise.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether one more job may be queued by somebody who was promised nothing. While anybody stands in line, there is
    /// none.
    fn has_room(&self, queue_max: usize) -> bool {
        self.queue.len() + self.granted < queue_max
    }

    /// Promises room that has come free to the first in line, who must be woken.
    fn call_up(&mut self, queue_max: usize) -> Option<Waker> {
        if !self.has_room(queue_max) {
            return None;
        }
        let (_, waker) = self.line.pop_front()?;
        self.granted += 1;
        Some(waker)
    }

    /// `None` for a ticket that has been called up.
    fn place_in_line(&self, ticket: Ticket) -> Option<usize> {
        self.line.binary_search_by_key(&ticket, |&(other, _)| other).ok()
    }
}

/// A waker that came out of the state, and what is to be done with it once the lock is free.
enum Foreign {
    Wake(Option<Waker>),
    Unneeded(Option<Waker>),
}

impl Foreign {
    fn settle(self) {
        match self {
            Foreign::Wake(Some(waker)) => shielded("waking a task that waits for room", || waker.wake()),
            Foreign::Unneeded(Some(waker)) => shielded("dropping a waker", || drop(waker)),
            Foreign::Wake(None) | Foreign::Unneeded(None) => {}
        }
    }
}

/// Runs what others wrote. A panic there ends neither the thread nor the closing of the pool.
fn shielded(doing: &'static str, foreign: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(foreign)) {
        tracing::error!(doing, "panicked on the blocking pool");
        // The payload is somebody's value too, and its drop may panic, with nobody left to catch it. So it stays.
        mem::forget(payload);
    }
}

//! The threads, their queue, and the lines before it.
//!
//! ```text
//!  a core's calls ──► its line ──┐
//!  its driver's   ──► its line ──┼─► queue ─► threads
//!  another core's ──► its line ──┘
//! ```
//!
//! All of it is one state under one mutex, held for a few instructions and, when a thread has to be made, for as long
//! as that takes (tens of microseconds, at most `threads_max` times in a burst). No job and no destructor of somebody
//! else's runs while it is held.
//!
//! **No job is forgotten**, because of one invariant: no more jobs wait, in the queue and the lines together, than
//! threads are idle, or all the threads that may exist do. A thread counts as idle from its birth, and until it takes a
//! job; it looks at the queue before it sleeps and again before it ends, also when its idle time has run out. So a job
//! that waits always has either a thread of its own that is on its way to it, or a full set of threads that come by
//! when they finish. «Is anybody idle?» would not do: two jobs would be promised the same thread.
//!
//! **Bounds.** `threads_max` threads. `queue_max` jobs queued, from all [sources](Source) together; beyond it each
//! source's jobs stand in a line of its own, bounded by the tasks and ops that wait for them. The thread that takes a
//! job from the queue moves one in from the lines, which take turns: so a job waits for at most `queue_max` others and
//! its share of the threads, however many another core has thrown at them. Nobody has to come by for his job to move.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use slab::Slab;

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
    /// The lines of the sources. Empty unless the queue is full.
    lines: Slab<VecDeque<(Ticket, Job)>>,
    /// How many jobs stand in them.
    in_line: usize,
    /// The line whose turn was last.
    last_line: usize,
    next_ticket: u64,
    threads: usize,
    /// Threads without a job, those included that are just starting or waking up.
    idle: usize,
    closed: bool,
    /// Why there are no more threads.
    untold: Option<io::Error>,
    threads_made: u64,
    jobs_run: u64,
}

/// Somebody who has jobs for a [`Pool`]: the tasks of a core, or its driver. Its jobs begin in the order in which they
/// came.
///
/// What still stands in its line when it is dropped is dropped, unrun.
pub(crate) struct Source {
    pool: Arc<Pool>,
    line: usize,
}

/// A job's place in the line of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Why a job was dropped instead of taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The pool is closed.
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
    /// Jobs in the queue.
    pub(crate) queued: usize,
    /// Jobs that wait for room in it.
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

    /// One more line before the queue.
    pub(crate) fn source(self: &Arc<Self>) -> Source {
        let line = self.lock().lines.insert(VecDeque::new());
        Source { pool: self.clone(), line }
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
            in_line: state.in_line,
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
        let mut jobs = mem::take(&mut state.queue);
        for (_, line) in &mut state.lines {
            jobs.extend(line.drain(..).map(|(_, job)| job));
        }
        state.in_line = 0;
        drop(state);
        self.work.notify_all();
        drop_unrun(jobs);
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

    /// Sees to it that a thread comes for the job that has just been added; if none ever can, takes it back.
    fn call_thread(self: &Arc<Self>, mut state: MutexGuard<'_, State>) -> Result<(), Refused> {
        if state.waiting() <= state.idle {
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
                // Without threads nothing waits, so the job is the only one.
                let job = state.queue.pop_back();
                drop(state);
                drop_unrun(job);
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
                state.move_up();
                drop(state);
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
    /// How many jobs have no thread yet.
    fn waiting(&self) -> usize {
        self.queue.len() + self.in_line
    }

    /// Fills the place in the queue that has come free, from the lines in turn.
    fn move_up(&mut self) {
        if self.in_line == 0 {
            return;
        }
        let from = self.last_line + 1;
        let later = self.lines.iter().find(|(line, jobs)| *line >= from && !jobs.is_empty());
        let next = later.or_else(|| self.lines.iter().find(|(_, jobs)| !jobs.is_empty()));
        let (line, _) = next.expect("somebody stands in line");
        let (_, job) = self.lines[line].pop_front().expect("not empty");
        self.last_line = line;
        self.in_line -= 1;
        self.queue.push_back(job);
    }
}

impl Source {
    /// Has a thread run `job`. Never blocks on work.
    ///
    /// Returns the ticket of a job that has to stand in line.
    pub(crate) fn submit(&self, job: Job) -> Result<Option<Ticket>, Refused> {
        let Source { pool, line } = self;
        let mut state = pool.lock();
        if state.closed {
            drop(state);
            drop_unrun([job]);
            return Err(Refused::Closed);
        }
        let mut ticket = None;
        if state.queue.len() < pool.queue_max {
            state.queue.push_back(job);
        } else {
            let number = Ticket(state.next_ticket);
            state.next_ticket += 1;
            state.in_line += 1;
            state.lines[*line].push_back((number, job));
            ticket = Some(number);
        }
        pool.call_thread(state).map(|()| ticket)
    }

    /// Drops a job that stands in line. One that has moved on into the queue stays there.
    pub(crate) fn withdraw(&self, ticket: Ticket) {
        let mut state = self.pool.lock();
        let line = &mut state.lines[self.line];
        let Ok(place) = line.binary_search_by_key(&ticket, |(other, _)| *other) else { return };
        let job = line.remove(place);
        state.in_line -= 1;
        drop(state);
        drop(job);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let line = state.lines.remove(self.line);
        state.in_line -= line.len();
        drop(state);
        drop_unrun(line.into_iter().map(|(_, job)| job));
    }
}

/// Whoever waits for these learns from the drop that they will not be run.
fn drop_unrun(jobs: impl IntoIterator<Item = Job>) {
    for job in jobs {
        shielded("dropping a job that was never run", || drop(job));
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

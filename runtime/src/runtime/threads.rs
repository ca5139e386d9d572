//! The cores beside the first, each on a thread of its own.
//!
//! ```text
//!  Builder::build ─► a thread each: makes its core ─► reports ─► runs ─► told to end, or panics ─► ends its core ─► leaves
//!                                                        │                              │                           │
//!  the first core's thread   start: waits for the reports            its alarm rings, with the panic's words    wait: bounded
//! ```

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Instant;

use super::builder::{Builder, Plot};
use super::{END_MAX, GRACE};
use crate::blocking::pool::Pool;
use crate::core::{Alarm, Core};
use crate::executor;
use crate::task::panic_message;

/// The cores that have threads of their own.
pub(super) struct Threads {
    threads: Vec<Thread>,
    shared: Arc<Shared>,
}

struct Thread {
    core: usize,
    /// Of the future that waits for the end.
    waker: Waker,
    alarm: Alarm,
    handle: thread::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// A core has left.
    left: Condvar,
}

#[derive(Default)]
struct State {
    /// The cores are to end, and be done then.
    end_by: Option<Instant>,
    running: usize,
}

impl Shared {
    /// Nothing under this lock can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a thread needs to become a core.
struct Start {
    builder: Builder,
    plot: Plot,
    pool: Arc<Pool>,
    /// The first core's: rung if this one is lost.
    alarm: Alarm,
    shared: Arc<Shared>,
}

/// What a core that runs is reached by, besides its inbox.
type Report = (usize, io::Result<(Waker, Alarm)>);

impl Threads {
    pub fn none() -> Threads {
        Threads { threads: Vec::new(), shared: Arc::default() }
    }

    /// Makes a core for each plot, on threads of their own, and waits until all run.
    ///
    /// # Errors
    ///
    /// If one of them cannot be made; then none is left.
    pub fn start(
        builder: &Builder,
        plots: impl Iterator<Item = Plot>,
        pool: &Arc<Pool>,
        alarm: &Alarm,
    ) -> io::Result<Threads> {
        let mut threads = Threads::none();
        let (sender, reports) = mpsc::channel::<Report>();
        let mut handles = BTreeMap::new();
        let mut failed = BTreeMap::new();
        for plot in plots {
            let core = plot.index();
            let shared = threads.shared.clone();
            let start = Start { builder: builder.clone(), plot, pool: pool.clone(), alarm: alarm.clone(), shared };
            match start.spawn(sender.clone()) {
                Ok(handle) => drop(handles.insert(core, handle)),
                Err(error) => {
                    failed.insert(core, io::Error::new(error.kind(), format!("there is no thread for it: {error}")));
                    break;
                }
            }
        }
        drop(sender);
        // Ends when each thread has reported, or died.
        for (core, report) in reports {
            match (report, handles.remove(&core)) {
                (Ok((waker, alarm)), Some(handle)) => threads.threads.push(Thread { core, waker, alarm, handle }),
                (Err(error), _) => drop(failed.insert(core, error)),
                (Ok(_), None) => unreachable!("a core reports once"),
            }
        }
        for (core, _died) in handles {
            failed.entry(core).or_insert_with(|| io::Error::other("its thread panicked as it started"));
        }
        let Some((core, error)) = failed.pop_first() else { return Ok(threads) };
        let deadline = Instant::now() + END_MAX;
        threads.tell_to_end(deadline);
        threads.wait(deadline);
        Err(io::Error::new(error.kind(), format!("core {core} of {}: {error}", builder.cores)))
    }

    /// The alarms of all these cores.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        self.threads.iter().map(|thread| thread.alarm.clone())
    }

    /// Tells all cores to end, and to be done at `deadline`. Waits for nobody.
    pub fn tell_to_end(&self, deadline: Instant) {
        self.shared.lock().end_by = Some(deadline);
        for thread in &self.threads {
            thread.waker.wake_by_ref();
        }
    }

    /// Waits until all cores have ended, and little longer than `deadline`. A thread whose core does not end by then is
    /// left behind.
    pub fn wait(&mut self, deadline: Instant) {
        let deadline = deadline + GRACE;
        let mut state = self.shared.lock();
        while state.running > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.left.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let all_left = state.running == 0;
        drop(state);
        for Thread { core, handle, .. } in self.threads.drain(..) {
            if !all_left && !handle.is_finished() {
                tracing::warn!("core {core} does not end: a task there never yields; its thread is left behind");
            } else if handle.join().is_err() {
                tracing::error!("the thread of core {core} panicked as it ended");
            }
        }
    }
}

impl Start {
    /// # Errors
    ///
    /// Those of a thread that cannot be made: no memory, or too many of them.
    fn spawn(self, reports: Sender<Report>) -> io::Result<thread::JoinHandle<()>> {
        let shared = self.shared.clone();
        // Counted here, so that nobody waits for fewer than there are.
        shared.lock().running += 1;
        let thread = thread::Builder::new().name(format!("gimmal-core-{}", self.plot.index()));
        thread.spawn(move || self.live(reports)).inspect_err(|_| shared.lock().running -= 1)
    }

    /// The life of a thread.
    fn live(self, reports: Sender<Report>) {
        let Start { builder, plot, pool, alarm, shared } = self;
        let _leaving = Leaving(&shared);
        let index = plot.index();
        let core = match builder.build_driver(plot.inbox(), &pool) {
            Ok(driver) => builder.core(plot, driver, &pool),
            Err(error) => return drop(reports.send((index, Err(error)))),
        };
        let _here = core.enter();
        // Whoever builds the runtime waits for this.
        let _received = reports.send((index, Ok((core.tasks.root(), core.alarm()))));
        drop(reports);
        let deadline = run(&core, &shared, &alarm);
        if core.origin.is_left() {
            return std::mem::forget(core.clone());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // Who comes too late is left behind, or soon will be: nobody waits, so it may as well end in order.
        let within = if left.is_zero() { END_MAX } else { left };
        if catch_unwind(AssertUnwindSafe(|| executor::end(std::slice::from_ref(&core), within))).is_err() {
            tracing::error!("core {index} panicked as it ended; what it had is leaked");
            std::mem::forget(core.clone());
        } else {
            core.close_driver();
        }
    }
}

/// Runs a core until it is told to end, or is lost. Returns when the end is to be over.
fn run(core: &Rc<Core>, shared: &Shared, alarm: &Alarm) -> Instant {
    let told = poll_fn(|_| shared.lock().end_by.map_or(Poll::Pending, Poll::Ready));
    let payload = match catch_unwind(AssertUnwindSafe(|| executor::block_on(core, told))) {
        Ok(end_by) => return end_by,
        Err(payload) => payload,
    };
    let lost = format!("core {} of this runtime is lost: {}", core.place.index, panic_message(&*payload));
    tracing::error!("{lost}");
    alarm.ring(&lost);
    // A payload may panic in its own Drop.
    std::mem::forget(payload);
    Instant::now() + END_MAX
}

/// Says that a thread has left, also if it panics.
struct Leaving<'a>(&'a Shared);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cores::spawn_on;
    use crate::runtime::Choice;

    /// Catches: a panic of a core's loop that ends its thread and nothing else; a core that is lost and keeps its
    /// tasks.
    #[test]
    fn a_core_that_is_lost_takes_block_on_with_it_in_words_and_ends_in_order() {
        let runtime = Builder::new().insist_on(Choice::Fallback).cores(3).build().unwrap();
        let drops = Arc::new(AtomicUsize::new(0));
        let captured = CountsDrops(drops.clone());
        let mut waits = None;
        let lost = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                waits = Some(spawn_on(2, move || async move {
                    let _captured = captured;
                    pending::<()>().await
                }));
                let lost = threads_of(&runtime).find(|thread| thread.core == 2).expect("one of three");
                lost.alarm.ring("a test wants it so");
                pending::<()>().await
            });
        }));
        let payload = lost.expect_err("nobody may wait for a core that is lost");
        let words = panic_message(&*payload);
        assert!(words.starts_with("core 2 of this runtime is lost: a test wants it so."), "{words}");
        assert!(words.contains("tasks of core 2: "), "its own dump is told: {words}");
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < END_MAX, "it took {:?}", began.elapsed());
        assert_eq!(drops.load(Ordering::Relaxed), 1, "its tasks are dropped");
        assert!(waits.is_some_and(|waits| waits.is_finished()), "who waits for them hears of it");
    }

    fn threads_of(runtime: &crate::runtime::Runtime) -> impl Iterator<Item = &Thread> {
        runtime.threads.threads.iter()
    }

    struct CountsDrops(Arc<AtomicUsize>);

    impl Drop for CountsDrops {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

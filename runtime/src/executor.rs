//! One core's loop: run what is ready, fire timers, take mail, wait on the driver.
//!
//! Tasks never enter the kernel. One enter a turn submits what they asked for and waits for what comes: when nobody is
//! ready, when so much is queued that it pays, or when the turn has lasted long enough that others must be heard.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::time::ClockId;

use crate::core::Core;
use crate::driver::Park;
use crate::driver::simulated::handle::World;
use crate::time::Duration;

mod ending;

pub(crate) use self::ending::end;

/// So many polls make a turn, however many tasks are ready: four, and then as many readings of the clock as it takes.
const POLLS_MAX: u32 = 4 + 4 * POLLS_PER_CLOCK;
/// Where several cores share a thread, turns are shorter, so that more orders of what they do can be seen.
const POLLS_MAX_TOGETHER: u32 = 16;
/// When the clock shows that a turn has lasted so long, sockets, timers and other threads are looked at.
const TURN_MAX: Duration = Duration::from_micros(200);
/// Reading the clock costs as much as a small poll, so it is not read after each. It is first read after four, since
/// most turns are shorter, and a turn's time counts from there.
const POLLS_PER_CLOCK: u32 = 16;
/// A turn that lasts so long is told: somebody blocks.
const STALL_MIN: Duration = Duration::from_millis(100);

/// Runs the core until `future` is done. Tasks that are not done stay, for the next time.
///
/// # Panics
///
/// If `future` does, and if the driver is lost for good.
pub(crate) fn block_on<F: Future>(core: &Rc<Core>, future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = core.tasks.root();
    let mut context = Context::from_waker(&waker);
    waker.wake_by_ref();
    loop {
        if let Poll::Ready(output) = run_turn(core, POLLS_MAX, &mut || future.as_mut().poll(&mut context)) {
            // What the last tasks asked for (a cancel, a write that nobody waits for) must not lie about.
            core.wait(Park::No).unwrap_or_else(|error| lost(core, &error));
            return output;
        }
        turn_over(core).unwrap_or_else(|error| lost(core, &error));
        core.answer_alarm();
    }
}

/// The same for all cores of a simulated world, which take turns on this thread, as the world's seed says. `future` is
/// the first one's.
///
/// # Panics
///
/// As [`block_on`].
pub(crate) fn block_on_together<F: Future>(cores: &[Rc<Core>], world: &World, future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = cores[0].tasks.root();
    let mut context = Context::from_waker(&waker);
    waker.wake_by_ref();
    loop {
        let (index, polls_max) = world.next_turn(POLLS_MAX_TOGETHER);
        let core = &cores[index];
        let _here = core.enter();
        let root: &mut dyn FnMut() -> Poll<F::Output> =
            if index == 0 { &mut || future.as_mut().poll(&mut context) } else { &mut || Poll::Pending };
        if let Poll::Ready(output) = run_turn(core, polls_max, root) {
            core.wait(Park::No).unwrap_or_else(|error| lost(core, &error));
            return output;
        }
        let describe = || cores.iter().flat_map(|core| core.describe()).collect::<Vec<_>>();
        if let Err(error) = turn_over(core) {
            panic!(
                "the simulated world of these cores is lost: {error}. What there is:\n  {}",
                describe().join("\n  ")
            );
        }
        if cores[0].is_alarmed() {
            cores[0].give_up(&describe());
        }
    }
}

/// Runs ready tasks, and the root when it is woken, until there are none or the turn is over.
fn run_turn<T>(core: &Core, polls_max: u32, root: &mut dyn FnMut() -> Poll<T>) -> Poll<T> {
    let turn_began = coarse_now();
    let output = run_tasks(core, polls_max, root);
    let took = coarse_now().saturating_sub(turn_began);
    if took >= STALL_MIN {
        stalled(core, took);
    }
    output
}

/// The time since some moment, a few milliseconds behind: it costs a fifth of what
/// [`Instant::now`](std::time::Instant::now) does.
#[inline]
fn coarse_now() -> Duration {
    let now = rustix::time::clock_gettime(ClockId::MonotonicCoarse);
    // Never negative: the clock begins with the machine.
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}

#[cold]
fn stalled(core: &Core, took: Duration) {
    core.stalls.set(core.stalls.get() + 1);
    tracing::warn!(
        "tasks kept their core for {} ms without a pause, and all others, timers and sockets waited: what computes or blocks \
         belongs on `spawn_blocking`, or wants a `yield_now` now and then",
        took.as_millis(),
    );
}

fn run_tasks<T>(core: &Core, polls_max: u32, root: &mut dyn FnMut() -> Poll<T>) -> Poll<T> {
    let mut began = None;
    let tasks = &*core.tasks;
    let mut left = polls_max;
    while left > 0 {
        core.refill_inline();
        let is_root = tasks.take_root_wake();
        if is_root {
            if let Poll::Ready(output) = root() {
                return Poll::Ready(output);
            }
            if core.origin.is_left() {
                break;
            }
            core.refill_inline();
        }
        let is_task = tasks.run_next();
        // In a forked child none runs after the one that forked: they are the parent's.
        if !is_root && !is_task || core.is_due() || core.origin.is_left() {
            break;
        }
        left -= 1;
        if left.is_multiple_of(POLLS_PER_CLOCK) {
            // The driver's clock: a simulated world must not depend on how fast this machine is.
            let now = core.now();
            if now.duration_since(*began.get_or_insert(now)) > TURN_MAX {
                break;
            }
        }
    }
    Poll::Pending
}

/// Hears of the world: other threads, timers, the driver. Waits for it if nobody is ready.
#[inline]
fn turn_over(core: &Core) -> io::Result<()> {
    core.ticks.set(core.ticks.get() + 1);
    core.tasks.accept_mail();
    let next_timer = core.fire_timers();
    if core.tasks.is_ready() {
        core.wait(Park::No)
    } else if core.inbox.prepare_to_park() {
        let waited = core.wait(Park::Until(next_timer));
        core.inbox.unparked();
        waited
    } else {
        Ok(())
    }
}

#[cold]
fn lost(core: &Core, error: &io::Error) -> ! {
    let words = format!("the {} driver of this core is lost: {error}", core.metrics().driver);
    tracing::error!("{words}");
    panic!("{words}")
}

//! What `#[runtime::test]` expands to: a body, the driver it runs on, and a watchdog.

use std::fmt;
use std::future::Future;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::core::Alarm;
use crate::driver::simulated::Faults;
use crate::probe::probe;
use crate::runtime::{Builder, Choice};

/// How a test runs.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The test's full name.
    pub name: &'static str,
    /// Who services its requests.
    pub driver: Driver,
    /// How many seeds it runs with, on the simulated driver.
    pub seeds: u64,
    /// After so many seconds the runtime's state is printed and the test fails.
    pub watchdog_secs: u64,
}

/// Who services a test's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// What is there, or what the environment says.
    Auto,
    /// io_uring.
    Ring,
    /// epoll and the blocking pool.
    Fallback,
    /// A kernel in memory.
    Simulated,
}

/// A builder whose driver is `driver`, whatever the environment says. Sizes and features are the environment's still.
///
/// A simulated kernel has seed 0 and no faults.
pub fn builder(driver: Driver) -> Builder {
    match driver {
        Driver::Auto => Builder::new(),
        Driver::Ring => Builder::new().insist_on(Choice::Ring),
        Driver::Fallback => Builder::new().insist_on(Choice::Fallback),
        Driver::Simulated => Builder::new().simulated(0, Faults::none()),
    }
}

/// Whether `test` can run on `driver`. Where io_uring is denied or missing, a test for the ring cannot, and that is told on
/// standard error, past the harness, which shows nothing of what succeeds. A ring that cannot be made for want of memory or
/// descriptors is no reason to skip a test.
#[must_use]
pub fn is_here(driver: Driver, test: &str) -> bool {
    if driver != Driver::Ring {
        return true;
    }
    let probe = probe();
    if probe.driver != "fallback" {
        return true;
    }
    let reason = probe.refusal.unwrap_or_default();
    // Nobody is left to hear of a closed standard error.
    let _told = writeln!(io::stderr(), "skipped: no ring here, so not {test}: {reason}");
    false
}

/// How a test ended: with what its body returned, or before it began.
#[derive(Debug)]
pub enum Outcome<T> {
    /// The body returned.
    Returned(T),
    /// It wants a driver that is not here.
    Skipped,
}

impl<T: Termination> Termination for Outcome<T> {
    fn report(self) -> ExitCode {
        match self {
            Outcome::Returned(value) => value.report(),
            Outcome::Skipped => ExitCode::SUCCESS,
        }
    }
}

/// Runs a test. On the simulated driver it runs once a seed, from 0 up, and stops at the first that fails; the environment
/// variable `GIMMAL_SEED` replays one. A test for the ring is [skipped](is_here) where there is none.
///
/// # Panics
///
/// If the body does; if there is no runtime to run it; if the watchdog barks.
pub fn run<T, F, Fut>(plan: Plan, body: F) -> Outcome<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = T>,
    T: Termination,
{
    let seeds = match std::env::var("GIMMAL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..=seed,
        None if plan.driver == Driver::Simulated => 0..=plan.seeds.saturating_sub(1),
        None => 0..=0,
    };
    let last = *seeds.end();
    for seed in seeds {
        let replay = Replay { plan, seed };
        let output = run_once(plan, seed, &body);
        std::mem::forget(replay);
        let Outcome::Returned(output) = output else { return output };
        if seed == last {
            return Outcome::Returned(output);
        }
        // A result that says «failed» is only known by what it reports.
        if output.report() != ExitCode::SUCCESS {
            drop(Replay { plan, seed });
            panic!("{} failed with seed {seed}", plan.name);
        }
    }
    unreachable!("there is one seed at least")
}

fn run_once<T, F, Fut>(plan: Plan, seed: u64, body: &F) -> Outcome<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = T>,
{
    let builder = match plan.driver {
        Driver::Simulated => Builder::new().simulated(seed, Faults::none()),
        other => builder(other),
    };
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(_) if !is_here(plan.driver, plan.name) => return Outcome::Skipped,
        Err(error) => panic!("no runtime for {}: {error}", plan.name),
    };
    let _watchdog = Watchdog::start(plan, runtime.core().alarm());
    Outcome::Returned(runtime.block_on(body()))
}

/// Prints, when a test panics, how to run it again just so.
struct Replay {
    plan: Plan,
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if self.plan.driver == Driver::Simulated {
            eprintln!("{}", self);
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // cargo knows the test without the name of its crate.
        let name = self.plan.name.split_once("::").map_or(self.plan.name, |(_, name)| name);
        write!(f, "seed {0} failed; to replay it: GIMMAL_SEED={0} cargo test -- --exact {name}", self.seed)
    }
}

/// Rings the core's alarm when a test takes too long; ends the process when even that is not heard.
struct Watchdog {
    over: Arc<(Mutex<bool>, Condvar)>,
}

/// A core that runs a task without end does not hear the alarm; so long it is given to come around.
const GRACE: Duration = Duration::from_secs(5);

impl Watchdog {
    fn start(plan: Plan, alarm: Alarm) -> Watchdog {
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = over.clone();
        let guard = move || {
            let is_over = |wait: Duration| {
                let over = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
                let (over, _) =
                    seen.1.wait_timeout_while(over, wait, |over| !*over).unwrap_or_else(PoisonError::into_inner);
                *over
            };
            if is_over(Duration::from_secs(plan.watchdog_secs)) {
                return;
            }
            alarm.ring();
            if !is_over(GRACE) {
                eprintln!("watchdog: {} runs a task that never yields; the process is aborted", plan.name);
                std::process::abort();
            }
        };
        thread::Builder::new().name("gimmal-watchdog".into()).spawn(guard).expect("a thread for the watchdog");
        Watchdog { over }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.over.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.over.1.notify_all();
    }
}

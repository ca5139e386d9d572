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

mod seeds;

/// How a test is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The test's full name.
    pub name: &'static str,
    /// The package it is in, as cargo calls it.
    pub package: Option<&'static str>,
    /// The driver of its runtime.
    pub driver: Driver,
    /// How many cores its runtime has.
    pub cores: usize,
    /// How many seeds it is run with, on the simulated driver.
    pub seeds: u64,
    /// After this many seconds the runtime's state is printed and the test fails.
    pub watchdog_secs: u64,
}

/// The driver that a test runs on: a [`Choice`], or the simulated kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// What is available, or what the environment says: [`Choice::Auto`].
    Auto,
    /// io_uring.
    Ring,
    /// epoll and the blocking pool.
    Fallback,
    /// A simulated kernel in memory.
    Simulated,
}

/// Returns a builder whose driver is `driver`, whatever the environment says. The environment still decides sizes and
/// features.
///
/// The simulated kernel gets seed 0 and no faults.
pub fn builder(driver: Driver) -> Builder {
    match driver {
        Driver::Auto => Builder::new(),
        Driver::Ring => Builder::new().insist_on(Choice::Ring),
        Driver::Fallback => Builder::new().insist_on(Choice::Fallback),
        Driver::Simulated => Builder::new().simulated(0, Faults::none()),
    }
}

/// Whether `test` can run on `driver`. Where io_uring is denied or missing, a test for the ring cannot run, which is
/// [reported](skipped) on standard error. A ring that cannot be made for lack of memory or descriptors is no reason to
/// skip a test.
#[must_use]
pub fn is_here(driver: Driver, test: &str) -> bool {
    if driver != Driver::Ring {
        return true;
    }
    let probe = probe();
    if probe.driver != "fallback" {
        return true;
    }
    skipped(format_args!("no ring here, so not {test}: {}", probe.refusal.unwrap_or_default()));
    false
}

/// Prints to standard error what a test leaves out on this machine, and why. It bypasses the test harness, which shows
/// no output of tests that pass.
///
/// # Examples
///
/// ```
/// let kernel = rustix::system::uname();
/// if !kernel.release().to_bytes().starts_with(b"7.") {
///     runtime::testing::skipped(format_args!("kernel 7's own, here is {:?}", kernel.release()));
/// }
/// ```
pub fn skipped(what: fmt::Arguments<'_>) {
    // In one write, or what other tests say comes in between. Nobody is left to hear of a closed standard error.
    let _told = io::stderr().write_all(format!("skipped: {what}\n").as_bytes());
}

/// The result of a test: what its body returned, or nothing if it was skipped.
#[derive(Debug)]
pub struct Outcome<T> {
    /// `None` if its driver is not available.
    returned: Option<T>,
    replay: Replay,
}

impl<T: Termination> Termination for Outcome<T> {
    fn report(self) -> ExitCode {
        let Some(returned) = self.returned else { return ExitCode::SUCCESS };
        let code = returned.report();
        // A result that says «failed» is only known by what it reports.
        if code != ExitCode::SUCCESS {
            self.replay.tell();
        }
        code
    }
}

/// Runs a test. On the simulated driver it runs once for each seed, from 0 up, and stops at the first seed that fails.
/// The environment variable `GIMMAL_SEED` replays one seed; `GIMMAL_SEEDS` sets how many seeds to run, or a range such
/// as `1000..6000`. A test for the ring is [skipped](is_here) where there is no ring.
///
/// # Panics
///
/// If the body panics; if no runtime can be built; if the watchdog's time is over; if the environment variables name no
/// valid seeds.
pub fn run<T, F, Fut>(plan: Plan, body: F) -> Outcome<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = T>,
    T: Termination,
{
    let seeds = if plan.driver == Driver::Simulated { seeds::from_environment(plan.seeds.max(1)) } else { 0..1 };
    let last = seeds.end - 1;
    for seed in seeds {
        let replay = Replay { plan, seed };
        let guard = TellOnPanic(replay);
        let returned = run_once(plan, seed, &body);
        std::mem::forget(guard);
        let outcome = Outcome { returned, replay };
        if seed == last {
            return outcome;
        }
        assert!(outcome.report() == ExitCode::SUCCESS, "{} failed with seed {seed}", plan.name);
    }
    unreachable!("there is one seed at least")
}

/// `None` if the driver is not available.
fn run_once<T, F, Fut>(plan: Plan, seed: u64, body: &F) -> Option<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = T>,
{
    let builder = match plan.driver {
        Driver::Simulated => Builder::new().simulated(seed, Faults::none()),
        other => builder(other),
    };
    let runtime = match builder.cores(plan.cores).build() {
        Ok(runtime) => runtime,
        Err(_) if !is_here(plan.driver, plan.name) => return None,
        Err(error) => panic!("no runtime for {}: {error}", plan.name),
    };
    let _watchdog = Watchdog::start(Replay { plan, seed }, runtime.alarms());
    Some(runtime.block_on(body()))
}

/// How to replay a test.
#[derive(Debug, Clone, Copy)]
struct Replay {
    plan: Plan,
    seed: u64,
}

impl Replay {
    /// Prints the line, where there is a seed to replay.
    fn tell(self) {
        if self.plan.driver == Driver::Simulated {
            eprintln!("{self}");
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replay { plan: Plan { name, package, .. }, seed } = self;
        // cargo knows the test without the name of its crate.
        let name = name.split_once("::").map_or(*name, |(_, name)| name);
        write!(f, "seed {seed} failed; to replay it: GIMMAL_SEED={seed} cargo test")?;
        if let Some(package) = package {
            write!(f, " -p {package}")?;
        }
        write!(f, " -- --exact {name}")
    }
}

/// Prints how to replay a test if its body panics.
struct TellOnPanic(Replay);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        self.0.tell();
    }
}

/// Makes the cores panic with a dump when a test takes too long, and aborts the process if a core does not react.
struct Watchdog {
    over: Arc<(Mutex<bool>, Condvar)>,
}

/// A core whose task never yields does not see the alarm. It gets this long to return to its loop.
const GRACE: Duration = Duration::from_secs(5);

impl Watchdog {
    fn start(replay: Replay, alarms: Vec<Alarm>) -> Watchdog {
        let plan = replay.plan;
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
            alarms.iter().for_each(|alarm| alarm.ring("watchdog: it takes too long"));
            if !is_over(GRACE) {
                eprintln!("watchdog: {} runs a task that never yields; the process is aborted", plan.name);
                replay.tell();
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

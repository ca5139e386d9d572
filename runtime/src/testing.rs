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

/// How a test runs.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The test's full name.
    pub name: &'static str,
    /// The package it is in, as cargo calls it.
    pub package: Option<&'static str>,
    /// Who services its requests.
    pub driver: Driver,
    /// How many cores its runtime has.
    pub cores: usize,
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

/// Whether `test` can run on `driver`. Where io_uring is denied or missing, a test for the ring cannot, and that is
/// told on standard error, past the harness, which shows nothing of what succeeds. A ring that cannot be made for want
/// of memory or descriptors is no reason to skip a test.
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

/// Tells on standard error what a test leaves out here, and why: past the harness, which shows nothing of what
/// succeeds.
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

/// How a test ended: with what its body returned, or before it began.
#[derive(Debug)]
pub struct Outcome<T> {
    /// `None` if it wants a driver that is not here.
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

/// Runs a test. On the simulated driver it runs once a seed, from 0 up, and stops at the first that fails. The
/// environment variable `GIMMAL_SEED` replays one, `GIMMAL_SEEDS` takes others: so many of them, or a range such as
/// `1000..6000`. A test for the ring is [skipped](is_here) where there is none.
///
/// # Panics
///
/// If the body does; if there is no runtime to run it; if the watchdog barks; if the environment names seeds that are
/// none.
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

/// `None`: the driver is not here.
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

/// How to run a test again just so.
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

/// Tells how to replay a test whose body panics.
struct TellOnPanic(Replay);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        self.0.tell();
    }
}

/// Rings the cores' alarms when a test takes too long; ends the process when even that is not heard.
struct Watchdog {
    over: Arc<(Mutex<bool>, Condvar)>,
}

/// A core that runs a task without end does not hear the alarm; so long it is given to come around.
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

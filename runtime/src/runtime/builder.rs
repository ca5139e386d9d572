//! Building a runtime: what can be set, and what is made of it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::Runtime;
use super::threads::Threads;
use crate::blocking::pool::{Pool, QUEUE_MAX, THREADS_MAX};
use crate::core::{Core, Place};
use crate::driver::Driver;
use crate::driver::fallback::Fallback;
use crate::driver::refusal::{Sizes, without_descriptors};
use crate::driver::setup::{self, Feature, Features};
use crate::driver::simulated::{Faults, Simulated};
use crate::inbox::Inbox;
use crate::task::{Address, Site};

mod environment;

pub(crate) use self::environment::overrides;

/// Which driver services the requests of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Choice {
    /// io_uring where it is available, else the fallback, with a warning that names the cause.
    #[default]
    Auto,
    /// io_uring, or an error that names the cause and what helps.
    Ring,
    /// epoll and the blocking pool.
    Fallback,
}

/// More cores than this are a slip of the keyboard.
const CORES_MAX: usize = 1024;

/// Settings of a runtime, and how it is built.
///
/// The environment overrides what the program says, so that the person who runs it decides, and a whole test suite can
/// be run on a tiny ring or on the fallback: `GIMMAL_DRIVER` (`auto`, `ring`, `fallback`), `GIMMAL_ENTRIES`,
/// `GIMMAL_CQ_ENTRIES`, `GIMMAL_BUFFERS`, `GIMMAL_WITHOUT` (names of [features](Feature), separated by commas). A
/// simulated runtime stays simulated.
///
/// # Examples
///
/// ```
/// use runtime::{Builder, Choice};
///
/// let runtime = Builder::new().driver(Choice::Fallback).entries(64).build()?;
/// assert_eq!(runtime.block_on(async { 6 * 7 }), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    choice: Choice,
    simulated: Option<(u64, Faults)>,
    pub(super) cores: usize,
    entries: u32,
    cq_entries: Option<u32>,
    buffers: usize,
    blocking_threads: usize,
    blocking_queue: usize,
    features: Features,
    reads_environment: bool,
    /// The environment's `GIMMAL_DRIVER` is for others.
    insists: bool,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// The defaults: the driver is chosen by what is available; SQ 256, CQ 4096 (84 KiB of lockable memory per core);
    /// 64 buffers; a blocking pool of 64 threads and 4096 queued jobs.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = runtime::Builder::new().build()?;
    /// runtime.block_on(async { println!("on the {} driver", runtime::metrics().driver) });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> Builder {
        Builder {
            choice: Choice::Auto,
            simulated: None,
            cores: 1,
            entries: 256,
            cq_entries: None,
            buffers: 64,
            blocking_threads: THREADS_MAX,
            blocking_queue: QUEUE_MAX,
            features: Features::WANTED,
            reads_environment: true,
            insists: false,
        }
    }

    /// Sets which driver services requests. The default is [`Choice::Auto`]. Undoes [`simulated`](Builder::simulated).
    ///
    /// # Examples
    ///
    /// A program that refuses to start without io_uring:
    ///
    /// ```
    /// use runtime::{Builder, Choice};
    ///
    /// match Builder::new().driver(Choice::Ring).ignore_environment().build() {
    ///     Ok(runtime) => assert_eq!(runtime.block_on(async { runtime::metrics().driver }), "ring"),
    ///     Err(refused) => assert!(refused.to_string().contains("io_uring")),      // the cause, and the cure
    /// }
    /// ```
    #[must_use]
    pub fn driver(mut self, choice: Choice) -> Builder {
        self.choice = choice;
        self.simulated = None;
        self
    }

    /// Has a simulated kernel in memory service requests, in an order and with faults that `seed` decides. Nothing
    /// outside the process is touched. The [guide](crate::simulated) says what is simulated.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::simulated::Faults;
    /// use runtime::{Builder, time::{Duration, sleep}};
    ///
    /// let runtime = Builder::new().simulated(42, Faults::none()).build()?;
    /// runtime.block_on(sleep(Duration::from_secs(3600)));     // an hour there, and no time here
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn simulated(mut self, seed: u64, faults: Faults) -> Builder {
        self.simulated = Some((seed, faults));
        self
    }

    /// Sets the number of cores, 1 to 1024: one on the thread that builds the runtime, every other one on a thread of
    /// its own, with its own driver. All share the blocking pool. `std::thread::available_parallelism` says how many
    /// are useful.
    ///
    /// With [`simulated`](Builder::simulated), all cores take turns on one thread, in an order that the seed decides.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = runtime::Builder::new().cores(2).build()?;
    /// let answer = runtime.block_on(runtime::spawn_on(1, || async { 6 * 7 }))?;
    /// assert_eq!(answer, 42);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn cores(mut self, cores: usize) -> Builder {
        self.cores = cores;
        self
    }

    /// Sets how many requests the submission queue holds, 1 to 32768, rounded up to a power of two. The default is 256.
    /// Further requests wait in memory, one entry per op in flight. Only the ring driver has such a queue.
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = runtime::Builder::new().entries(4).build()?;
    /// runtime.block_on(async {
    ///     let nops = [(); 64].map(|()| runtime::spawn(runtime::submit(runtime::op::Nop)));
    ///     for nop in nops {
    ///         nop.await??;
    ///     }
    /// # Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn entries(mut self, entries: u32) -> Builder {
        self.entries = entries;
        self
    }

    /// Sets how many replies the completion queue holds, rounded up to a power of two. The default is 16 times the
    /// submission queue; it is never smaller than that queue. When more replies arrive the kernel keeps them: nothing
    /// is lost, but each such overflow costs time, and [`Metrics::overflows`](crate::Metrics::overflows) counts them.
    /// Only the ring driver has such a queue.
    ///
    /// # Examples
    ///
    /// For 10,000 connections that may all become readable at once:
    ///
    /// ```
    /// let runtime = runtime::Builder::new().cq_entries(16_384).build()?;
    /// # runtime.block_on(async {});
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn cq_entries(mut self, cq_entries: u32) -> Builder {
        self.cq_entries = Some(cq_entries);
        self
    }

    /// Sets how many buffers of 256 KiB each core has for reads and writes of lent memory that must wait. The default
    /// is 64. They are allocated when first needed. An op that finds none free waits for one, in the order in which
    /// such ops were first polled.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::{Builder, buf::pool::piece, time::{Duration, timeout}};
    ///
    /// let runtime = Builder::new().buffers(1).ignore_environment().build()?;
    /// runtime.block_on(async {
    ///     let only = piece(4096).await;
    ///     assert!(timeout(Duration::from_millis(1), piece(4096)).await.is_err());
    ///     drop(only);
    ///     assert!(timeout(Duration::from_secs(60), piece(4096)).await.is_ok());
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn buffers(mut self, buffers: usize) -> Builder {
        self.buffers = buffers;
        self
    }

    /// Sets how many threads [`spawn_blocking`](crate::spawn_blocking) and slow calls may use at most, for all cores
    /// together. The default is 64. They are started when needed, and end when idle.
    ///
    /// The kernel starts threads too, for ring operations that may block: opening, syncing, most writes to files. Their
    /// number is bounded by the same value for each ring. (The kernel's own bound is four per processor: that many
    /// opens of a FIFO without another end, or reads from a file server that is gone, would hold up all files of the
    /// core.)
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = runtime::Builder::new().blocking_threads(1).build()?;
    /// runtime.block_on(async {
    ///     let thread = || std::thread::current().id();
    ///     let (one, other) = (runtime::spawn_blocking(thread), runtime::spawn_blocking(thread));
    ///     assert_eq!(one.await?, other.await?);
    /// # Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn blocking_threads(mut self, threads: usize) -> Builder {
        self.blocking_threads = threads;
        self
    }

    /// Sets how many blocking jobs may queue for a thread, for all cores together. The default is 4096. Further jobs
    /// wait in a line of their core's own, and the lines take turns as the queue gets room: the shorter the queue, the
    /// less a core that floods the pool delays the others.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::{Builder, spawn_blocking};
    ///
    /// let runtime = Builder::new().blocking_threads(1).blocking_queue(1).build()?;
    /// runtime.block_on(async {
    ///     let jobs = [1, 2, 3, 4].map(|number| spawn_blocking(move || number * number));
    ///     let mut squares = 0;
    ///     for job in jobs {
    ///         squares += job.await?;                          // none is refused: those without room wait for it
    ///     }
    ///     assert_eq!(squares, 1 + 4 + 9 + 16);
    /// # Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn blocking_queue(mut self, jobs: usize) -> Builder {
        self.blocking_queue = jobs;
        self
    }

    /// Hides a feature that the kernel may have, to test what happens where it is missing. It has no effect on drivers
    /// other than the ring.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::{Builder, Feature};
    ///
    /// let runtime = Builder::new().without(Feature::RegisteredRing).build()?;
    /// runtime.block_on(async { runtime::submit(runtime::op::Nop).await })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn without(mut self, feature: Feature) -> Builder {
        self.features.remove(feature);
        self
    }

    /// Sets the driver, whatever the environment says: for tests of one driver.
    #[must_use]
    pub(crate) fn insist_on(mut self, choice: Choice) -> Builder {
        self.insists = true;
        self.driver(choice)
    }

    /// Ignores the environment: the program's settings hold.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::{Builder, Choice};
    ///
    /// // Also where GIMMAL_DRIVER=ring is set.
    /// let runtime = Builder::new().driver(Choice::Fallback).ignore_environment().build()?;
    /// assert_eq!(runtime.block_on(async { runtime::metrics().driver }), "fallback");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn ignore_environment(mut self) -> Builder {
        self.reads_environment = false;
        self
    }

    /// Builds the runtime on this thread, where it stays; each further core gets a thread of its own, `gimmal-core-1`
    /// and so on. The driver is chosen once, by this thread's core; the other cores must get the same.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a size of 0, for too many cores, and for environment variables
    /// that make no sense. If no ring is available and the fallback is not allowed, or if memory, descriptors or
    /// threads ran out, the error says what was tried, what the kernel answered, what that likely means and what helps;
    /// nothing is left running. [`AlreadyExists`](io::ErrorKind::AlreadyExists) if this thread has a runtime already.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use runtime::Builder;
    ///
    /// let _runtime = Builder::new().cores(2).build()?;
    /// assert_eq!(Builder::new().build().unwrap_err().kind(), ErrorKind::AlreadyExists);
    /// assert_eq!(Builder::new().cores(0).build().unwrap_err().kind(), ErrorKind::InvalidInput);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn build(mut self) -> io::Result<Runtime> {
        if self.reads_environment {
            self.read_environment()?;
        }
        self.check_sizes()?;
        if !(1..=CORES_MAX).contains(&self.cores) {
            return Err(invalid(format!("a runtime has 1 to {CORES_MAX} cores, not {}", self.cores)));
        }
        let plots = Plot::several(self.cores)?;
        let pool = Pool::new(self.blocking_threads, self.blocking_queue);
        match self.simulated.take() {
            Some((seed, faults)) => {
                let cores = self.simulated_cores(seed, faults, plots, &pool);
                Runtime::start(cores, |_| Ok(Threads::none()))
            }
            None => {
                let mut plots = plots.into_iter();
                let plot = plots.next().expect("one at least");
                let driver = self.build_driver(plot.inbox(), &pool)?;
                // What this thread's core got, all must get.
                self.choice = if let Driver::Fallback(_) = driver { Choice::Fallback } else { Choice::Ring };
                let first = self.core(plot, driver, &pool);
                Runtime::start(vec![first], |first| Threads::start(&self, plots, &first.pool, &first.alarm()))
            }
        }
    }

    /// Makes a core, on this thread.
    pub(super) fn core(&self, plot: Plot, driver: Driver, pool: &Arc<Pool>) -> Rc<Core> {
        if plot.index() == 0 {
            tracing::debug!(driver = driver.name(), entries = self.entries, cores = self.cores, "runtime starts");
        }
        Core::new(plot.site, plot.place, driver, pool.clone(), self.buffers)
    }

    fn simulated_cores(&self, seed: u64, faults: Faults, plots: Vec<Plot>, pool: &Arc<Pool>) -> Vec<Rc<Core>> {
        let mut world = None;
        let cores = plots.into_iter().map(|plot| {
            let driver = match &world {
                None => Simulated::new(seed, faults.clone(), plot.inbox().clone()),
                Some(world) => Simulated::beside(world, plot.inbox().clone()),
            };
            world.get_or_insert_with(|| driver.world());
            let helpers = pool.clone();
            let driver = Driver::Simulated(driver.with_helpers(move || helpers.is_busy()));
            self.core(plot, driver, pool)
        });
        cores.collect()
    }

    pub(super) fn build_driver(&self, inbox: &Arc<Inbox>, pool: &Arc<Pool>) -> io::Result<Driver> {
        let fallback = || {
            let made = Fallback::new(inbox.clone(), pool.clone());
            made.map(Driver::Fallback).map_err(|error| without_descriptors("epoll_create1(2)", error))
        };
        if self.choice == Choice::Fallback {
            return fallback();
        }
        match setup::ring(self.sizes(self.cores), self.features, inbox, pool) {
            Ok(ring) => Ok(Driver::Ring(ring)),
            Err(refusal) if self.choice == Choice::Auto && refusal.is_denial() => {
                tracing::warn!(
                    "no io_uring, so epoll and a thread pool serve instead: {}; {}",
                    refusal.reason(),
                    refusal.cures().join(", or "),
                );
                fallback()
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// What `cores` rings of such a runtime ask for.
    pub(crate) fn sizes(&self, cores: usize) -> Sizes {
        let cq_entries = self.cq_entries.unwrap_or(self.entries.saturating_mul(16));
        // The kernel takes no larger number.
        let workers = i32::try_from(self.blocking_threads).unwrap_or(i32::MAX).cast_unsigned();
        Sizes { entries: self.entries, cq_entries: cq_entries.max(self.entries), workers, cores }
    }

    fn check_sizes(&self) -> io::Result<()> {
        let sizes = [
            (self.entries == 0, "Builder::entries is 0 (GIMMAL_ENTRIES sets it, too): a ring has at least 1"),
            (
                self.cq_entries == Some(0),
                "Builder::cq_entries is 0 (GIMMAL_CQ_ENTRIES sets it, too): a ring has at least 1",
            ),
            (
                self.buffers == 0,
                "Builder::buffers is 0 (GIMMAL_BUFFERS sets it, too): what must be copied needs at least 1",
            ),
            (self.blocking_threads == 0, "Builder::blocking_threads is 0: the blocking pool needs at least 1"),
            (self.blocking_queue == 0, "Builder::blocking_queue is 0: the blocking pool needs room for at least 1 job"),
        ];
        match sizes.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, why)) => Err(invalid(why.into())),
            None => Ok(()),
        }
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// A core to be, on a thread to be.
pub(super) struct Plot {
    site: Site,
    place: Place,
}

impl Plot {
    fn several(cores: usize) -> io::Result<Vec<Plot>> {
        let mut sites = Vec::with_capacity(cores);
        let mut addresses = Vec::with_capacity(cores);
        for _ in 0..cores {
            let site = Site::new();
            let inbox = Inbox::new().map_err(|error| without_descriptors("eventfd(2)", error))?;
            addresses.push(Address::new(&site, inbox));
            sites.push(site);
        }
        let addresses: Arc<[Address]> = addresses.into();
        let place = |index| Place { index, addresses: addresses.clone() };
        Ok(sites.into_iter().enumerate().map(|(index, site)| Plot { site, place: place(index) }).collect())
    }

    pub(super) fn index(&self) -> usize {
        self.place.index
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        self.place.addresses[self.place.index].inbox()
    }
}

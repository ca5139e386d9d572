//! The state of a simulated world: one kernel, which all its cores and handles share.
//!
//! Several cores share the time. It goes on only when each of them waits, and then to what happens next for any of
//! them, so that a core that is slow to be run misses nothing. They are run one after the other on one thread.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock::Clock;
use super::descriptors::{Descriptors, Object, Waitable};
use super::faults::{Faults, Ledger};
use super::files::FileSystem;
use super::network::Network;
use super::pipes::Pipes;
use super::random::Random;
use crate::fd::{Fd, SimulatedKernel};
use crate::inbox::Inbox;

/// A world behind its lock. Descriptors may be dropped on any thread, and must not be while the lock is held: see
/// [`Kernel::discarded`].
pub(super) struct Shared {
    kernel: Mutex<Kernel>,
}

impl Shared {
    pub fn new(seed: u64, faults: Faults) -> Arc<Shared> {
        Arc::new(Shared { kernel: Mutex::new(Kernel::new(seed, faults)) })
    }

    /// A panic elsewhere does not spoil the world: each change to it is whole before anything can panic.
    pub fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimulatedKernel for Shared {
    fn close(&self, number: u32) {
        self.lock().close(number);
    }
}

/// All there is in a world.
pub(super) struct Kernel {
    pub seed: u64,
    pub clock: Clock,
    pub ledger: Ledger,
    pub descriptors: Descriptors,
    pub files: FileSystem,
    pub network: Network,
    pub pipes: Pipes,
    /// Order and time of replies.
    pub schedule: Random,
    /// What the program and its tests draw.
    pub draws: Random,
    /// Descriptors that a close took, to be dropped when the world is unlocked: their drop locks it.
    pub discarded: Vec<Fd>,
    /// What was asked and is not modelled.
    pub unsupported: BTreeSet<String>,
    /// How often the machine started.
    pub boots: u64,
    /// Requests that are not answered, of all cores, those included that ended before.
    pub unanswered: usize,
    cores: Vec<Option<Core>>,
}

/// What the world knows of a core.
struct Core {
    inbox: Arc<Inbox>,
    /// What became ready since the core looked.
    touched: BTreeSet<Waitable>,
    /// When its next reply is due.
    due: Option<u64>,
    /// It has nothing to do until this moment, if there is one.
    idle: Option<Option<u64>>,
}

impl Core {
    fn wants(&self, now_ns: u64) -> bool {
        let Some(until) = self.idle else { return true };
        let is_over = |moment: Option<u64>| moment.is_some_and(|moment| moment <= now_ns);
        self.inbox.is_wanted() || !self.touched.is_empty() || is_over(until) || is_over(self.due)
    }
}

/// Where time can go from here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Nowhere: another core has something to do.
    Busy,
    /// Something happens then.
    At(u64),
    /// Nothing will happen any more.
    Nothing,
}

impl Kernel {
    fn new(seed: u64, faults: Faults) -> Kernel {
        let mut random = Random::new(seed);
        Kernel {
            seed,
            clock: Clock::new(),
            ledger: Ledger::new(faults, random.fork()),
            descriptors: Descriptors::new(),
            files: FileSystem::new(),
            network: Network::new(random.fork()),
            pipes: Pipes::default(),
            schedule: random.fork(),
            draws: random.fork(),
            discarded: Vec::new(),
            unsupported: BTreeSet::new(),
            boots: 1,
            unanswered: 0,
            cores: Vec::new(),
        }
    }

    pub fn now_ns(&self) -> u64 {
        self.clock.elapsed_ns()
    }

    /// Another core comes to live here.
    pub fn add_core(&mut self, inbox: Arc<Inbox>) -> usize {
        self.cores.push(Some(Core { inbox, touched: BTreeSet::new(), due: None, idle: None }));
        self.cores.len() - 1
    }

    pub fn remove_core(&mut self, core: usize) {
        self.cores[core] = None;
    }

    /// The core runs its tasks: time waits for it.
    pub fn set_busy(&mut self, core: usize) {
        if let Some(core) = &mut self.cores[core] {
            core.idle = None;
        }
    }

    /// The core waits, for its replies or until a moment.
    pub fn set_idle(&mut self, core: usize, until: Option<u64>, due: Option<u64>) {
        if let Some(core) = &mut self.cores[core] {
            core.idle = Some(until);
            core.due = due;
        }
    }

    /// Where time can go from here.
    pub fn ahead(&self) -> Ahead {
        let mut next = self.network.next_due();
        for core in self.cores.iter().flatten() {
            let Some(until) = core.idle else { return Ahead::Busy };
            if core.inbox.is_wanted() || !core.touched.is_empty() {
                return Ahead::Busy;
            }
            next = [next, until, core.due].into_iter().flatten().min();
        }
        next.map_or(Ahead::Nothing, Ahead::At)
    }

    /// Whose turn it is: of the cores that have something to do, a drawn one. When there is none, anybody's, whose wait
    /// then lets time go on.
    pub fn next_turn(&mut self) -> usize {
        let now_ns = self.clock.elapsed_ns();
        let wanted =
            self.cores.iter().enumerate().filter(|(_, core)| core.as_ref().is_some_and(|core| core.wants(now_ns)));
        let wanted: Vec<usize> = wanted.map(|(index, _)| index).collect();
        match wanted.len() {
            0 => self.cores.iter().position(Option::is_some).expect("a world whose cores are asked has one"),
            1 => wanted[0],
            several => wanted[usize::try_from(self.schedule.below(several as u64)).expect("one of few")],
        }
    }

    /// Lets happen what is due, and tells the cores what became ready.
    pub fn settle(&mut self) {
        self.network.settle(self.clock.elapsed_ns());
        let sockets = self.network.take_touched().into_iter().map(Waitable::Socket);
        let pipes = self.pipes.take_touched().into_iter().map(Waitable::Pipe);
        let touched: BTreeSet<Waitable> = sockets.chain(pipes).collect();
        for core in self.cores.iter_mut().flatten() {
            core.touched.extend(&touched);
        }
    }

    /// What became ready since this core looked.
    pub fn take_touched(&mut self, core: usize) -> BTreeSet<Waitable> {
        self.cores[core].as_mut().map(|core| std::mem::take(&mut core.touched)).unwrap_or_default()
    }

    /// A little time passes, as it does while programs run: who spins gets somewhere.
    pub fn tick(&mut self) {
        let passed = 50 + self.schedule.below(200);
        self.clock.advance_to(self.clock.elapsed_ns() + passed);
    }

    pub fn close(&mut self, number: u32) {
        match self.descriptors.remove(number) {
            Some(Object::Socket(socket)) => self.network.close(socket, self.clock.elapsed_ns()),
            Some(Object::Pipe(pipe, end)) => self.pipes.close(pipe, end),
            Some(Object::File(file)) if file.is_temporary() => self.files.forget(file.inode()),
            Some(Object::File(_) | Object::Dead) | None => {}
        }
    }

    /// The power goes, and comes back at once.
    pub fn power_cut(&mut self) {
        self.boots += 1;
        self.network.power_cut(self.clock.elapsed_ns());
        self.pipes.power_cut();
        self.files.power_cut(&mut self.schedule);
        self.descriptors.die();
    }
}

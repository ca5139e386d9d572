//! What can go wrong in a simulated world, how often, and where it did.
//!
//! A fault strikes by chance, or once at a chosen step. It strikes only where the real kernel could do the same: see
//! [`places`]. What struck where is counted, so that a suite can print which cells of ops by faults it reached.

use std::collections::BTreeMap;

use super::random::Random;

pub(super) mod places;

use places::{Kind, place};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A reply takes 1 ms to 200 ms instead of less than 100 us.
    Delay,
    /// A reply falls behind others that are due with it.
    Reorder,
    /// Fewer bytes are transferred than could be.
    Short,
    /// EINTR, and nothing was done.
    Interrupted,
    /// EAGAIN from a call that must not wait, although it would not have had to.
    WouldBlock,
    /// ECANCELED although nobody asked for it, as when a kernel worker ends.
    Canceled,
    /// ENOBUFS: the network has no memory left.
    NoBuffers,
    /// EMFILE: no descriptor is left.
    DescriptorsFull,
    /// ENOMEM.
    NoMemory,
    /// ENOSPC: the disk is full.
    NoSpace,
    /// EIO. After a sync that failed so, what was not written yet never will be, as on Linux.
    IoError,
    /// The connection is reset: ECONNRESET now, and for the other side too. An accept answers ECONNABORTED.
    Reset,
    /// A cancel takes so long that what it shall stop may well finish.
    LateCancel,
    /// An op with many replies ends with a good one.
    EndsEarly,
    /// The completion queue overflows: replies that are due come with a later wait.
    Overflow,
    /// The submission queue is full: a request reaches the kernel later.
    QueueFull,
    /// What not every kernel and file system has. A read that must not wait for a disk answers EOPNOTSUPP, and whoever
    /// asks does without from then on; an op that is newer than 6.1 is done by a thread, which takes longer.
    Missing,
    /// The power goes, and comes back at once: what was not synced may be gone, and every descriptor is dead.
    PowerCut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 18] = [
        Fault::Delay,
        Fault::Reorder,
        Fault::Short,
        Fault::Interrupted,
        Fault::WouldBlock,
        Fault::Canceled,
        Fault::NoBuffers,
        Fault::DescriptorsFull,
        Fault::NoMemory,
        Fault::NoSpace,
        Fault::IoError,
        Fault::Reset,
        Fault::LateCancel,
        Fault::EndsEarly,
        Fault::Overflow,
        Fault::QueueFull,
        Fault::Missing,
        Fault::PowerCut,
    ];

    /// Whether a program need not notice: the kernel may do so on the best of days, and the runtime makes up for it.
    #[must_use]
    pub fn is_ordinary(self) -> bool {
        match self {
            Fault::Delay
            | Fault::Reorder
            | Fault::Short
            | Fault::Interrupted
            | Fault::WouldBlock
            | Fault::LateCancel
            | Fault::EndsEarly
            | Fault::Overflow
            | Fault::QueueFull
            | Fault::Missing => true,
            Fault::Canceled
            | Fault::NoBuffers
            | Fault::DescriptorsFull
            | Fault::NoMemory
            | Fault::NoSpace
            | Fault::IoError
            | Fault::Reset
            | Fault::PowerCut => false,
        }
    }
}

/// Which faults strike, and how often.
///
/// # Examples
///
/// ```
/// use runtime::simulated::{Fault, Faults};
///
/// let faults = Faults::ordinary().with(Fault::Reset, 0.01).at_step(1_000, Fault::PowerCut);
/// # let _ = faults;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    probabilities: BTreeMap<Fault, f64>,
    planned: Vec<(u64, Fault)>,
}

/// How often a fault strikes, of the times that it could, unless said otherwise.
const USUAL: f64 = 0.05;

impl Faults {
    /// Nothing goes wrong. Order and time of replies still follow the seed.
    pub fn none() -> Faults {
        Faults { probabilities: BTreeMap::new(), planned: Vec::new() }
    }

    /// What the kernel may do on the best of days, one time in twenty each: delays, short counts, EINTR, full queues …
    /// A program that is written as for the real kernel passes without noticing.
    ///
    /// # Examples
    ///
    /// ```
    /// use runtime::simulated::{Fault, Faults};
    ///
    /// let all = Fault::ALL.into_iter().filter(|fault| fault.is_ordinary());
    /// assert_eq!(Faults::ordinary(), all.fold(Faults::none(), |faults, fault| faults.with(fault, 0.05)));
    /// ```
    pub fn ordinary() -> Faults {
        let ordinary = Fault::ALL.into_iter().filter(|fault| fault.is_ordinary());
        ordinary.fold(Faults::none(), |faults, fault| faults.with(fault, USUAL))
    }

    /// The ordinary faults one time in twenty, errors one time in a hundred, the power cut one time in ten thousand.
    pub fn all() -> Faults {
        let rare = Fault::ALL.into_iter().filter(|fault| !fault.is_ordinary());
        rare.fold(Faults::ordinary(), |faults, fault| {
            faults.with(fault, if fault == Fault::PowerCut { 0.0001 } else { 0.01 })
        })
    }

    /// `fault` strikes with this probability wherever it can: 0 is never, 1 each time.
    #[must_use]
    pub fn with(mut self, fault: Fault, probability: f64) -> Faults {
        self.probabilities.insert(fault, probability);
        self
    }

    /// `fault` strikes once, the first time that it can at `step` or later. Steps are counted by
    /// [`World::steps`](super::handle::World::steps).
    #[must_use]
    pub fn at_step(mut self, step: u64, fault: Fault) -> Faults {
        self.planned.push((step, fault));
        self
    }
}

impl Default for Faults {
    fn default() -> Faults {
        Faults::none()
    }
}

/// Decides when faults strike, and remembers where they did.
#[derive(Debug)]
pub(super) struct Ledger {
    faults: Faults,
    random: Random,
    step: u64,
    reached: BTreeMap<(Kind, Fault), u64>,
}

impl Ledger {
    pub fn new(faults: Faults, random: Random) -> Ledger {
        Ledger { faults, random, step: 0, reached: BTreeMap::new() }
    }

    /// Other faults from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// One thing more happens.
    pub fn step(&mut self) {
        self.step += 1;
    }

    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Whether `fault` strikes an op of this kind now. Whoever asks makes it happen.
    pub fn strikes(&mut self, fault: Fault, kind: Kind) -> bool {
        if place(kind, fault).is_err() {
            return false;
        }
        let planned = self.faults.planned.iter().position(|&(step, what)| what == fault && step <= self.step);
        let strikes = match planned {
            Some(index) => {
                self.faults.planned.swap_remove(index);
                true
            }
            None => self.random.chance(self.faults.probabilities.get(&fault).copied().unwrap_or(0.0)),
        };
        if strikes {
            *self.reached.entry((kind, fault)).or_default() += 1;
        }
        strikes
    }

    /// Which faults struck which ops, and how often.
    pub fn reached(&self) -> impl Iterator<Item = (Kind, Fault, u64)> {
        self.reached.iter().map(|(&(kind, fault), &count)| (kind, fault, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(faults: Faults) -> Ledger {
        Ledger::new(faults, Random::new(1))
    }

    #[test]
    fn a_planned_fault_strikes_once_at_the_first_chance_after_its_step() {
        let mut ledger = ledger(Faults::none().at_step(2, Fault::Short));
        let mut struck = Vec::new();
        for kind in [Kind::Read, Kind::Read, Kind::Open, Kind::Read, Kind::Read] {
            struck.push(ledger.strikes(Fault::Short, kind));
            ledger.step();
        }
        // Step 2 opens a file, which cannot be short.
        assert_eq!(struck, [false, false, false, true, false]);
        assert_eq!(ledger.reached().collect::<Vec<_>>(), [(Kind::Read, Fault::Short, 1)]);
    }

    #[test]
    fn ordinary_faults_hold_no_error_that_a_program_would_see() {
        let ordinary = Faults::ordinary();
        for fault in [Fault::IoError, Fault::NoMemory, Fault::Reset, Fault::Canceled, Fault::PowerCut] {
            assert!(!ordinary.probabilities.contains_key(&fault), "{fault:?}");
        }
        assert_eq!(Faults::all().probabilities.len(), Fault::ALL.len());
    }
}

//! Setting a ring up: which features, which sizes.
//!
//! Features are found by trying, never by the kernel's version: vendors backport. Sizes shrink when memory is short,
//! since ring memory counts against RLIMIT_MEMLOCK a user, and is given back late.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::opcode;
use rustix::io::Errno;
use rustix::process::Resource;

use super::refusal::{Refusal, Sizes, limit_in_kib};
use super::ring::Ring;
use crate::blocking::pool::Pool;
use crate::inbox::Inbox;

/// An optional feature of newer kernels' rings, without which the runtime works, too.
///
/// For tests they can be switched off, with [`Builder::without`](crate::Builder::without) or the environment variable
/// `GIMMAL_WITHOUT` (the names given here, separated by commas).
///
/// # Examples
///
/// ```
/// use runtime::Feature;
///
/// assert_eq!(Feature::named("ftruncate"), Some(Feature::Ftruncate));
/// assert_eq!((Feature::Ftruncate.since(), Feature::Ftruncate.is_op()), ("6.9", true));
/// assert!(Feature::ALL.iter().all(|&feature| Feature::named(feature.name()) == Some(feature)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// `no_sqarray` (6.6): no array of indices in front of the SQ.
    NoSqArray,
    /// `registered_ring` (5.18): the ring is entered by a registered number, not by its descriptor.
    RegisteredRing,
    /// `no_iowait` (6.15): an idle core is not counted as waiting for a disk.
    NoIowait,
    /// `ftruncate` (6.9): the length of files is changed by an op; without it, by the blocking pool.
    Ftruncate,
}

impl Feature {
    /// All features.
    pub const ALL: [Feature; 4] = [Feature::NoSqArray, Feature::RegisteredRing, Feature::NoIowait, Feature::Ftruncate];

    /// The name, as in `GIMMAL_WITHOUT`.
    pub fn name(self) -> &'static str {
        match self {
            Feature::NoSqArray => "no_sqarray",
            Feature::RegisteredRing => "registered_ring",
            Feature::NoIowait => "no_iowait",
            Feature::Ftruncate => "ftruncate",
        }
    }

    /// Whether it is an op, which the blocking pool does if the kernel's rings lack it.
    pub fn is_op(self) -> bool {
        OPTIONAL.iter().any(|(feature, ..)| *feature == self)
    }

    /// The first kernel version that has it.
    pub fn since(self) -> &'static str {
        match self {
            Feature::NoSqArray => "6.6",
            Feature::RegisteredRing => "5.18",
            Feature::NoIowait => "6.15",
            Feature::Ftruncate => "6.9",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Feature> {
        Feature::ALL.into_iter().find(|feature| feature.name() == name)
    }
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features(u8);

impl Features {
    /// All of them, where the kernel has them.
    pub const WANTED: Features = Features(0xff);
    /// None of them.
    pub const NONE: Features = Features(0);

    pub fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }

    pub fn remove(&mut self, feature: Feature) {
        self.0 &= !(1 << feature as u8);
    }
}

/// What every ring must know: io_uring as of 6.1.
const REQUIRED: [(u8, &str); 15] = [
    (opcode::Nop::CODE, "NOP"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::OpenAt2::CODE, "OPENAT2"),
    (opcode::Statx::CODE, "STATX"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::RecvMsg::CODE, "RECVMSG"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    // Nothing uses it yet: it came with 6.0, as multishot receive did, which no probe shows.
    (opcode::SendZc::CODE, "SEND_ZC"),
];

/// Ops that are newer, each with the feature that it is.
const OPTIONAL: [(Feature, u8, &str); 1] = [(Feature::Ftruncate, opcode::Ftruncate::CODE, "FTRUNCATE")];

/// Whether a ring with these features lacks a newer op: its kernel does, or it is hidden.
#[cold]
pub(super) fn lacks(features: Features, code: u8) -> bool {
    OPTIONAL.iter().any(|(feature, optional, _)| *optional == code && !features.has(*feature))
}

/// Whether setting up has made sure of this opcode.
pub(super) fn knows(features: Features, code: u32) -> bool {
    let is_required = REQUIRED.iter().any(|(required, _)| u32::from(*required) == code);
    let is_there = |&(feature, optional, _): &(Feature, u8, &str)| u32::from(optional) == code && features.has(feature);
    is_required || OPTIONAL.iter().any(is_there)
}

/// Memory of rings that were closed comes back late; so long, and so often, it is waited for.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSES_MAX: u32 = 3;

/// Sets a ring up, as good and as large as this machine gives it.
///
/// What the kernel's rings lack, `pool` does.
pub(crate) fn ring(sizes: Sizes, features: Features, inbox: &Arc<Inbox>, pool: &Arc<Pool>) -> Result<Ring, Refusal> {
    let mut ring =
        attempt(sizes, features, inbox, pool).map_err(|said| Refusal::explain("io_uring_setup(2)", said, sizes))?;
    match ring.missing(&REQUIRED) {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => return Err(Refusal::of_missing_ops(&missing)),
        Err(error) => {
            let said = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            return Err(Refusal::explain("io_uring_register(2), probing", said, sizes));
        }
    }
    for (feature, code, name) in OPTIONAL {
        if ring.missing(&[(code, name)]).is_ok_and(|missing| !missing.is_empty()) {
            ring.do_without(feature);
        }
    }
    if let Err(error) = ring.limit_workers(sizes.workers) {
        let said = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        return Err(Refusal::explain("io_uring_register(2), limiting workers", said, sizes));
    }
    // Whatever it says, a ring that cannot be entered is none.
    ring.try_out().map_err(|said| Refusal::explain("io_uring_enter(2), a NOP", said, sizes).into_denial())?;
    Ok(ring)
}

/// Goes down the ladder: without newer features on EINVAL, smaller on ENOMEM, after a pause when that is not enough.
fn attempt(sizes: Sizes, mut features: Features, inbox: &Arc<Inbox>, pool: &Arc<Pool>) -> Result<Ring, Errno> {
    let Sizes { mut entries, mut cq_entries, .. } = sizes;
    let least = sizes.shrunk();
    let mut pauses = 0;
    loop {
        match Ring::set_up(entries, cq_entries, features, inbox.clone(), pool.clone()) {
            Err(Errno::INVAL) if features.has(Feature::NoSqArray) => features.remove(Feature::NoSqArray),
            Err(Errno::NOMEM) if cq_entries > least.cq_entries => cq_entries = (cq_entries / 2).max(1),
            Err(Errno::NOMEM) if entries > least.entries => entries = (entries / 2).max(1),
            Err(Errno::NOMEM) if pauses < PAUSES_MAX => {
                pauses += 1;
                thread::sleep(PAUSE);
            }
            Ok(ring) => {
                if (entries, cq_entries) != (sizes.entries, sizes.cq_entries) {
                    tracing::warn!(
                        entries,
                        cq_entries,
                        "memory for rings is short (RLIMIT_MEMLOCK is {}): made a smaller one",
                        limit_in_kib(Resource::Memlock),
                    );
                }
                return Ok(ring);
            }
            Err(error) => return Err(error),
        }
    }
}

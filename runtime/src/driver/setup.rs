//! Setting a ring up: which features, which sizes, and what to say when it cannot be.
//!
//! Features are found by trying, never by the kernel's version: vendors backport. Sizes shrink when memory is short, since
//! ring memory counts against RLIMIT_MEMLOCK a user, and is given back late.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::opcode;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::ring::Ring;
use crate::inbox::Inbox;

/// Something that newer kernels' rings have, and that we do without where it is missing.
///
/// Tests force them off, with [`Builder::without`](crate::Builder::without) or the environment variable `GIMMAL_WITHOUT`
/// (names as given here, between commas).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// `no_sqarray` (6.6): no array of indices between us and the SQ.
    NoSqArray,
    /// `registered_ring` (5.18): entered by number, not by descriptor.
    RegisteredRing,
    /// `no_iowait` (6.15): waiting is not counted as waiting for a disk.
    NoIowait,
}

impl Feature {
    /// All there are.
    pub const ALL: [Feature; 3] = [Feature::NoSqArray, Feature::RegisteredRing, Feature::NoIowait];

    /// The name, as in `GIMMAL_WITHOUT`.
    pub fn name(self) -> &'static str {
        match self {
            Feature::NoSqArray => "no_sqarray",
            Feature::RegisteredRing => "registered_ring",
            Feature::NoIowait => "no_iowait",
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
const REQUIRED: [(u8, &str); 14] = [
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
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    // Nothing uses it yet: it came with 6.0, as multishot receive did, which no probe shows.
    (opcode::SendZc::CODE, "SEND_ZC"),
];

/// The smallest sizes that are tried when memory is short.
const SHRUNK: (u32, u32) = (64, 256);
/// Memory of rings that were closed comes back late; so long, and so often, it is waited for.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSES_MAX: u32 = 3;

/// Why there is no ring.
#[derive(Debug)]
pub(crate) enum NoRing {
    /// io_uring is denied or missing here: another driver may serve.
    Unavailable(Refusal),
    /// Something ran out: another driver would hide that.
    Exhausted(Refusal),
}

/// What was tried, what was said, what it likely means, what helps.
#[derive(Debug)]
pub(crate) struct Refusal {
    tried: &'static str,
    said: Errno,
    means: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.tried, io::Error::from(self.said), self.means)
    }
}

impl Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        io::Error::new(io::Error::from(refusal.said).kind(), refusal)
    }
}

/// Sets a ring up, as good and as large as this machine gives it.
pub(crate) fn ring(sizes: (u32, u32), features: Features, inbox: &Arc<Inbox>) -> Result<Ring, NoRing> {
    let mut ring = attempt(sizes, features, inbox).map_err(|said| explain("io_uring_setup(2)", said, sizes))?;
    match ring.missing(&REQUIRED) {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => {
            let means = format!("this kernel's io_uring lacks {}; 6.1 has all of it", missing.join(", "));
            let refusal = Refusal { tried: "io_uring_register(2), probing", said: Errno::OPNOTSUPP, means };
            return Err(NoRing::Unavailable(refusal));
        }
        Err(error) => {
            let said = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            return Err(explain("io_uring_register(2), probing", said, sizes));
        }
    }
    ring.try_out().map_err(|said| match explain("io_uring_enter(2), a NOP", said, sizes) {
        // Whatever it says, a ring that cannot be entered is none.
        NoRing::Unavailable(refusal) | NoRing::Exhausted(refusal) => NoRing::Unavailable(refusal),
    })?;
    Ok(ring)
}

/// Goes down the ladder: without newer features on EINVAL, smaller on ENOMEM, after a pause when that is not enough.
fn attempt(sizes: (u32, u32), mut features: Features, inbox: &Arc<Inbox>) -> Result<Ring, Errno> {
    let (mut entries, mut cq_entries) = sizes;
    let mut pauses = 0;
    loop {
        match Ring::set_up(entries, cq_entries, features, inbox.clone()) {
            Err(Errno::INVAL) if features.has(Feature::NoSqArray) => features.remove(Feature::NoSqArray),
            Err(Errno::NOMEM) if cq_entries > SHRUNK.1.min(sizes.1) => cq_entries = (cq_entries / 2).max(1),
            Err(Errno::NOMEM) if entries > SHRUNK.0.min(sizes.0) => entries = (entries / 2).max(1),
            Err(Errno::NOMEM) if pauses < PAUSES_MAX => {
                pauses += 1;
                thread::sleep(PAUSE);
            }
            Ok(ring) => {
                if (entries, cq_entries) != sizes {
                    tracing::warn!(
                        entries,
                        cq_entries,
                        "memory for rings is short (RLIMIT_MEMLOCK): made a smaller one"
                    );
                }
                return Ok(ring);
            }
            Err(error) => return Err(error),
        }
    }
}

fn explain(tried: &'static str, said: Errno, sizes: (u32, u32)) -> NoRing {
    let switch = "allow it, or build the runtime with Builder::driver(Choice::Fallback)";
    match said {
        Errno::PERM | Errno::ACCESS => NoRing::Unavailable(Refusal {
            tried,
            said,
            means: format!(
                "io_uring is switched off here, by the sysctl kernel.io_uring_disabled (now {}), a seccomp filter such as \
                 Docker's default ({}) or a security module; {switch}",
                sysctl(),
                seccomp(),
            ),
        }),
        Errno::NOSYS | Errno::OPNOTSUPP => NoRing::Unavailable(Refusal {
            tried,
            said,
            means: format!(
                "this kernel ({}) has no io_uring, or a seccomp filter ({}) says so; use 6.1 or newer, {switch}",
                kernel(),
                seccomp(),
            ),
        }),
        Errno::INVAL => NoRing::Unavailable(Refusal {
            tried,
            said,
            means: format!(
                "this kernel ({}) is too old for DEFER_TASKRUN, or {} and {} are no sizes for a ring; use 6.1 or newer, \
                 or Builder::driver(Choice::Fallback)",
                kernel(),
                sizes.0,
                sizes.1,
            ),
        }),
        Errno::NOMEM => {
            NoRing::Exhausted(Refusal { tried, said, means: format!("{}; {}", memlock(sizes), "or use fewer cores") })
        }
        Errno::MFILE | Errno::NFILE => NoRing::Exhausted(Refusal {
            tried,
            said,
            means: format!(
                "no descriptor is left for a ring (RLIMIT_NOFILE is {}); raise the limit, or close some",
                limit(Resource::Nofile),
            ),
        }),
        _ => NoRing::Exhausted(Refusal { tried, said, means: "this is no answer that io_uring documents".into() }),
    }
}

fn memlock(sizes: (u32, u32)) -> String {
    // An SQE has 64 bytes, a CQE 16; the smallest ring that is tried needs this much.
    let (entries, cq_entries) = (SHRUNK.0.min(sizes.0), SHRUNK.1.min(sizes.1));
    let needed_kib = (entries * 64).div_ceil(4096) * 4 + (cq_entries * 16 + 4096).div_ceil(4096) * 4;
    format!(
        "ring memory counts against RLIMIT_MEMLOCK, all rings of a user together; it is {}, and the smallest ring that was \
         tried takes {needed_kib} KiB a core; raise it (ulimit -l, LimitMEMLOCK=)",
        limit(Resource::Memlock),
    )
}

/// The soft limit of a resource.
pub(crate) fn limit(resource: Resource) -> String {
    getrlimit(resource).current.map_or("unlimited".into(), |limit| limit.to_string())
}

/// The value of the sysctl, or that it cannot be read.
pub(crate) fn sysctl() -> String {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .map_or_else(|_| "not readable".into(), |value| value.trim().into())
}

/// Whether this process is under a seccomp filter.
pub(crate) fn seccomp() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim) {
        Some("0") => "this process has none".into(),
        Some(mode) => format!("this process has one, mode {mode}"),
        None => "not readable".into(),
    }
}

/// The kernel's version.
pub(crate) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

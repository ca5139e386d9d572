//! What io_uring offers on this machine, and what a runtime will use of it.

use std::fmt;

use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use crate::blocking::pool::Pool;
use crate::driver::refusal::{Sizes, Surroundings, has_capability, limit, limit_in_kib};
use crate::driver::setup::{self, Feature, Features};
use crate::inbox::Inbox;
use crate::runtime::{Builder, overrides};

/// What [`probe`] found. Its `Display` is a report with a line for each finding; [`cures`](Probe::cures) lists what may
/// help.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Probe {
    /// The kernel's version.
    pub kernel: String,
    /// The driver that [`Choice::Auto`](crate::Choice::Auto) selects here: `ring` or `fallback`; `none` if it fails
    /// with an error.
    pub driver: &'static str,
    /// Why there is no ring: what was tried, what the kernel answered, and what that likely means.
    pub refusal: Option<String>,
    /// What helps against the refusal, or against a tight limit. Empty if nothing needs to be done.
    pub cures: Vec<String>,
    /// How many entries the two queues of a ring, submission and completion, get here by default: fewer than
    /// [`Builder`] documents if lockable memory is short.
    pub sizes: Option<(u32, u32)>,
    /// The optional features of newer kernels, and whether this one has them. The runtime works without any of them; an
    /// [op](Feature::is_op) that is missing is done by the blocking pool. Without a ring all are missing.
    pub features: Vec<(Feature, bool)>,
    /// The sysctl `kernel.io_uring_disabled`.
    pub io_uring_disabled: String,
    /// Whether a seccomp filter is on this thread.
    pub seccomp: String,
    /// RLIMIT_MEMLOCK: what all rings of a user take together, except where CAP_IPC_LOCK lifts it.
    pub memlock: String,
    /// RLIMIT_NOFILE: how many descriptors this process may have.
    pub nofile: String,
    /// The variables of the environment that override what programs say.
    pub environment: Vec<(String, String)>,
}

/// Finds out what this machine offers by trying: sets up a ring as a runtime does, sends a NOP through it, and closes
/// it again.
///
/// It needs no runtime, and leaves none behind. Environment variables do not change the result; the report lists those
/// that would change a runtime.
///
/// # Examples
///
/// ```
/// let found = runtime::probe();
/// assert!(found.driver == "ring" || found.refusal.is_some());
/// eprintln!("{found}");                                                       // the report
/// ```
#[must_use]
pub fn probe() -> Probe {
    let wanted = Builder::new().sizes(1);
    let mut cures = Vec::new();
    let mut sizes = None;
    let (driver, refusal, features) = match Inbox::new() {
        Ok(inbox) => match setup::ring(wanted, Features::WANTED, &inbox, &Pool::new(1, 1)) {
            Ok(ring) => {
                sizes = Some(ring.sizes());
                ("ring", None, ring.features())
            }
            Err(refusal) => {
                cures.extend_from_slice(refusal.cures());
                (if refusal.is_denial() { "fallback" } else { "none" }, Some(refusal.reason()), Features::NONE)
            }
        },
        Err(error) => ("none", Some(format!("eventfd(2): {error}: no core can be woken without one")), Features::NONE),
    };
    cures.extend(sizes.and_then(|sizes| cure_for_short_memory(sizes, wanted)));
    let around = Surroundings::look();
    Probe {
        seccomp: around.seccomp(),
        kernel: around.kernel,
        driver,
        refusal,
        cures,
        sizes,
        features: Feature::ALL.into_iter().map(|feature| (feature, features.has(feature))).collect(),
        io_uring_disabled: around.sysctl,
        memlock: memlock(),
        nofile: limit(Resource::Nofile),
        environment: overrides(),
    }
}

fn memlock() -> String {
    let limit = limit_in_kib(Resource::Memlock);
    if has_capability(CapabilitySet::IPC_LOCK) { format!("{limit}, lifted by CAP_IPC_LOCK") } else { limit }
}

fn cure_for_short_memory(got: (u32, u32), wanted: Sizes) -> Option<String> {
    (got < (wanted.entries, wanted.cq_entries)).then(|| {
        format!(
            "rings are smaller than they would be: each takes {} KiB, and RLIMIT_MEMLOCK is {} for all of this user's; \
             raise it (ulimit -l, LimitMEMLOCK=)",
            wanted.bytes() / 1024,
            limit_in_kib(Resource::Memlock),
        )
    })
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "driver     {}", self.driver)?;
        writeln!(f, "kernel     {}", self.kernel)?;
        writeln!(f, "sysctl     kernel.io_uring_disabled is {}", self.io_uring_disabled)?;
        writeln!(f, "seccomp    {}", self.seccomp)?;
        writeln!(f, "memlock    {}, for all rings of this user", self.memlock)?;
        writeln!(f, "nofile     {} descriptors", self.nofile)?;
        if let Some((entries, cq_entries)) = self.sizes {
            writeln!(f, "ring       {entries} entries to submit, {cq_entries} to complete")?;
            for (feature, is_there) in &self.features {
                let (kind, without) =
                    if feature.is_op() { ("op", "the blocking pool does it") } else { ("feature", "done without") };
                let found = if *is_there { "yes".into() } else { format!("no, {without}") };
                writeln!(f, "{kind:<11}{:<16} ({}) {found}", feature.name(), feature.since())?;
            }
        }
        for (name, value) in &self.environment {
            writeln!(f, "override   {name}={value}")?;
        }
        match &self.refusal {
            None => write!(f, "verdict    io_uring serves"),
            Some(refusal) => write!(f, "verdict    no ring: {refusal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_driver_the_limits_and_each_feature() {
        let probe = probe();
        let text = probe.to_string();
        for line in ["driver", "kernel", "sysctl", "seccomp", "memlock", "nofile", "verdict"] {
            assert!(text.lines().any(|found| found.starts_with(line)), "no line {line} in:\n{text}");
        }
        assert!(Feature::ALL.iter().all(|feature| text.contains(feature.name()) == probe.sizes.is_some()));
        assert_eq!(probe.driver == "ring", probe.refusal.is_none());
        assert_eq!(probe.driver == "ring", probe.sizes.is_some());
    }

    /// Catches: a missing op that is told as if nobody did its work.
    #[test]
    fn what_a_ring_lacks_is_told_with_what_is_done_instead() {
        let mut probe = probe();
        probe.sizes = Some((256, 4096));
        probe.features = Feature::ALL.into_iter().map(|feature| (feature, false)).collect();
        let text = probe.to_string();
        assert!(text.contains("\nop         ftruncate        (6.9) no, the blocking pool does it\n"), "{text}");
        assert!(text.contains("\nfeature    no_iowait        (6.15) no, done without\n"), "{text}");
    }

    #[test]
    fn a_ring_that_came_out_smaller_has_a_cure() {
        let wanted = Sizes { entries: 256, cq_entries: 4096, workers: 1, cores: 1 };
        assert_eq!(cure_for_short_memory((256, 4096), wanted), None);
        assert!(cure_for_short_memory((256, 1024), wanted).is_some_and(|cure| cure.contains("RLIMIT_MEMLOCK")));
        assert!(cure_for_short_memory((64, 256), wanted).is_some());
    }
}

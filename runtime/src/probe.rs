//! What this machine offers, and what a runtime makes of it.

use std::fmt;

use rustix::process::Resource;

use crate::driver::setup::{self, Feature, Features, NoRing};
use crate::inbox::Inbox;

/// What [`probe`] found. Printed, it is a report with the cures.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Probe {
    /// The kernel's version.
    pub kernel: String,
    /// What [`Choice::Auto`](crate::Choice::Auto) takes here: `ring` or `fallback`; `none` if it ends with an error.
    pub driver: &'static str,
    /// Why there is no ring: what was tried, what the kernel said, what it likely means, what helps.
    pub refusal: Option<String>,
    /// The features of newer rings, and whether this kernel has them.
    pub features: Vec<(Feature, bool)>,
    /// The sysctl `kernel.io_uring_disabled`.
    pub io_uring_disabled: String,
    /// Whether a seccomp filter is on this process.
    pub seccomp: String,
    /// RLIMIT_MEMLOCK in bytes: what all rings of a user take together.
    pub memlock: String,
    /// RLIMIT_NOFILE: how many descriptors this process may have.
    pub nofile: String,
}

/// Looks at what this machine offers, by trying: sets a ring up, sends a NOP through it, and closes it again.
///
/// Needs no runtime, and leaves none behind.
///
/// # Examples
///
/// ```
/// println!("{}", runtime::probe());
/// ```
#[must_use]
pub fn probe() -> Probe {
    let (driver, refusal, features) = match Inbox::new() {
        Ok(inbox) => match setup::ring((64, 256), Features::WANTED, &inbox) {
            Ok(ring) => ("ring", None, ring.features()),
            Err(NoRing::Unavailable(refusal)) => ("fallback", Some(refusal.to_string()), Features::NONE),
            Err(NoRing::Exhausted(refusal)) => ("none", Some(refusal.to_string()), Features::NONE),
        },
        Err(error) => ("none", Some(format!("eventfd(2): {error}: no core can be woken without one")), Features::NONE),
    };
    Probe {
        kernel: setup::kernel(),
        driver,
        refusal,
        features: Feature::ALL.into_iter().map(|feature| (feature, features.has(feature))).collect(),
        io_uring_disabled: setup::sysctl(),
        seccomp: setup::seccomp(),
        memlock: setup::limit(Resource::Memlock),
        nofile: setup::limit(Resource::Nofile),
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "driver     {}", self.driver)?;
        writeln!(f, "kernel     {}", self.kernel)?;
        writeln!(f, "sysctl     kernel.io_uring_disabled is {}", self.io_uring_disabled)?;
        writeln!(f, "seccomp    {}", self.seccomp)?;
        writeln!(f, "memlock    {} bytes for all rings of this user", self.memlock)?;
        writeln!(f, "nofile     {} descriptors", self.nofile)?;
        for (feature, is_there) in &self.features {
            let found = if *is_there { "yes" } else { "no, done without" };
            writeln!(f, "feature    {:<16} {found}", feature.name())?;
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
        assert!(Feature::ALL.iter().all(|feature| text.contains(feature.name())));
        assert_eq!(probe.driver == "ring", probe.refusal.is_none());
    }
}

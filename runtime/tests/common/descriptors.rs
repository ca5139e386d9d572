//! A process that has no descriptor left.

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lowers this process's limit, and takes all descriptors that are left below it. Returns the limit from before, beside
/// what was taken.
///
/// # Panics
///
/// If the limit cannot be lowered.
pub fn take_all(limit: u64) -> (Rlimit, Vec<OwnedFd>) {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: before.maximum }).expect("a lower limit");
    (before, std::iter::from_fn(|| eventfd(0, EventfdFlags::CLOEXEC).ok()).collect())
}

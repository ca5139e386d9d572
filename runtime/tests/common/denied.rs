//! io_uring denied by a seccomp filter, as containers deny it.
//!
//! A filter is on the thread that installs it and on all that this thread starts: threads, and programs. There is no
//! way to take one off, so a thread of its own is what it goes on.

use std::collections::BTreeMap;
use std::fmt;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// How io_uring is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// All three calls answer EPERM: Docker's and Kubernetes' default.
    Eperm,
    /// All three answer ENOSYS: older container runtimes.
    Enosys,
    /// Rings can be set up, but not entered: EPERM.
    Enter,
}

impl Denial {
    /// All there are.
    pub const ALL: [Denial; 3] = [Denial::Eperm, Denial::Enosys, Denial::Enter];

    /// Denies io_uring to this thread and whatever it starts from now on.
    ///
    /// # Panics
    ///
    /// If the kernel takes no filter.
    pub fn install(self) {
        let all = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
        match self {
            Denial::Eperm => deny(&all, libc::EPERM),
            Denial::Enosys => deny(&all, libc::ENOSYS),
            Denial::Enter => deny(&[libc::SYS_io_uring_enter], libc::EPERM),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denial::Eperm => "eperm",
            Denial::Enosys => "enosys",
            Denial::Enter => "enter",
        })
    }
}

/// Has these system calls answer `errno`, for this thread and whatever it starts from now on.
///
/// # Panics
///
/// If the kernel takes no filter.
pub fn deny(calls: &[libc::c_long], errno: i32) {
    let rules: BTreeMap<i64, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let answer = SeccompAction::Errno(errno.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().expect("an architecture with filters");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).expect("a filter that makes sense");
    let program = BpfProgram::try_from(filter).expect("a short program");
    seccompiler::apply_filter(&program).expect("the kernel takes filters");
}

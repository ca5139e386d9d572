//! fork(2), which no safe interface has.

#![allow(unsafe_code)]

use rustix::process::Pid;

/// Which of the two processes this is.
pub enum Forked {
    Child,
    Parent(Pid),
}

/// Makes a child process of this thread. Only one that is nearly alone in its process should: a lock that another
/// thread holds stays held in the child.
///
/// # Panics
///
/// If there can be no more processes.
pub fn fork() -> Forked {
    // SAFETY: `fork` wants a child that, where there were several threads, does no more than a signal handler may.
    // Rust's own allocator and locks come through a fork by glibc's care, and the tests that call this hold no others.
    match unsafe { libc::fork() } {
        0 => Forked::Child,
        pid => Forked::Parent(Pid::from_raw(pid).unwrap_or_else(|| panic!("{}", std::io::Error::last_os_error()))),
    }
}

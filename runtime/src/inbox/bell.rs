//! What interrupts a parked core: an eventfd, which the core's driver watches.
//!
//! It belongs to the inbox and not to the ring, so a late ring of the bell finds a descriptor and not a stranger's.

#[cfg(loom)]
use loom::sync::{Condvar, Mutex};
use rustix::event::{EventfdFlags, eventfd};
#[cfg(not(loom))]
use rustix::io::{Errno, retry_on_intr, write};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

pub(super) struct Bell {
    eventfd: OwnedFd,
    /// Loom cannot see the kernel, so a model parks here instead.
    #[cfg(loom)]
    rung: (Mutex<bool>, Condvar),
}

impl Bell {
    pub(super) fn new() -> io::Result<Bell> {
        Ok(Bell {
            eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            #[cfg(loom)]
            rung: (Mutex::new(false), Condvar::new()),
        })
    }

    #[cfg(not(loom))]
    pub(super) fn ring(&self) {
        match retry_on_intr(|| write(&self.eventfd, &1_u64.to_ne_bytes())) {
            // EAGAIN: the counter is full, so the bell has been rung and nobody has read it. That is a success.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => tracing::error!("cannot wake a core: write(2) to its eventfd: {error}"),
        }
    }

    pub(super) fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    #[cfg(loom)]
    pub(super) fn ring(&self) {
        *self.rung.0.lock().unwrap() = true;
        self.rung.1.notify_one();
    }

    #[cfg(loom)]
    pub(super) fn wait(&self) {
        let mut rung = self.rung.0.lock().unwrap();
        while !*rung {
            rung = self.rung.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

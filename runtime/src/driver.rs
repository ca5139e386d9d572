//! Drivers: who services requests.
//!
//! The promise of all three is the kernel's own: **memory stays put until you answer**. So dropping, orphaning,
//! cancelling and shutting down are written once, above this line.
//!
//! - [`Driver::start`] takes a request. It makes no system call and cannot fail: what goes wrong is an answer.
//! - [`Driver::cancel`] asks for an early answer. It may come too late; there is exactly one last answer all the same.
//! - [`Driver::wait`] hands over what was answered, and waits for more if it may.
//! - [`Driver::call`] does at once what never waits, without a key.
//!
//! A driver never matches on a request: it asks it for its `sqe()`, its `call()`, its `way()`. The simulated kernel is
//! the exception, since it *is* a kernel.

use std::io;
use std::time::Instant;

use rustix::io::Errno;

use crate::inflight::held::{Lent, Loan};
use crate::inflight::slots::{Event, Key};
use crate::op::{Answered, Request};

mod errands;
pub(crate) mod fallback;
pub(crate) mod refusal;
pub(crate) mod ring;
pub(crate) mod setup;
pub(crate) mod simulated;

/// Who services this core's requests.
pub(crate) enum Driver {
    Ring(ring::Ring),
    Fallback(fallback::Fallback),
    Simulated(simulated::Simulated),
    /// Its runtime has ended. Futures of ops may still be there.
    Ended,
}

/// What costs less: an op, or the plain call that does the same. See [`call::cheaper`](crate::call::cheaper).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cheaper {
    /// An op: ops beside each other share one system call.
    Op,
    /// A plain call, such as [`try_send`](crate::call::try_send), for now: the op would be alone.
    Call,
    /// A plain call, at all times: this driver makes each op that may wait by one, once its descriptor is ready. Who
    /// waits by [`PollMany`](crate::op::ready::PollMany) and makes the call by himself spares an op.
    AlwaysCall,
}

/// How long [`Driver::wait`] may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Park {
    /// Not at all: tasks are ready. What is there is handed over.
    No,
    /// Until something is answered, somebody wakes the core through its inbox, or this moment comes (`None`: never).
    Until(Option<Instant>),
}

/// What a driver has done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    /// System calls that submit or wait.
    pub enters: u64,
    /// Requests given to the kernel.
    pub submitted: u64,
    /// Replies that came.
    pub completed: u64,
    /// Times the completion queue overflowed; nothing is lost by that.
    pub overflows: u64,
    /// Times a request had to wait for room in the submission queue.
    pub queue_full: u64,
}

impl Driver {
    /// Takes a request. Whether so much is queued now that the kernel should hear of it before more tasks run.
    // Where an op starts, the compiler knows its kind of request: inlined, one arm is left of each match down to the
    // SQE.
    #[inline(always)]
    pub fn start(&mut self, key: Key, loan: Loan) -> bool {
        // Not one of four: the one that matters is asked for first.
        match self {
            Driver::Ring(ring) => {
                ring.start(loan.under(key));
                ring.is_due()
            }
            others => {
                others.start_otherwise(loan.under(key));
                false
            }
        }
    }

    #[cold]
    fn start_otherwise(&mut self, lent: Lent) {
        match self {
            Driver::Ring(ring) => ring.start(lent),
            Driver::Fallback(fallback) => fallback.start(lent),
            Driver::Simulated(simulated) => simulated.start(lent),
            // The op leaks: its cell can only be opened by an answer.
            Driver::Ended => drop(lent),
        }
    }

    pub fn cancel(&mut self, key: Key) {
        match self {
            Driver::Ring(ring) => ring.cancel(key),
            Driver::Fallback(fallback) => fallback.cancel(key),
            Driver::Simulated(simulated) => simulated.cancel(key),
            Driver::Ended => {}
        }
    }

    /// Hands what came to `events`, which runs nothing foreign.
    ///
    /// Returns early and with nothing for many reasons (a signal, a wake): whoever waits asks again.
    ///
    /// # Errors
    ///
    /// Only what cannot be mended: the driver is unusable then.
    #[inline]
    pub fn wait(&mut self, park: Park, events: impl FnMut(Event)) -> io::Result<()> {
        match self {
            Driver::Ring(ring) => ring.wait(park, events),
            Driver::Fallback(fallback) => fallback.wait(park, events),
            Driver::Simulated(simulated) => simulated.wait(park, events),
            Driver::Ended => Ok(()),
        }
    }

    /// Does a request now, without waiting: EAGAIN where it would have to.
    #[inline]
    pub fn call(&mut self, request: &mut Request<'_>) -> Answered {
        match self {
            Driver::Ring(_) | Driver::Fallback(_) => request.call(),
            Driver::Simulated(simulated) => simulated.call(request),
            Driver::Ended => Err(Errno::BADF),
        }
    }

    /// The time, which a simulated kernel makes itself.
    #[inline]
    pub fn now(&self) -> Instant {
        match self {
            Driver::Ring(_) | Driver::Fallback(_) | Driver::Ended => Instant::now(),
            Driver::Simulated(simulated) => simulated.now(),
        }
    }

    /// Whether so much is queued that the kernel should hear of it before more tasks run.
    #[inline]
    pub fn is_due(&self) -> bool {
        match self {
            Driver::Ring(ring) => ring.is_due(),
            Driver::Fallback(_) | Driver::Simulated(_) | Driver::Ended => false,
        }
    }

    /// Whether an op costs less, or a plain system call; `is_alone`: no other task is ready. An entry beside others is
    /// cheap, since they share an enter; one alone is not. Without a ring each is a call anyway.
    #[inline]
    pub fn cheaper(&mut self, is_alone: bool) -> Cheaper {
        match self {
            Driver::Ring(ring) if is_alone && ring.has_nothing_queued() => Cheaper::Call,
            Driver::Ring(_) | Driver::Ended => Cheaper::Op,
            Driver::Fallback(_) => Cheaper::AlwaysCall,
            Driver::Simulated(simulated) => simulated.cheaper(),
        }
    }

    /// What is to be told of what came, once nothing is borrowed: a subscriber is foreign.
    #[inline]
    pub fn untold(&mut self) -> Option<ring::Overflow> {
        match self {
            Driver::Ring(ring) => ring.untold(),
            Driver::Fallback(_) | Driver::Simulated(_) | Driver::Ended => None,
        }
    }

    pub fn counters(&self) -> Counters {
        match self {
            Driver::Ring(ring) => ring.counters(),
            Driver::Fallback(fallback) => fallback.counters(),
            Driver::Simulated(simulated) => simulated.counters(),
            Driver::Ended => Counters::default(),
        }
    }

    /// Whether it serves what only newer kernels' rings have. The others serve every op by themselves.
    pub fn offers(&self, feature: setup::Feature) -> bool {
        match self {
            Driver::Ring(ring) => ring.features().has(feature),
            Driver::Fallback(_) | Driver::Simulated(_) | Driver::Ended => true,
        }
    }

    /// `ring`, `fallback` or `simulated`.
    pub fn name(&self) -> &'static str {
        match self {
            Driver::Ring(_) => "ring",
            Driver::Fallback(_) => "fallback",
            Driver::Simulated(_) => "simulated",
            Driver::Ended => "ended",
        }
    }
}

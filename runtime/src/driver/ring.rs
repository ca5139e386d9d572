//! The ring driver: io_uring. [unsafe]
//!
//! ```text
//!  start ─► SQ has room? encode there : queue the entry behind it          no system call
//!        └► this kernel lacks the op: the blocking pool does it            ring/beside.rs
//!  wait  ─► one io_uring_enter that submits and waits together, then reap all that the CQ has
//!           (waits not if something was answered beside the ring: by a plain call, or by the pool)
//! ```
//!
//! One thread has the ring (`SINGLE_ISSUER`), and completions happen only inside its enters (`DEFER_TASKRUN`). An enter
//! runs about 20 of those that are due and may leave the rest, so before the core parks we look at `SQ_TASKRUN`.
//!
//! A full SQ, a full CQ, EINTR, EAGAIN and EBUSY are ordinary states. Bound of the queue behind the SQ: an entry for
//! each op in flight, and one for its cancellation. A wait enters as often as it takes to empty that queue, and no more
//! once an enter takes nothing and brings nothing: then timers and tasks go on, and the next wait tries again.

#![allow(unsafe_code)]

mod beside;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::io::Errno;
use rustix::io_uring::{
    IoringEnterFlags, IoringRegisterOp, io_uring_enter, io_uring_enter_arg, io_uring_getevents_arg, io_uring_ptr,
    io_uring_register, io_uring_rsrc_update,
};
use rustix::time::Timespec;

use self::beside::Beside;
use super::setup::{self, Feature, Features};
use super::{Counters, Park};
use crate::blocking::pool::Pool;
use crate::fork::{IN_A_CHILD, Origin};
use crate::inbox::Inbox;
use crate::inflight::held::{Answer, Came, Lent};
use crate::inflight::slots::{Event, Key};

/// What answers under the ring's own names. Keys of slots are never below 2^32.
const CANCELLED: u64 = 0;
const WOKEN: u64 = 1;
const OWN_NAMES_END: u64 = 1 << 32;

/// So many entries in the SQ are worth an enter of their own: beyond it the cost an op falls by less than 5 %.
const DUE_ENTRIES: u32 = 32;

/// The longest wait that the kernel is asked for, 68 years: what is longer comes back early, and is asked for again.
/// Beyond 292 years its clock overflows.
const SECONDS_MAX: u64 = 1 << 31;

/// How long to stand back at most when the kernel has no memory for requests and nobody has anything else to do.
const PAUSE: Duration = Duration::from_millis(1);

/// How often a first NOP is asked after: signals, and a kernel short of memory, send one back empty-handed.
const TRIES_MAX: u32 = 1000;

/// `IORING_ENTER_NO_IOWAIT` (6.15): waiting for a socket is no disk wait.
const NO_IOWAIT: IoringEnterFlags = IoringEnterFlags::from_bits_retain(1 << 7);

/// A ring, and what queues before it.
pub(crate) struct Ring {
    ring: IoUring,
    /// The ring's number in this thread's table of registered rings, which saves a look-up an enter; or its descriptor.
    enter_fd: RawFd,
    enter_flags: IoringEnterFlags,
    /// Entries in the SQ that no enter has taken.
    queued: u32,
    due: u32,
    /// Entries beyond the SQ, in order.
    backlog: VecDeque<squeue::Entry>,
    beside: Box<Beside>,
    inbox: Arc<Inbox>,
    wake_armed: bool,
    counters: Counters,
    untold: Option<Overflow>,
    features: Features,
    /// In a forked child nothing may reach the ring, nor its memory, which is not there.
    origin: Origin,
    #[cfg(test)]
    refusal: tests::Refusal,
}

/// More completions came than the completion queue holds.
#[derive(Debug)]
pub(crate) struct Overflow {
    times: u64,
    cq_entries: u32,
}

impl Overflow {
    /// Runs what is foreign: a subscriber.
    #[cold]
    pub fn tell(self) {
        let Overflow { times, cq_entries } = self;
        tracing::warn!(
            times,
            cq_entries,
            "more completions than the completion queue holds: nothing is lost, but each detour costs an enter; \
             Builder::cq_entries makes it larger"
        );
    }
}

impl Ring {
    /// Sets a ring up, for this thread.
    ///
    /// # Errors
    ///
    /// As io_uring_setup(2), mmap(2).
    pub fn set_up(
        entries: u32,
        cq_entries: u32,
        features: Features,
        inbox: Arc<Inbox>,
        pool: Arc<Pool>,
    ) -> Result<Ring, Errno> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_clamp()
            .setup_cqsize(cq_entries)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag();
        if features.has(Feature::NoSqArray) {
            builder.setup_no_sqarray();
        }
        let ring = builder.build(entries).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
        let due = DUE_ENTRIES.min(ring.params().sq_entries());
        let mut ring = Ring {
            enter_fd: ring.as_raw_fd(),
            enter_flags: IoringEnterFlags::GETEVENTS,
            queued: 0,
            due,
            backlog: VecDeque::new(),
            beside: Box::new(Beside::new(inbox.clone(), pool)),
            inbox,
            wake_armed: false,
            counters: Counters::default(),
            untold: None,
            features,
            origin: Origin::here(),
            #[cfg(test)]
            refusal: tests::Refusal::default(),
            ring,
        };
        if features.has(Feature::NoIowait) && ring.ring.params().is_feature_no_iowait() {
            ring.enter_flags |= NO_IOWAIT;
        }
        if features.has(Feature::RegisteredRing) {
            ring.register();
        }
        Ok(ring)
    }

    /// Enters this ring by number from now on. A thread has 16 numbers; without one it goes by descriptor.
    fn register(&mut self) {
        let mut update = io_uring_rsrc_update::default();
        update.offset = u32::MAX;
        update.data =
            io_uring_ptr::new(std::ptr::without_provenance_mut(self.ring.as_raw_fd().unsigned_abs() as usize));
        // SAFETY: `io_uring_register` wants an argument that fits the operation: one `io_uring_rsrc_update`, read and
        // written within the call.
        let registered = unsafe {
            io_uring_register(self.fd(), IoringRegisterOp::RegisterRingFds, (&raw mut update).cast_const().cast(), 1)
        };
        if registered == Ok(1) {
            self.enter_fd = update.offset.cast_signed();
            self.enter_flags |= IoringEnterFlags::REGISTERED_RING;
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `borrow_raw` wants a descriptor that stays open while it is borrowed: the ring owns it, and `self`
        // the ring.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    /// What this ring has of what newer kernels offer.
    pub fn features(&self) -> Features {
        let mut features = self.features;
        for (feature, flag) in
            [(Feature::RegisteredRing, IoringEnterFlags::REGISTERED_RING), (Feature::NoIowait, NO_IOWAIT)]
        {
            if !self.enter_flags.contains(flag) {
                features.remove(feature);
            }
        }
        features
    }

    /// How many entries its two queues have.
    pub fn sizes(&self) -> (u32, u32) {
        (self.ring.params().sq_entries(), self.ring.params().cq_entries())
    }

    /// Never uses `feature`.
    pub fn do_without(&mut self, feature: Feature) {
        self.features.remove(feature);
    }

    /// Which of `required` the kernel's io_uring does not know.
    ///
    /// # Errors
    ///
    /// As io_uring_register(2), `IORING_REGISTER_PROBE` (5.6).
    pub fn missing(&self, required: &[(u8, &'static str)]) -> io::Result<Vec<&'static str>> {
        let mut probe = io_uring::Probe::new();
        self.ring.submitter().register_probe(&mut probe)?;
        Ok(required.iter().filter(|(code, _)| !probe.is_supported(*code)).map(|(_, name)| *name).collect())
    }

    /// How many threads the kernel may have for this core, of either kind: for what may block on a file or a name, and
    /// for what may block on all else.
    ///
    /// # Errors
    ///
    /// As io_uring_register(2), `IORING_REGISTER_IOWQ_MAX_WORKERS` (5.15).
    pub fn limit_workers(&self, workers: u32) -> io::Result<()> {
        self.ring.submitter().register_iowq_max_workers(&mut [workers, workers])
    }

    /// A NOP there and back: where a filter denies enter, setting up works all the same.
    ///
    /// # Errors
    ///
    /// As io_uring_enter(2), or what the NOP answered.
    pub fn try_out(&mut self) -> Result<(), Errno> {
        self.push(&opcode::Nop::new().build().user_data(CANCELLED));
        for _enter in 0..TRIES_MAX {
            self.enter(1, None, true)?;
            if let Some(cqe) = self.ring.completion().next() {
                return if cqe.result() < 0 { Err(Errno::from_raw_os_error(-cqe.result())) } else { Ok(()) };
            }
        }
        Err(Errno::AGAIN)
    }

    #[inline(always)]
    pub fn start(&mut self, mut lent: Lent) {
        if self.origin.is_left() {
            // The op leaks, as a copy of the parent's would.
            return drop(lent);
        }
        let key = lent.key();
        if let Some(code) = lent.with(|request| request.newer_op())
            && setup::lacks(self.features, code)
        {
            return self.beside.send(lent);
        }
        match lent.with(|request| request.sqe()) {
            Some(entry) => {
                lent.into_kernel();
                self.push(&entry.user_data(key.to_bits()));
            }
            None => self.beside.call(lent),
        }
    }

    pub fn cancel(&mut self, key: Key) {
        if self.origin.is_left() {
            return;
        }
        if !self.beside.is_empty() && self.beside.cancel(key) {
            return;
        }
        let entry = opcode::AsyncCancel::new(key.to_bits()).build();
        self.push(&entry.user_data(CANCELLED).flags(squeue::Flags::SKIP_SUCCESS));
    }

    #[inline(always)]
    fn push(&mut self, entry: &squeue::Entry) {
        debug_assert!(
            setup::knows(self.features, entry.get_opcode()),
            "opcode {} is not asked after",
            entry.get_opcode()
        );
        if self.backlog.is_empty() {
            // SAFETY: `push` wants all that the entry points to valid until its operation completes. It points into a
            // request, which borrows from an op that `Held` keeps still until the last reply, or to nothing.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.queued += 1;
                return;
            }
        }
        self.counters.queue_full += 1;
        self.backlog.push_back(entry.clone());
    }

    #[inline]
    pub fn is_due(&self) -> bool {
        self.queued >= self.due
    }

    #[inline]
    pub fn has_nothing_queued(&self) -> bool {
        self.queued == 0 && self.backlog.is_empty()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn wait(&mut self, park: Park, mut events: impl FnMut(Event)) -> io::Result<()> {
        if self.origin.is_left() {
            return Err(io::Error::other(IN_A_CHILD));
        }
        let mut came = if self.beside.is_empty() { 0 } else { self.beside.hand_over(&mut events) };
        let (may_wait, until) = match park {
            Park::No => (false, None),
            Park::Until(until) => (true, until),
        };
        // Nothing lies in the CQ by now: completions happen within enters, and behind each all are reaped.
        debug_assert!(self.ring.completion().is_empty(), "a completion that no enter brought");
        if may_wait && !self.wake_armed {
            self.arm_wake();
        }
        loop {
            self.fill();
            let all = self.backlog.is_empty();
            let want = u32::from(may_wait && all && came == 0);
            if self.queued == 0 && want == 0 && !self.has_due_work() {
                return Ok(());
            }
            let taken = self.enter(want, until, may_wait && came == 0).map_err(lost)?;
            let reaped = self.reap(&mut events);
            if all && !self.has_overflowed() || taken == 0 && reaped == 0 {
                return Ok(());
            }
            came += reaped;
        }
    }

    /// Whether the kernel has something that only an enter brings: completions to run, or beyond the CQ.
    fn has_due_work(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether completions wait beyond the CQ.
    #[inline]
    fn has_overflowed(&mut self) -> bool {
        let overflowed = self.ring.submission().cq_overflow();
        if overflowed {
            self.count_overflow();
        }
        overflowed
    }

    /// To be told at the first, and each time there are twice as many: a storm must not flood the log. What comes in
    /// one wait is told as one.
    #[cold]
    fn count_overflow(&mut self) {
        self.counters.overflows += 1;
        let times = self.counters.overflows;
        if times.is_power_of_two() {
            self.untold = Some(Overflow { times, cq_entries: self.ring.params().cq_entries() });
        }
    }

    /// What is to be told, once nothing is borrowed.
    #[inline]
    pub fn untold(&mut self) -> Option<Overflow> {
        self.untold.take()
    }

    /// Moves entries from the backlog into the SQ.
    #[inline]
    fn fill(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: as in `push`.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.queued += 1;
            self.backlog.pop_front();
        }
    }

    /// Watches the inbox's eventfd. The multishot may end at any time; then it is armed anew before the next park.
    fn arm_wake(&mut self) {
        let readable = u32::from(rustix::event::PollFlags::IN.bits());
        let eventfd = types::Fd(self.inbox.eventfd().as_raw_fd());
        self.wake_armed = true;
        self.push(&opcode::PollAdd::new(eventfd, readable).multi(true).build().user_data(WOKEN));
    }

    /// Submits what is in the SQ, runs what is due, and waits for `want` completions, until a moment at the latest.
    /// Returns how many entries the kernel took.
    fn enter(&mut self, want: u32, until: Option<Instant>, may_pause: bool) -> Result<u32, Errno> {
        let timeout = until.filter(|_| want > 0).map(|until| until.saturating_duration_since(Instant::now()));
        let entered = match timeout {
            None => self.enter_plain(self.queued, want),
            Some(Duration::ZERO) => self.enter_plain(self.queued, 0),
            Some(timeout) => self.enter_timed(self.queued, want, timeout),
        };
        match entered {
            Ok(submitted) => {
                self.queued = self.queued.saturating_sub(submitted);
                self.counters.submitted += u64::from(submitted);
                Ok(submitted)
            }
            // A signal, or the time is up: whoever waits looks again.
            Err(Errno::INTR | Errno::TIME) => Ok(0),
            Err(Errno::AGAIN | Errno::BUSY) => self.stand_back(until, may_pause).map(|()| 0),
            Err(error) => Err(error),
        }
    }

    /// The kernel takes nothing: it has no memory for requests, or completions are to be reaped first. An enter that is
    /// refused runs nothing of what is due, which may be what gives memory back; so one that submits nothing does, and
    /// waits a little for a completion if nobody has anything else to do.
    #[cold]
    fn stand_back(&mut self, until: Option<Instant>, may_pause: bool) -> Result<(), Errno> {
        let pause = match until {
            _ if !may_pause || !self.ring.completion().is_empty() => Duration::ZERO,
            Some(until) => PAUSE.min(until.saturating_duration_since(Instant::now())),
            None => PAUSE,
        };
        let entered = if pause.is_zero() { self.enter_plain(0, 0) } else { self.enter_timed(0, 1, pause) };
        match entered {
            Ok(_) | Err(Errno::INTR | Errno::TIME) => Ok(()),
            // Memory must come from elsewhere.
            Err(Errno::AGAIN | Errno::BUSY) => {
                std::thread::sleep(pause);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    #[inline]
    fn enter_plain(&mut self, submit: u32, want: u32) -> Result<u32, Errno> {
        self.counters.enters += 1;
        #[cfg(test)]
        self.refusal.strikes(submit)?;
        // SAFETY: `borrow_raw` wants an open descriptor. It is the ring's, or its number in this thread's table when
        // the flags say so; the ring stays on this thread and unregisters before it closes.
        let fd = unsafe { BorrowedFd::borrow_raw(self.enter_fd) };
        // SAFETY: `io_uring_enter` wants the entries in the SQ valid: `push` has put each there under that promise.
        unsafe { io_uring_enter(fd, submit, want, self.enter_flags) }
    }

    fn enter_timed(&mut self, submit: u32, want: u32, timeout: Duration) -> Result<u32, Errno> {
        self.counters.enters += 1;
        #[cfg(test)]
        self.refusal.strikes(submit)?;
        let until = Timespec {
            tv_sec: timeout.as_secs().min(SECONDS_MAX).cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let argument = io_uring_getevents_arg {
            ts: io_uring_ptr::new((&raw const until).cast_mut().cast()),
            ..Default::default()
        };
        let flags = self.enter_flags | IoringEnterFlags::EXT_ARG;
        // SAFETY: as in `enter_plain`.
        let fd = unsafe { BorrowedFd::borrow_raw(self.enter_fd) };
        // SAFETY: as in `enter_plain`; the argument points to `until`, which lives beyond the call.
        unsafe { io_uring_enter_arg(fd, submit, want, flags, Some(&argument)) }
    }

    /// Takes all that is in the CQ. Returns how much that was.
    ///
    /// Not inlined: within `wait` it runs out of registers, and a NOP takes 3 instructions more.
    #[inline(never)]
    fn reap(&mut self, events: &mut impl FnMut(Event)) -> usize {
        let mut came = 0;
        for cqe in self.ring.completion() {
            came += 1;
            let more = cqueue::more(cqe.flags());
            if cqe.user_data() < OWN_NAMES_END {
                // Cancellations answer for themselves by the ops that they hit.
                self.wake_armed &= cqe.user_data() != WOKEN || more;
                continue;
            }
            let key = Key::from_bits(cqe.user_data());
            events(if more {
                Event::More(key, Came::Kernel(cqe.result()))
            } else {
                // SAFETY: `from_kernel` wants the last CQE of the op whose slot gets it: it has no F_MORE, and the key
                // came from this ring alone.
                Event::Last(key, unsafe { Answer::from_kernel(cqe.result()) })
            });
        }
        self.counters.completed += came as u64;
        came
    }
}

#[cold]
fn lost(error: Errno) -> io::Error {
    let why = if error == Errno::BADR { ": the kernel ran out of memory and lost completions" } else { "" };
    io::Error::new(io::Error::from(error).kind(), format!("io_uring_enter(2): {error}{why}"))
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.enter_flags.contains(IoringEnterFlags::REGISTERED_RING) {
            return;
        }
        // A registered number keeps the ring alive beyond its descriptor.
        let mut update = io_uring_rsrc_update::default();
        update.offset = self.enter_fd.unsigned_abs();
        // SAFETY: as in `register`.
        let unregistered =
            unsafe { io_uring_register(self.fd(), IoringRegisterOp::UnregisterRingFds, (&raw const update).cast(), 1) };
        if let Err(error) = unregistered {
            tracing::warn!("io_uring_register(2), unregistering the ring: {error}");
        }
    }
}

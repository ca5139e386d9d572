//! What epoll watches, and for whom.
//!
//! Descriptors are registered once, edge-triggered, and never removed: the kernel does that when the last descriptor of
//! an open file closes, of which nobody tells us. So what stands here about a number may be about a file that is gone.
//! Nothing is built on it. **Each new wait asks the kernel anew**, and the asking does three things in one system call:
//! it registers a newcomer, sets the events, and reports what is there already, so that no edge which came before can
//! be missed. (The file that a number meant before may live on under a clone's. Its events carry the count of an
//! earlier asking, and are dropped.)
//!
//! Edges while nobody waits are dropped: who comes next asks anew. Whoever is cancelled, and was the last to wait,
//! takes back what was asked, so that nothing wakes this core for nobody.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::driver::Park;
use crate::op::ready::Interest;
use crate::op::{Request, Way};

/// How many descriptors one wait reports at most.
pub(super) const EVENTS_MAX: usize = 256;

/// Stands for the inbox where a descriptor's number would, which has 31 bits.
const INBOX: u64 = u64::MAX;

/// The longest wait that the kernel is asked for: what is longer comes back early, and is asked for again.
const MILLISECONDS_MAX: u64 = 1 << 30;

const NOTHING: Interest = Interest::from_bits(0);

const NOT_AT_ALL: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Descriptors, and who waits on them.
pub(super) struct Watch {
    epoll: OwnedFd,
    /// By number. Bound: the largest number that a request ever waited on, at 32 bytes each, which RLIMIT_NOFILE
    /// limits.
    descriptors: Vec<Descriptor>,
    events: Vec<epoll::Event>,
}

struct Descriptor {
    /// A guess, from what the number meant before.
    is_registered: bool,
    /// Counts askings. What the kernel reports carries the count of the last one about that file.
    asking: u32,
    /// What is watched for those who wait, by the number of the slot.
    interest: Interest,
    waiting: Vec<usize>,
}

impl Watch {
    /// Watches nothing but the inbox, whose eventfd nobody reads: each write to it is an edge.
    pub fn new(inbox: BorrowedFd<'_>) -> io::Result<Watch> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, inbox, EventData::new_u64(INBOX), EventFlags::IN | EventFlags::ET)?;
        Ok(Watch { epoll, descriptors: Vec::new(), events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Whether somebody may wait on this number for one of these events already.
    pub fn has_waiting(&self, number: RawFd, interest: Interest) -> bool {
        usize::try_from(number)
            .ok()
            .and_then(|number| self.descriptors.get(number))
            .is_some_and(|descriptor| !descriptor.waiting.is_empty() && descriptor.interest.intersects(interest))
    }

    /// From now on `slot` is among those who wait on `fd`, whose number comes back. What is there already is reported
    /// too.
    ///
    /// # Errors
    ///
    /// EPERM: nobody can wait for such a file. EBADF: a number that is no descriptor's, such as `CWD`. ENOSPC and
    /// ENOMEM: the kernel watches too many already.
    pub fn ask(&mut self, fd: BorrowedFd<'_>, slot: usize, interest: Interest) -> Result<usize, Errno> {
        let number = usize::try_from(fd.as_raw_fd()).map_err(|_| Errno::BADF)?;
        if number >= self.descriptors.len() {
            self.descriptors.resize_with(number + 1, Descriptor::new);
        }
        let descriptor = &mut self.descriptors[number];
        let interest = if descriptor.waiting.is_empty() { interest } else { descriptor.interest | interest };
        descriptor.register(&self.epoll, fd, interest)?;
        descriptor.waiting.push(slot);
        Ok(number)
    }

    /// Has what is there already reported once more.
    pub fn ask_again(&mut self, request: &Request<'_>) -> Result<(), Errno> {
        let Way::Ready(fd, _) = request.way() else { return Ok(()) };
        let fd = fd.os()?;
        match usize::try_from(fd.as_raw_fd()).ok().and_then(|number| self.descriptors.get_mut(number)) {
            Some(descriptor) => descriptor.register(&self.epoll, fd, descriptor.interest),
            None => Err(Errno::BADF),
        }
    }

    /// `slot`, whose request this is, waits no longer. What was asked for its sake stays asked as long as others wait.
    pub fn forget(&mut self, request: &Request<'_>, number: usize, slot: usize) {
        let descriptor = &mut self.descriptors[number];
        descriptor.waiting.retain(|&other| other != slot);
        if descriptor.waiting.is_empty()
            && let Way::Ready(fd, _) = request.way()
            && let Ok(fd) = fd.os()
        {
            // Failing that, there are wakes in vain, and nothing worse.
            let _stays = descriptor.register(&self.epoll, fd, NOTHING);
        }
    }

    /// Who waits on `number`.
    pub fn take_waiting(&mut self, number: usize) -> Vec<usize> {
        std::mem::take(&mut self.descriptors[number].waiting)
    }

    /// Those who still do.
    pub fn put_waiting(&mut self, number: usize, waiting: Vec<usize>) {
        self.descriptors[number].waiting = waiting;
    }

    /// Waits, and says how many events there are. Early and with none if a signal came.
    pub fn wait(&mut self, park: Park) -> Result<usize, Errno> {
        self.events.clear();
        let timeout = match park {
            Park::No => Some(NOT_AT_ALL),
            Park::Until(None) => None,
            Park::Until(Some(moment)) => Some(self.wait_below_a_millisecond(moment)?),
        };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Err(Errno::INTR) => Ok(0),
            waited => waited,
        }
    }

    /// A number and what it has; `None` for the inbox, and for the echo of a file that had the number before.
    pub fn event(&self, index: usize) -> Option<(usize, Interest)> {
        let epoll::Event { flags, data } = self.events[index];
        let data = data.u64();
        if data == INBOX {
            return None;
        }
        let (number, asking) = ((data & u64::from(u32::MAX)) as usize, (data >> 32) as u32);
        // Readiness has 16 bits; the others are what we asked for.
        let came = Interest::from_bits((flags.bits() & 0xffff) as u16);
        (self.descriptors[number].asking == asking).then_some((number, came))
    }

    /// epoll_wait(2) counts milliseconds, and kernels before 5.11 have no other. What is left below one is waited for
    /// by ppoll(2), which counts nanoseconds; above that, whole milliseconds are, and the rest by the next wait.
    fn wait_below_a_millisecond(&self, moment: Instant) -> Result<Timespec, Errno> {
        let left = moment.saturating_duration_since(Instant::now());
        let milliseconds = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).min(MILLISECONDS_MAX);
        if milliseconds > 0 {
            return Ok(timespec(Duration::from_millis(milliseconds)));
        }
        if !left.is_zero() {
            let mut epoll = [PollFd::new(&self.epoll, PollFlags::IN)];
            match rustix::event::poll(&mut epoll, Some(&timespec(left))) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(NOT_AT_ALL)
    }
}

impl Descriptor {
    fn new() -> Descriptor {
        Descriptor { is_registered: false, asking: 0, interest: NOTHING, waiting: Vec::new() }
    }

    /// Registers with whichever of the two calls is more likely right.
    fn register(&mut self, epoll: &OwnedFd, fd: BorrowedFd<'_>, interest: Interest) -> Result<(), Errno> {
        self.asking = self.asking.wrapping_add(1);
        let data = EventData::new_u64(u64::from(self.asking) << 32 | u64::from(fd.as_raw_fd().unsigned_abs()));
        let flags = EventFlags::from_bits_retain(u32::from(interest.bits())) | EventFlags::ET;
        let registered = if self.is_registered {
            match epoll::modify(epoll, fd, data, flags) {
                Err(Errno::NOENT) => epoll::add(epoll, fd, data, flags),
                modified => modified,
            }
        } else {
            match epoll::add(epoll, fd, data, flags) {
                Err(Errno::EXIST) => epoll::modify(epoll, fd, data, flags),
                added => added,
            }
        };
        self.is_registered = registered.is_ok();
        self.interest = interest;
        registered
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

//! The fallback driver by itself: no tasks, no executor, so that each turn is one that the test takes.

mod cancelling;
mod pool;
mod random;
mod sockets;
mod waiting;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Fallback;
use crate::blocking::pool::Pool;
use crate::driver::Park;
use crate::fd::SharedFd;
use crate::inbox::Inbox;
use crate::inflight::held::{Cells, Held, Proof};
use crate::inflight::slots::{Consequence, Event, Key, Next, Slots};
use crate::op::ready::Interest;
use crate::op::socket::Recv;
use crate::op::{Op, Reply};
use rustix::net::RecvFlags;

/// Nothing here takes that long: a test that waits until then has lost something.
const LOST: Duration = Duration::from_secs(10);

/// What a core has, without the core.
struct Desk {
    fallback: Fallback,
    slots: Slots,
    cells: Cells,
    inbox: Arc<Inbox>,
    /// Last replies that nobody has asked for yet.
    answered: HashMap<Key, (Held, Proof)>,
    /// Replies that came in the latest turn: items, then last ones.
    turn: (usize, usize),
    /// Who was to be stopped.
    stopped: Vec<Key>,
}

impl Desk {
    fn new() -> Desk {
        Desk::with_pool(Pool::new(4, 64))
    }

    fn with_pool(pool: Arc<Pool>) -> Desk {
        let inbox = Inbox::new().unwrap();
        Desk {
            fallback: Fallback::new(inbox.clone(), pool).unwrap(),
            slots: Slots::new(),
            cells: Cells::new(),
            inbox,
            answered: HashMap::new(),
            turn: (0, 0),
            stopped: Vec::new(),
        }
    }

    /// Every op is a stream here: that has no waker, and remembers all that came.
    fn start<T: Op>(&mut self, op: T) -> Key {
        let (held, loan) = Held::place(op, &self.cells);
        let key = self.slots.insert_stream(held, loan.replies());
        self.fallback.start(loan.under(key));
        key
    }

    /// One turn, as a core takes it.
    fn wait(&mut self, park: Park) {
        let Desk { fallback, slots, inbox, turn, stopped, .. } = self;
        let park = if inbox.prepare_to_park() { park } else { Park::No };
        *turn = (0, 0);
        let waited = fallback.wait(park, |event| {
            match event {
                Event::Last(..) => turn.1 += 1,
                Event::More(..) => turn.0 += 1,
            }
            // Nobody sleeps, so nobody is woken.
            if let Consequence::Stop(key) = slots.deliver(event) {
                stopped.push(key);
            }
        });
        inbox.unparked();
        waited.unwrap();
    }

    /// A turn that something must end.
    fn wait_in_time(&mut self) {
        let until = Instant::now() + LOST;
        self.wait(Park::Until(Some(until)));
        assert!(Instant::now() < until, "nothing ended the wait");
    }

    /// What there is to hand over. Several turns, so that whatever repeats itself shows.
    fn settle(&mut self) {
        for _turn in 0..5 {
            self.wait(Park::No);
        }
    }

    fn item(&mut self, key: Key) -> Option<io::Result<Reply>> {
        match self.slots.next(key) {
            Next::Item(item) => Some(item),
            Next::Last(held, proof) => {
                self.answered.insert(key, (held, proof));
                None
            }
            Next::Nothing => None,
        }
    }

    fn items(&mut self, key: Key) -> Vec<io::Result<Reply>> {
        std::iter::from_fn(|| self.item(key)).collect()
    }

    /// The output, if the last reply came.
    fn answer<T: Op>(&mut self, key: Key) -> Option<T::Output> {
        if !self.answered.contains_key(&key) {
            assert!(self.item(key).is_none(), "items that nobody expected");
        }
        let (held, proof) = self.answered.remove(&key)?;
        let (op, reply) = held.settle::<T, _>(proof, &self.cells, |op, reply| (op, reply));
        Some(op.finish(reply))
    }

    /// Waits for the output.
    fn finish<T: Op>(&mut self, key: Key) -> T::Output {
        let until = Instant::now() + LOST;
        loop {
            if let Some(output) = self.answer::<T>(key) {
                return output;
            }
            assert!(Instant::now() < until, "no answer to {key:?}");
            self.wait(Park::Until(Some(until)));
        }
    }

    fn run<T: Op>(&mut self, op: T) -> T::Output {
        let key = self.start(op);
        self.finish::<T>(key)
    }

    /// How many system calls it took to wait until `moment`.
    fn enters_until(&mut self, moment: Instant) -> u64 {
        let before = self.fallback.counters().enters;
        while Instant::now() < moment {
            self.wait(Park::Until(Some(moment)));
        }
        self.fallback.counters().enters - before
    }
}

/// Receives without an attempt before the wait, which would hide what the watching does.
fn recv(fd: &SharedFd, len: usize) -> Recv<Vec<u8>> {
    Recv { fd: fd.clone(), buf: vec![0; len], flags: RecvFlags::empty(), poll_first: true }
}

/// Ours, for the driver, and theirs, for std.
fn pair() -> (SharedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (SharedFd::new(OwnedFd::from(ours)), theirs)
}

/// The same, with ours under this number. Each test that needs one has its own, far above what all of them open.
fn pair_numbered(number: i32) -> (SharedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let ours = rustix::io::fcntl_dupfd_cloexec(&ours, number).unwrap();
    assert_eq!(ours.as_raw_fd(), number);
    (SharedFd::new(ours), theirs)
}

fn received(output: crate::buf::BufResult<usize, Vec<u8>>) -> Vec<u8> {
    let (len, mut buf) = output.unwrap();
    buf.truncate(len);
    buf
}

fn is_cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error())
}

const READABLE: Interest = Interest::READABLE;

//! What all handles of one open file share: whose turn it is at the cursor, and what dropped futures left behind.
//!
//! ```text
//!  future polled ──► op in flight ──► reply ──► finish
//!                        │ drop: an orphan begins
//!                        ▼
//!                     orphan ── reply ──► abandon: undo, or go on, or keep the error ──► it ends
//!                                                        │
//!       later writes, syncs, close wait ◄────────────────┘
//! ```
//!
//! Bound: later writes wait for orphans, so there are never more of them than writes that were in flight together.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, SeekFrom};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use runtime::call;
use runtime::fd::{FdRef, SharedFd};
use runtime::op::file::Position;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::turns::Turns;
use super::waiting::OtherEnd;

/// The open file description, as open(2) calls it.
#[derive(Debug)]
pub(crate) struct Description {
    pub turns: Turns,
    /// Whether the file system can tell if a read would wait. Direct I/O cannot: there the same call waits for the
    /// disk.
    pub tries: Cell<bool>,
    /// O_DIRECT: memory has to be aligned, and the cursor moved.
    pub is_direct: bool,
    /// O_APPEND.
    pub appends: bool,
    pub other_end: OtherEnd,
    /// Known to have offsets to read at, and to write at. They never change.
    pub reads_at: Cell<bool>,
    pub writes_at: Cell<bool>,
    orphans: Cell<Orphans>,
    awaiting_orphans: RefCell<Vec<Waker>>,
    /// Why a write or a sync failed that nobody waited for. Told once.
    error: RefCell<Option<io::Error>>,
    /// What a dropped read took from a pipe or a terminal, where nothing can be put back. Read first.
    parked: RefCell<VecDeque<u8>>,
}

/// How many ops in flight have lost their futures.
#[derive(Debug, Clone, Copy, Default)]
struct Orphans {
    all: usize,
    writes: usize,
    syncs: usize,
}

impl Orphans {
    fn of(&mut self, effect: Effect) -> Option<&mut usize> {
        match effect {
            Effect::None => None,
            Effect::Writes => Some(&mut self.writes),
            Effect::Syncs => Some(&mut self.syncs),
        }
    }
}

/// What an op does to its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    Writes,
    /// The kernel tells a sync of a failed write once, so its error must not go with its future.
    Syncs,
}

impl Description {
    pub fn new(flags: OFlags) -> Rc<Description> {
        let is_direct = flags.contains(OFlags::DIRECT);
        Rc::new(Description {
            turns: Turns::default(),
            tries: Cell::new(!is_direct),
            is_direct,
            appends: flags.contains(OFlags::APPEND),
            other_end: OtherEnd::new(flags),
            reads_at: Cell::new(false),
            writes_at: Cell::new(false),
            orphans: Cell::default(),
            awaiting_orphans: RefCell::default(),
            error: RefCell::default(),
            parked: RefCell::default(),
        })
    }

    /// Refuses a read at an offset where there are none: in a pipe, a socket, a terminal. A ring takes no heed of the
    /// offset there, and would take what comes next. One system call for each open file.
    ///
    /// # Errors
    ///
    /// ESPIPE, as pread(2).
    #[cold]
    pub fn check_read(&self, fd: FdRef<'_>, position: Position) -> io::Result<()> {
        // With no memory to fill the kernel looks at nothing but the descriptor.
        ask_for_offsets(&self.reads_at, fd, position, |fd| rustix::io::preadv(fd, &mut [], 0))
    }

    /// As [`check_read`](Description::check_read), of a write.
    #[cold]
    pub fn check_write(&self, fd: FdRef<'_>, position: Position) -> io::Result<()> {
        ask_for_offsets(&self.writes_at, fd, position, |fd| rustix::io::pwritev(fd, &[], 0))
    }

    /// Waits until no dropped write is on its way any more.
    ///
    /// # Errors
    ///
    /// Why one of them failed.
    pub async fn writes_settled(&self) -> io::Result<()> {
        self.settled(|orphans| orphans.writes).await;
        self.error.take().map_or(Ok(()), Err)
    }

    /// Waits until no dropped write or sync is on its way any more: a sync that begins before another has failed would
    /// not be told, since the kernel tells one of them.
    ///
    /// # Errors
    ///
    /// Why one of them failed.
    pub async fn syncs_settled(&self) -> io::Result<()> {
        self.settled(|orphans| orphans.writes + orphans.syncs).await;
        self.error.take().map_or(Ok(()), Err)
    }

    /// Waits until nothing is in flight any more that lost its future.
    ///
    /// # Errors
    ///
    /// Why a dropped write failed.
    pub async fn all_settled(&self) -> io::Result<()> {
        self.settled(|orphans| orphans.all).await;
        self.error.take().map_or(Ok(()), Err)
    }

    async fn settled(&self, left: impl Fn(Orphans) -> usize) {
        poll_fn(|context| {
            // A waker is anybody's: it is cloned before the borrow, and before the last look, since it may end an
            // orphan.
            let waker = (left(self.orphans.get()) > 0).then(|| context.waker().clone());
            let Some(waker) = waker.filter(|_| left(self.orphans.get()) > 0) else { return Poll::Ready(()) };
            let mut awaiting = self.awaiting_orphans.borrow_mut();
            let is_known = awaiting.iter().any(|known| known.will_wake(&waker));
            if !is_known {
                awaiting.push(waker);
            }
            Poll::Pending
        })
        .await;
    }

    /// An op in flight lost its future.
    pub fn orphan_begins(&self, effect: Effect) {
        let mut orphans = self.orphans.get();
        orphans.all += 1;
        if let Some(count) = orphans.of(effect) {
            *count += 1;
        }
        self.orphans.set(orphans);
    }

    /// Its reply came.
    pub fn orphan_ends(&self, effect: Effect) {
        // At its end a runtime also answers ops whose futures were leaked, and which nobody has counted.
        let mut orphans = self.orphans.get();
        orphans.all = orphans.all.saturating_sub(1);
        if let Some(count) = orphans.of(effect) {
            *count = count.saturating_sub(1);
        }
        self.orphans.set(orphans);
        let awaiting = self.awaiting_orphans.take();
        for waker in awaiting {
            waker.wake();
        }
    }

    /// Keeps the error of a write or a sync that nobody waits for. The first one counts: what comes after it may follow
    /// from it.
    pub fn keep_error(&self, error: io::Error) {
        self.error.borrow_mut().get_or_insert(error);
    }

    /// A dropped read took `bytes` from the cursor: the next reader must find them there.
    pub fn put_back(&self, fd: &SharedFd, bytes: &[u8]) {
        // A pipe has no cursor.
        if !matches!(sought_back(fd, bytes.len() as u64), Ok(true)) {
            self.parked.borrow_mut().extend(bytes);
        }
    }

    /// Takes what was parked, as much as `buf` holds. 0: nothing was.
    pub fn take_parked(&self, buf: &mut [u8]) -> usize {
        let mut parked = self.parked.borrow_mut();
        let len = parked.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(parked.drain(..len)) {
            *to = from;
        }
        len
    }

    pub fn has_parked(&self) -> bool {
        !self.parked.borrow().is_empty()
    }
}

fn ask_for_offsets(
    are_known: &Cell<bool>,
    fd: FdRef<'_>,
    position: Position,
    ask: fn(BorrowedFd<'_>) -> rustix::io::Result<usize>,
) -> io::Result<()> {
    if position == Position::Cursor {
        return Ok(());
    }
    // A simulated kernel looks at the offset itself, as pread(2) does. What else is wrong, the op will say.
    if let FdRef::Os(fd) = fd
        && let Err(Errno::SPIPE) = ask(fd)
    {
        return Err(Errno::SPIPE.into());
    }
    are_known.set(true);
    Ok(())
}

/// Moves the cursor back by `len`. `false`: it stays, as that of an eventfd, a timerfd or an inotify does, whose
/// lseek(2) succeeds and does nothing.
fn sought_back(fd: &SharedFd, len: u64) -> io::Result<bool> {
    let before = call::seek(fd, SeekFrom::Current(0))?;
    let Some(wanted) = before.checked_sub(len) else { return Ok(false) };
    Ok(call::seek(fd, SeekFrom::Start(wanted))? == wanted && wanted != before)
}

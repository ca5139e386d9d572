//! Lent transfers that must wait. Who waits for a disk waits in a buffer of ours, and a disk answers soon. Who waits
//! for somebody at another end, of a pipe, a terminal or an eventfd, may wait for good, and our buffers are few: so it
//! waits for readiness, holds nothing, and then tries on the lent memory itself.
//!
//! ```text
//!  read, write ──► a disk's? ── yes ──► a buffer of ours ──► op ──► copied
//!                     │ no
//!                     ▼
//!              ┌─► tried ── done ──────────────────────────► told
//!              │     │ nothing there: not yet, or not any more
//!              └── poll
//! ```

use std::cell::Cell;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use runtime::buf::IoBuf;
use runtime::call;
use runtime::op::file::Position;
use runtime::op::ready::{self, Interest};
use runtime::op::{Op, Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, OFlags, fcntl_getfl};
use rustix::io::{Errno, retry_on_intr};

use super::File;
use super::bounce::Bounce;
use super::description::{Description, Effect};
use super::transfer::{Remains, TendedOp, tended};
use super::turns::Turn;

/// What an open file knows of whoever is at its other end.
#[derive(Debug)]
pub(crate) struct OtherEnd {
    /// `None`: nobody has asked yet. It never changes.
    is_there: Cell<Option<bool>>,
    /// O_NONBLOCK, when the handle was made: its owner wants to hear that there is nothing.
    declines_to_wait: bool,
    /// Whether the kernel can tell if a write would wait.
    tries_writes: Cell<bool>,
}

/// As much as a pipe holds; a terminal gives less.
const READ_MAX: usize = 64 << 10;

/// What is ready has room for so much (`PIPE_BUF`). A write of more would wait for the rest.
const WRITE_MAX: usize = 4096;

impl OtherEnd {
    pub fn new(flags: OFlags) -> OtherEnd {
        OtherEnd {
            is_there: Cell::new(None),
            declines_to_wait: flags.contains(OFlags::NONBLOCK),
            tries_writes: Cell::new(true),
        }
    }
}

impl File {
    /// Reads what was not there at once. At most 256 KiB.
    pub(super) async fn read_waiting(
        &self,
        buf: &mut [u8],
        position: Position,
        turn: Option<Turn>,
    ) -> io::Result<usize> {
        let mut len = buf.len();
        let has_other_end = self.has_other_end();
        if has_other_end {
            self.description.check_read(self.fd.borrow(), position)?;
            if let Some(read) = self.read_declining(buf, position).await {
                return read;
            }
            if let Some(read) = self.read_when_ready(buf, position).await {
                return read;
            }
            len = len.min(READ_MAX);
        }
        let bounce = Bounce::take(len, has_other_end || self.description.is_direct).await;
        let (n, bounce) = tended(&self.description, self.reading::<_, false>(bounce, position, turn)).await?;
        buf[..n].copy_from_slice(&bounce.bytes()[..n]);
        Ok(n)
    }

    /// Writes at most 256 KiB from a copy; to another end, what there is room for, from where it lies.
    pub(super) async fn write_waiting(
        &self,
        mut buf: &[u8],
        position: Position,
        turn: Option<Turn>,
    ) -> io::Result<usize> {
        if buf.is_empty() {
            return self.write_nothing(position);
        }
        let has_other_end = self.has_other_end();
        if has_other_end {
            if let Some(written) = self.write_declining(buf, position).await {
                return written;
            }
            if let Some(written) = self.write_when_ready(buf, position).await {
                return written;
            }
            buf = &buf[..buf.len().min(WRITE_MAX)];
        }
        let bounce = Bounce::copy_of(buf, has_other_end || self.description.is_direct).await;
        let (n, _bounce) = tended(&self.description, self.writing(bounce, position, turn)).await?;
        Ok(n)
    }

    /// Whether transfers wait for somebody, for as long as they please, and not for a disk. One system call for each
    /// open file.
    fn has_other_end(&self) -> bool {
        let known = &self.description.other_end.is_there;
        known.get().unwrap_or_else(|| {
            let Ok(stat) = call::stat_now(&self.fd) else { return false };
            // Unknown are eventfds and their kin.
            let is_there = matches!(
                FileType::from_raw_mode(stat.mode.into()),
                FileType::Fifo | FileType::CharacterDevice | FileType::Socket | FileType::Unknown
            );
            known.set(Some(is_there));
            is_there
        })
    }

    /// Reads as std does, if the file is O_NONBLOCK and that means something: a ring, and epoll, would wait all the
    /// same.
    pub(super) async fn read_declining(&self, buf: &mut [u8], position: Position) -> Option<io::Result<usize>> {
        let fd = self.declining().await?;
        let read = match position {
            Position::At(offset) => rustix::io::pread(fd, buf, offset),
            Position::Cursor => rustix::io::read(fd, buf),
        };
        Some(read.map_err(io::Error::from))
    }

    /// Writes as std does: see [`read_declining`](File::read_declining).
    pub(super) async fn write_declining(&self, buf: &[u8], position: Position) -> Option<io::Result<usize>> {
        let fd = self.declining().await?;
        let written = match position {
            Position::At(offset) => rustix::io::pwrite(fd, buf, offset),
            Position::Cursor => rustix::io::write(fd, buf),
        };
        Some(written.map_err(io::Error::from))
    }

    /// The descriptor, if no system call on it waits. Others have their turn before that, as before an op.
    async fn declining(&self) -> Option<BorrowedFd<'_>> {
        if !self.description.other_end.declines_to_wait || !self.has_other_end() {
            return None;
        }
        runtime::yield_now().await;
        let fd = self.fd.os().ok()?;
        // Whoever shares the open file may have changed that.
        fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK)).then_some(fd)
    }

    /// Reads into lent memory when there is something. `None`: there is, and only a read that may wait can take it.
    async fn read_when_ready(&self, buf: &mut [u8], position: Position) -> Option<io::Result<usize>> {
        // Out of line, so that the first try, which most often is the only one, stays in it.
        #[inline(never)]
        fn again(file: &File, buf: &mut [u8], position: Position) -> io::Result<usize> {
            file.try_read(buf, position)
        }
        let attempt = || again(self, buf, position);
        self.when_ready(Interest::READABLE, &self.description.tries, attempt).await
    }

    /// Writes from lent memory when there is room. `None`: there is, and only a write that may wait can have it.
    async fn write_when_ready(&self, buf: &[u8], position: Position) -> Option<io::Result<usize>> {
        let attempt = || self.try_write(buf, position);
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.when_ready(Interest::WRITABLE, &self.description.other_end.tries_writes, attempt).await
            }
            written => Some(written),
        }
    }

    /// Waits, attempts, and waits again if that came to nothing. Bound: each round is one that somebody else was faster
    /// in.
    async fn when_ready(
        &self,
        interest: Interest,
        tries: &Cell<bool>,
        mut attempt: impl FnMut() -> io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        loop {
            // Of a terminal and of a FIFO nobody knows more than that it is ready. The transfer waits if somebody else
            // is faster.
            if !tries.get() && self.is_ready(interest) {
                return None;
            }
            match self.wait_until_ready(interest).await {
                Ok(came) if came.intersects(interest) => {}
                // It cannot be waited for so; or a ring tells of a socket's end to somebody who waits for room.
                _ => return None,
            }
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Some(done),
            }
        }
    }

    /// Writes what there is room for. [`WouldBlock`](io::ErrorKind::WouldBlock): it has to wait, or cannot tell.
    fn try_write(&self, buf: &[u8], position: Position) -> io::Result<usize> {
        let tries = &self.description.other_end.tries_writes;
        if !tries.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match call::try_write(&self.fd, buf, position) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {
                tries.set(false);
                Err(io::ErrorKind::WouldBlock.into())
            }
            written => written,
        }
    }

    /// Waits for an event, and holds nothing but the descriptor.
    async fn wait_until_ready(&self, interest: Interest) -> io::Result<Interest> {
        let poll = ready::Poll { fd: self.fd.clone(), interest };
        tended(&self.description, Readiness { poll, description: self.description.clone() }).await
    }

    /// Whether an event is there now, or nobody can say.
    fn is_ready(&self, interest: Interest) -> bool {
        let Ok(fd) = self.fd.os() else { return true };
        let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::from_bits_retain(interest.bits()))];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(retry_on_intr(|| rustix::event::poll(&mut asked, Some(&now))), Ok(0))
    }
}

/// A wait for whoever is at the other end, which takes nothing.
#[derive(Debug)]
struct Readiness {
    poll: ready::Poll,
    description: Rc<Description>,
}

impl TendedOp for Readiness {
    const EFFECT: Effect = Effect::None;
}

impl Op for Readiness {
    type Output = io::Result<Interest>;

    fn request(&mut self) -> Request<'_> {
        self.poll.request()
    }

    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        self.poll.finish(reply)
    }

    fn abandon(self, _reply: io::Result<Reply>) {
        let Readiness { poll, description } = self;
        let remains = Remains::new(None, description, Self::EFFECT);
        drop(poll);
        drop(remains);
    }
}

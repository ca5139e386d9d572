//! The runtime's file ops, tended: what a dropped one does, its open file hears.
//!
//! Reads give back what they took from the cursor; writes and cuts go on to their end and keep their error for the next
//! caller.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use runtime::buf::{BufResult, IoBuf, IoBufMut};
use runtime::op::file::{Fsync, Position, Read, Truncate, Write};
use runtime::op::{LEN_MAX, OnDrop, Op, Reply, Request};
use runtime::{Submit, submit};
use rustix::io::Errno;

use super::description::{Description, Effect};
use super::turns::Turn;

/// Awaits `op`, and counts it as an orphan of `description` if that is given up.
pub(super) fn tended<T: TendedOp>(description: &Description, op: T) -> Tended<'_, T> {
    Tended { submit: submit(op), description }
}

/// An op that tells its open file when it ends as an orphan, by [`Remains`].
pub(super) trait TendedOp: Op {
    const EFFECT: Effect;
}

/// A tended op on its way.
#[must_use = "an op does nothing until it is awaited"]
#[derive(Debug)]
pub(super) struct Tended<'a, T: TendedOp> {
    submit: Submit<T>,
    description: &'a Description,
}

impl<T: TendedOp> Future for Tended<'_, T> {
    type Output = T::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T::Output> {
        Pin::new(&mut self.submit).poll(context)
    }
}

impl<T: TendedOp> Drop for Tended<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Counted before `submit` is dropped: an answer that is there already ends the orphan at once.
        if self.submit.is_in_flight() {
            self.description.orphan_begins(T::EFFECT);
        }
    }
}

/// What is left of an orphan after its descriptor and buffer went: its turn, and its place in the count. Fields are
/// dropped in this order, so that who waits for the end finds the turn free.
#[derive(Debug)]
pub(super) struct Remains {
    _turn: Option<Turn>,
    ending: Ending,
}

#[derive(Debug)]
struct Ending(Rc<Description>, Effect);

impl Remains {
    pub(super) fn new(turn: Option<Turn>, description: Rc<Description>, effect: Effect) -> Remains {
        Remains { _turn: turn, ending: Ending(description, effect) }
    }

    fn description(&self) -> &Description {
        &self.ending.0
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.orphan_ends(self.1);
    }
}

/// A read. Into memory that is lent, and not `GIVEN`, it has been tried before, so that an offset where there are none
/// has been refused.
#[derive(Debug)]
pub(super) struct Reading<B, const GIVEN: bool> {
    pub read: Read<B>,
    pub description: Rc<Description>,
    /// At the cursor.
    pub turn: Option<Turn>,
    /// It is to be moved from here: see [`direct`](super::direct).
    pub leaves_cursor: bool,
}

impl<B: IoBufMut, const GIVEN: bool> TendedOp for Reading<B, GIVEN> {
    const EFFECT: Effect = Effect::None;
}

impl<B: IoBufMut, const GIVEN: bool> Op for Reading<B, GIVEN> {
    type Output = BufResult<usize, B>;

    #[inline]
    fn check(&self) -> io::Result<()> {
        self.read.check()?;
        if !GIVEN || self.description.reads_at.get() {
            return Ok(());
        }
        self.description.check_read(self.read.fd.borrow(), self.read.position)
    }

    #[inline]
    fn request(&mut self) -> Request<'_> {
        self.read.request()
    }

    #[inline(always)]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        if self.leaves_cursor
            && let Ok(Reply::Count(count)) = &reply
        {
            self.description.move_behind_read(&self.read.fd, self.read.position, *count);
        }
        self.read.finish(reply)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        let Reading { read, description, turn, leaves_cursor: _ } = self;
        let remains = Remains::new(turn, description, Self::EFFECT);
        if read.position == Position::Cursor
            && let Ok(count) = reply.and_then(Reply::count)
            && count > 0
        {
            let bytes = read.buf.bytes();
            remains.description().put_back(&read.fd, &bytes[..count.min(bytes.len())]);
        }
        drop(read);
        drop(remains);
    }
}

/// A write.
#[derive(Debug)]
pub(super) struct Writing<B> {
    pub write: Write<B>,
    pub description: Rc<Description>,
    /// At the cursor.
    pub turn: Option<Turn>,
    /// It is to be moved from here: see [`direct`](super::direct).
    pub leaves_cursor: bool,
}

impl<B: IoBuf> TendedOp for Writing<B> {
    const EFFECT: Effect = Effect::Writes;
}

impl<B: IoBuf> Op for Writing<B> {
    type Output = BufResult<usize, B>;

    const ON_DROP: OnDrop = OnDrop::Finish;

    #[inline]
    fn check(&self) -> io::Result<()> {
        self.write.check()?;
        if self.description.writes_at.get() {
            return Ok(());
        }
        self.description.check_write(self.write.fd.borrow(), self.write.position)
    }

    #[inline]
    fn request(&mut self) -> Request<'_> {
        self.write.request()
    }

    #[inline]
    fn finish(self, reply: io::Result<Reply>) -> Self::Output {
        if self.leaves_cursor
            && let Ok(Reply::Count(count)) = &reply
        {
            self.description.move_behind_write(&self.write.fd, self.write.position, *count);
        }
        self.write.finish(reply)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        let Writing { write, description, turn, leaves_cursor } = self;
        let remains = Remains::new(turn, description, Self::EFFECT);
        let asked = write.buf.bytes().len().min(LEN_MAX);
        let written = match reply.and_then(Reply::count) {
            Ok(0) if asked > 0 => Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            written => written,
        };
        match written {
            Ok(written) if written < asked => {
                drop(runtime::spawn(write_rest(write, written..asked, leaves_cursor, remains)));
            }
            Ok(written) => {
                if leaves_cursor {
                    remains.description().move_behind_write(&write.fd, write.position, written);
                }
                drop(write);
            }
            Err(error) => {
                drop(write);
                remains.description().keep_error(error);
            }
        }
    }
}

/// Writes what is left of a write that came back short after its future was dropped: half of it would be worse than
/// all.
async fn write_rest<B: IoBuf>(write: Write<B>, mut left: Range<usize>, leaves_cursor: bool, remains: Remains) {
    let Write { fd, mut buf, position } = write;
    while !left.is_empty() {
        let position = advance(position, left.start);
        let rest = Write { fd: fd.clone(), buf: buf.slice(left.clone()), position };
        let (counted, back) = match submit(rest).await {
            Ok((0, rest)) => (Err(io::ErrorKind::WriteZero.into()), rest.into_inner()),
            Ok((count, rest)) => (Ok(count), rest.into_inner()),
            Err(failed) if failed.kind() == io::ErrorKind::Interrupted => (Ok(0), failed.into_buf().into_inner()),
            Err(failed) => {
                let (error, rest) = failed.into_parts();
                (Err(error), rest.into_inner())
            }
        };
        buf = back;
        match counted {
            Ok(count) => left.start += count,
            Err(error) => {
                remains.description().keep_error(error);
                break;
            }
        }
    }
    if leaves_cursor {
        remains.description().move_behind_write(&fd, position, left.start);
    }
    drop((fd, buf));
    drop(remains);
}

/// Where a transfer goes on after `done` bytes. The cursor moves by itself.
pub(super) fn advance(position: Position, done: usize) -> Position {
    match position {
        Position::At(offset) => Position::At(offset.saturating_add(done as u64)),
        Position::Cursor => Position::Cursor,
    }
}

/// A change of the file's length.
#[derive(Debug)]
pub(super) struct Resizing {
    pub truncate: Truncate,
    pub description: Rc<Description>,
}

impl TendedOp for Resizing {
    const EFFECT: Effect = Effect::Writes;
}

impl Op for Resizing {
    type Output = io::Result<()>;

    const ON_DROP: OnDrop = OnDrop::Finish;

    fn check(&self) -> io::Result<()> {
        self.truncate.check()
    }

    fn request(&mut self) -> Request<'_> {
        self.truncate.request()
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<()> {
        self.truncate.finish(reply)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        let Resizing { truncate, description } = self;
        let remains = Remains::new(None, description, Self::EFFECT);
        match reply {
            Ok(_) => drop(truncate),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                drop(runtime::spawn(resize_again(truncate, remains)));
            }
            Err(error) => {
                drop(truncate);
                remains.description().keep_error(error);
            }
        }
    }
}

/// Goes on with a change of length that a signal interrupted after its future was dropped.
async fn resize_again(truncate: Truncate, remains: Remains) {
    let Truncate { fd, len } = truncate;
    loop {
        match submit(Truncate { fd: fd.clone(), len }).await {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            resized => {
                drop(fd);
                return resized.err().into_iter().for_each(|error| remains.description().keep_error(error));
            }
        }
    }
}

/// A sync.
#[derive(Debug)]
pub(super) struct Syncing {
    pub fsync: Fsync,
    pub description: Rc<Description>,
}

impl TendedOp for Syncing {
    const EFFECT: Effect = Effect::Syncs;
}

impl Op for Syncing {
    type Output = io::Result<()>;

    fn request(&mut self) -> Request<'_> {
        self.fsync.request()
    }

    fn finish(self, reply: io::Result<Reply>) -> io::Result<()> {
        self.fsync.finish(reply)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        let Syncing { fsync, description } = self;
        let remains = Remains::new(None, description, Self::EFFECT);
        // The kernel takes what it could not write for written from now on, and tells nobody else.
        if let Err(error) = fsync.finish(reply)
            && !was_stopped(&error)
        {
            remains.description().keep_error(error);
        }
        drop(remains);
    }
}

/// Whether the error only says that the op was not done.
fn was_stopped(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::CANCELED | Errno::INTR))
}

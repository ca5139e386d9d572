//! Direct I/O at the cursor. A ring starts it, the disk answers later, and by then the kernel moves no cursor. So it is
//! asked for at the offset where the cursor is, and who gets the answer moves the cursor, while its turn lasts.

use std::io::{self, SeekFrom};

use runtime::call;
use runtime::fd::SharedFd;
use runtime::op::file::Position;

use super::File;
use super::description::Description;

/// Where a transfer starts, and whether the cursor waits there to be moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub position: Position,
    pub leaves_cursor: bool,
}

impl File {
    /// Of one at the cursor the caller has the turn.
    #[inline]
    pub(super) fn start(&self, position: Position) -> Start {
        if position == Position::Cursor
            && self.description.is_direct
            && let Ok(cursor) = self.cursor()
        {
            return Start { position: Position::At(cursor), leaves_cursor: true };
        }
        Start { position, leaves_cursor: false }
    }

    /// A pipe has none.
    #[cold]
    fn cursor(&self) -> io::Result<u64> {
        call::seek(&self.fd, SeekFrom::Current(0))
    }
}

impl Description {
    /// `count` bytes were read from `position` on.
    #[cold]
    pub fn move_behind_read(&self, fd: &SharedFd, position: Position, count: usize) {
        if let Position::At(start) = position {
            move_cursor(fd, SeekFrom::Start(start + count as u64));
        }
    }

    /// `count` bytes were written from `position` on, or at the end that the file had.
    #[cold]
    pub fn move_behind_write(&self, fd: &SharedFd, position: Position, count: usize) {
        match position {
            _ if count == 0 => {}
            // Where that was nobody tells. If others have appended since, this is behind them too.
            Position::At(_) if self.appends => move_cursor(fd, SeekFrom::End(0)),
            Position::At(start) => move_cursor(fd, SeekFrom::Start(start + count as u64)),
            Position::Cursor => {}
        }
    }
}

/// What could be sought before can be sought again.
fn move_cursor(fd: &SharedFd, to: SeekFrom) {
    let _moved = call::seek(fd, to);
}

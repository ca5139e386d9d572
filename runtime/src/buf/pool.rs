//! Buffers of the runtime's own, for reads and writes of lent memory that must wait.
//!
//! Lent memory may go away at any moment, so no op in flight points into it: what must wait lands in a [`Piece`] and is
//! copied once.
//!
//! Bound: so many pieces of 256 KiB a core as [`Builder::buffers`](crate::Builder::buffers) says, made when first needed.
//! An op that finds none left waits its turn; pieces go back when the kernel is done with them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{IoBuf, IoBufMut};

/// How much one piece takes: beyond that a transfer is done in several.
pub const PIECE_LEN: usize = 256 * 1024;

const PAGE: usize = 4096;
/// A copy between two places that lie alike within their pages, or a little apart, is five times slower than one between
/// places that do not (4 KiB aliasing). malloc's large blocks start 16 bytes into a page, users' pages at 0.
const PAST_PAGE: usize = 64;

/// The pieces of one core.
pub(crate) struct Buffers(Rc<Shelf>);

struct Shelf {
    free: RefCell<Vec<Vec<u8>>>,
    /// Pieces that somebody has.
    taken: Cell<usize>,
    /// Pieces that may still be made.
    unmade: Cell<usize>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    next_ticket: Cell<u64>,
}

impl Buffers {
    pub fn new(pieces_max: usize) -> Buffers {
        Buffers(Rc::new(Shelf {
            free: RefCell::default(),
            taken: Cell::new(0),
            unmade: Cell::new(pieces_max),
            waiting: RefCell::default(),
            next_ticket: Cell::new(0),
        }))
    }

    /// How many pieces are with a request, or with who copies out of one.
    pub fn taken(&self) -> usize {
        self.0.taken.get()
    }

    /// Waits for a piece that can take `len` bytes, or as much of them as one piece takes.
    pub fn take(&self, len: usize) -> Take {
        Take { shelf: self.0.clone(), len: len.min(PIECE_LEN), ticket: None }
    }
}

impl Shelf {
    fn try_take(&self) -> Option<Vec<u8>> {
        if let Some(memory) = self.free.borrow_mut().pop() {
            return Some(memory);
        }
        let unmade = self.unmade.get().checked_sub(1)?;
        self.unmade.set(unmade);
        Some(vec![0; PIECE_LEN + PAGE + PAST_PAGE])
    }

    fn wake_next(&self) {
        let next = self.waiting.borrow_mut().pop_front();
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

/// Waits for a piece; in the order of first polls.
pub(crate) struct Take {
    shelf: Rc<Shelf>,
    len: usize,
    /// Our place among those who wait. It may have been called already.
    ticket: Option<u64>,
}

impl Future for Take {
    type Output = Piece;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Piece> {
        let mut waiting = self.shelf.waiting.borrow_mut();
        let place = waiting.iter().position(|(ticket, _)| Some(*ticket) == self.ticket);
        let is_called = self.ticket.is_some() && place.is_none();
        if (is_called || waiting.is_empty())
            && let Some(memory) = self.shelf.try_take()
        {
            drop(waiting);
            self.ticket = None;
            return Poll::Ready(Piece::new(self.shelf.clone(), memory, self.len));
        }
        match place {
            Some(place) => {
                let before = std::mem::replace(&mut waiting[place].1, context.waker().clone());
                drop(waiting);
                drop(before);
            }
            None => {
                let ticket =
                    self.ticket.unwrap_or_else(|| self.shelf.next_ticket.replace(self.shelf.next_ticket.get() + 1));
                // Who was called and found nothing stands in front, as before.
                if is_called {
                    waiting.push_front((ticket, context.waker().clone()));
                } else {
                    waiting.push_back((ticket, context.waker().clone()));
                }
                drop(waiting);
                self.ticket = Some(ticket);
            }
        }
        Poll::Pending
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        let Some(mine) = self.ticket else { return };
        let mut waiting = self.shelf.waiting.borrow_mut();
        let before = waiting.len();
        waiting.retain(|(ticket, _)| *ticket != mine);
        let was_called = waiting.len() == before;
        drop(waiting);
        // The piece that we were called for is the next one's.
        if was_called {
            self.shelf.wake_next();
        }
    }
}

/// A buffer of the runtime's own, which goes back when it is dropped.
pub struct Piece {
    shelf: Rc<Shelf>,
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Piece {
    fn new(shelf: Rc<Shelf>, memory: Vec<u8>, len: usize) -> Piece {
        let past_page = memory.as_ptr().addr() % PAGE;
        let start = (PAGE + PAST_PAGE - past_page) % PAGE;
        shelf.taken.set(shelf.taken.get() + 1);
        Piece { shelf, memory, start, len }
    }
}

impl IoBuf for Piece {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl IoBufMut for Piece {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece of {} bytes", self.len)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.shelf.taken.set(self.shelf.taken.get() - 1);
        self.shelf.free.borrow_mut().push(std::mem::take(&mut self.memory));
        self.shelf.wake_next();
    }
}

/// Waits for one of this core's buffers, which can take `len` bytes or the first 256 KiB of them.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Cancel safety
///
/// Dropping the future gives up the place in line.
pub fn piece(len: usize) -> impl Future<Output = Piece> {
    crate::core::take_buffer(len)
}

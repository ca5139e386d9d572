//! Buffers that the runtime owns, for reads and writes of lent memory that must wait.
//!
//! Lent memory may go away at any moment, so no op in flight points into it: a transfer that must wait goes through a
//! [`Piece`], and is copied once.
//!
//! Bound: each core has as many pieces of 256 KiB as [`Builder::buffers`](crate::Builder::buffers) says, allocated when
//! first needed. An op that finds none free waits its turn; a piece is given back when the kernel is done with it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::{IoBuf, IoBufMut};

/// The size of one piece. Longer transfers are done in several steps.
pub const PIECE_LEN: usize = 256 * 1024;

const PAGE: usize = 4096;
/// A copy between two places that lie alike within their pages, or a little apart, is five times slower than one
/// between places that do not (4 KiB aliasing). malloc's large blocks start 16 bytes into a page, users' pages at 0.
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

    /// Where in line `ticket` stands; nowhere, when it has been called.
    fn place_of(&self, ticket: u64) -> Option<usize> {
        self.waiting.borrow().iter().position(|(waits, _)| *waits == ticket)
    }

    /// Takes a place in line, or brings its waker up to date.
    fn wait(&self, ticket: Option<u64>, waker: Waker) -> u64 {
        let place = ticket.and_then(|ticket| self.place_of(ticket));
        let mut waiting = self.waiting.borrow_mut();
        match (ticket, place) {
            (Some(ticket), Some(place)) => {
                let before = std::mem::replace(&mut waiting[place].1, waker);
                drop(waiting);
                drop(before);
                ticket
            }
            // Who was called and found nothing stands in front, as before.
            (Some(ticket), None) => {
                waiting.push_front((ticket, waker));
                ticket
            }
            (None, _) => {
                let ticket = self.next_ticket.replace(self.next_ticket.get() + 1);
                waiting.push_back((ticket, waker));
                ticket
            }
        }
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
        if let Some(piece) = self.try_take() {
            return Poll::Ready(piece);
        }
        // A waker is anybody's, and cloning it may come back here: with a piece, perhaps.
        let waker = context.waker().clone();
        if let Some(piece) = self.try_take() {
            return Poll::Ready(piece);
        }
        self.ticket = Some(self.shelf.wait(self.ticket, waker));
        Poll::Pending
    }
}

impl Take {
    /// Takes a piece if it is our turn and there is one.
    fn try_take(&mut self) -> Option<Piece> {
        let is_our_turn = match self.ticket {
            Some(ticket) => self.shelf.place_of(ticket).is_none(),
            None => self.shelf.waiting.borrow().is_empty(),
        };
        let memory = if is_our_turn { self.shelf.try_take()? } else { return None };
        self.ticket = None;
        Some(Piece::new(self.shelf.clone(), memory, self.len))
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        match self.shelf.place_of(ticket) {
            Some(place) => {
                let gone = self.shelf.waiting.borrow_mut().remove(place);
                // The waker goes outside of the borrow: its drop may come back here.
                drop(gone);
            }
            // The piece that we were called for is the next one's.
            None => self.shelf.wake_next(),
        }
    }
}

/// A buffer that the runtime owns. It is given back when it is dropped. Returned by [`piece`].
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

/// Waits for one of this core's buffers. It holds `len` bytes, or 256 KiB if `len` is more.
///
/// Its initial contents are whatever its last user left there. Callers are served in the order of their first polls.
///
/// # Panics
///
/// Outside a runtime.
///
/// # Cancel safety
///
/// Dropping the future gives up the place in line.
///
/// # io_uring
///
/// No op: memory of the core, at most [this many](crate::Builder::buffers) pieces.
///
/// # Examples
///
/// ```
/// # #[runtime::main] async fn main() {
/// use runtime::buf::{IoBuf, pool};
///
/// let piece = pool::piece(1 << 30).await;
/// assert_eq!(piece.bytes().len(), pool::PIECE_LEN);
/// # }
/// ```
pub fn piece(len: usize) -> impl Future<Output = Piece> {
    crate::core::take_buffer(len)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    thread_local! {
        static HELD: RefCell<Option<Piece>> = const { RefCell::new(None) };
    }

    struct GivesBack;

    impl Wake for GivesBack {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for GivesBack {
        fn drop(&mut self) {
            let held = HELD.take();
            drop(held);
        }
    }

    /// Dropping a waker may run anything: here it gives back the piece that the line waits for.
    /// Catches: a place that is dropped while the line is borrowed.
    #[test]
    fn a_waker_that_gives_a_piece_back_when_it_is_dropped_does_not_panic() {
        let buffers = Buffers::new(1);
        let mut first = Box::pin(buffers.take(10));
        let Poll::Ready(piece) = first.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("there is a piece, and nobody waits");
        };
        HELD.set(Some(piece));
        let mut waits = Box::pin(buffers.take(10));
        let waker = Waker::from(Arc::new(GivesBack));
        assert!(waits.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);

        drop(waits);
        assert_eq!(buffers.taken(), 0, "the drop gave the piece back");
    }
}

//! One at a time, first come, first served: who may use one direction of a socket.
//!
//! ```text
//!  turn() ─► nobody has it ──────────────────────────────────► Turn ─► dropped: the next in line has it
//!        └─► somebody has it ─► a place in line ─► granted ──► Turn
//!                                    └ dropped: the place goes, and a turn that was granted meanwhile goes to the next
//! ```
//!
//! A [`Turn`] is owned, so an op in flight can carry it: then the line waits for that op's last reply, also when its
//! future is gone. Who must come behind such an orphan, and behind nobody else, waits until it is
//! [settled](Line::settled), beside the line. Without somebody who waits, nothing here allocates.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What is used by one at a time, and who waits for it.
pub(crate) struct Line<S> {
    shared: S,
    queue: RefCell<Queue>,
    /// How many turns have ended, which numbers the present one.
    ended: Cell<u64>,
    /// The present turn is an op's whose future is gone.
    left_to_op: Cell<bool>,
}

#[derive(Default)]
struct Queue {
    taken: bool,
    /// Whose turn it is, from when it was passed on until they were polled.
    granted: Option<u64>,
    last_ticket: u64,
    /// Bound: one for each future that waits for its turn.
    waiting: VecDeque<Place>,
    /// Bound: one for each future that waits for the end of the turn that was left to an op. All go with that.
    settling: Vec<Place>,
}

struct Place {
    ticket: u64,
    waker: Waker,
}

impl<S> Line<S> {
    pub fn new(shared: S) -> Rc<Line<S>> {
        Rc::new(Line { shared, queue: RefCell::default(), ended: Cell::new(0), left_to_op: Cell::new(false) })
    }

    /// Waits for the turn. Places are given in the order of the first polls.
    #[inline]
    pub fn turn(self: &Rc<Line<S>>) -> Wait<'_, S> {
        Wait { line: self, ticket: None }
    }

    /// Says, unless it is [disarmed](Leaving::disarm), that a future was dropped while its op had the turn. Whoever
    /// asks has the turn.
    #[inline]
    pub fn leaving(&self) -> Leaving<'_, S> {
        Leaving { line: self, turn: Some(self.ended.get()) }
    }

    /// Waits for an op whose future is gone, if there is one now. Does not wait for those who still wait themselves.
    pub fn settled(&self) -> Settled<'_, S> {
        Settled { line: self, ticket: None }
    }

    /// Whether an op has the turn whose future is gone.
    #[inline]
    pub fn is_left_to_op(&self) -> bool {
        self.left_to_op.get()
    }

    fn pass_on(&self) {
        self.ended.set(self.ended.get() + 1);
        if self.left_to_op.replace(false) {
            self.settle();
        }
        let mut queue = self.queue.borrow_mut();
        let Some(next) = queue.waiting.pop_front() else {
            queue.taken = false;
            return;
        };
        queue.granted = Some(next.ticket);
        // The waker may be anybody's, and may come back here.
        drop(queue);
        next.wake();
    }

    /// Before the next has the turn: what became of the op is for those who waited to hear of it.
    #[cold]
    fn settle(&self) {
        let settling = std::mem::take(&mut self.queue.borrow_mut().settling);
        settling.into_iter().for_each(Place::wake);
    }
}

impl Place {
    /// The waker is foreign: a panic, of which the panic hook has told, must not cost others their wake or their turn.
    fn wake(self) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.waker.wake())) {
            // It may panic in its own Drop.
            std::mem::forget(payload);
        }
    }
}

/// What needs no turn.
impl<S> Deref for Line<S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.shared
    }
}

/// The right to use what the line is for. Dropping it passes it on.
pub(crate) struct Turn<S> {
    line: Rc<Line<S>>,
}

impl<S> Deref for Turn<S> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.line.shared
    }
}

impl<S> Drop for Turn<S> {
    #[inline]
    fn drop(&mut self) {
        self.line.pass_on();
    }
}

/// The future of [`Line::turn`].
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Wait<'a, S> {
    line: &'a Rc<Line<S>>,
    ticket: Option<u64>,
}

impl<S> Future for Wait<'_, S> {
    type Output = Turn<S>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn<S>> {
        let line = self.line;
        match self.ticket {
            None if !std::mem::replace(&mut line.queue.borrow_mut().taken, true) => {}
            None => {
                let place = line.place(context.waker());
                let mut queue = line.queue.borrow_mut();
                // The waker's clone is foreign: it may have ended the turn, and then nobody would pass it on.
                if std::mem::replace(&mut queue.taken, true) {
                    self.ticket = Some(place.ticket);
                    queue.waiting.push_back(place);
                    return Poll::Pending;
                }
            }
            Some(ticket) if line.queue.borrow_mut().granted.take_if(|granted| *granted == ticket).is_some() => {
                self.ticket = None;
            }
            Some(ticket) => {
                line.wake_instead(ticket, context.waker());
                return Poll::Pending;
            }
        }
        Poll::Ready(Turn { line: line.clone() })
    }
}

/// The future of [`Line::settled`].
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Settled<'a, S> {
    line: &'a Line<S>,
    ticket: Option<u64>,
}

impl<S> Future for Settled<'_, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let line = self.line;
        match self.ticket {
            None if !line.left_to_op.get() => return Poll::Ready(()),
            None => {
                let place = line.place(context.waker());
                // As above.
                if !line.left_to_op.get() {
                    return Poll::Ready(());
                }
                self.ticket = Some(place.ticket);
                line.queue.borrow_mut().settling.push(place);
            }
            // A place that is gone went with the turn. That the next one may be left to its op, too, is not waited for.
            Some(ticket) if !line.wake_instead(ticket, context.waker()) => {
                self.ticket = None;
                return Poll::Ready(());
            }
            Some(_) => {}
        }
        Poll::Pending
    }
}

impl<S> Line<S> {
    #[cold]
    fn place(&self, waker: &Waker) -> Place {
        let waker = waker.clone();
        let mut queue = self.queue.borrow_mut();
        queue.last_ticket += 1;
        Place { ticket: queue.last_ticket, waker }
    }

    /// The future has moved to another task, perhaps. `false`: it has no place any more.
    fn wake_instead(&self, ticket: u64, waker: &Waker) -> bool {
        let mut waker = waker.clone();
        let mut queue = self.queue.borrow_mut();
        let place = queue.places().find(|place| place.ticket == ticket);
        let has_place = place.map(|place| std::mem::swap(&mut place.waker, &mut waker)).is_some();
        drop(queue);
        // The one before is dropped here, outside of the borrow.
        drop(waker);
        has_place
    }

    fn give_up(&self, ticket: u64) {
        let mut queue = self.queue.borrow_mut();
        if queue.granted.take_if(|granted| *granted == ticket).is_some() {
            drop(queue);
            self.pass_on();
            return;
        }
        let gone = queue.remove(ticket);
        drop(queue);
        drop(gone);
    }
}

impl Queue {
    fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.waiting.iter_mut().chain(&mut self.settling)
    }

    fn remove(&mut self, ticket: u64) -> Option<Place> {
        if let Some(at) = self.waiting.iter().position(|place| place.ticket == ticket) {
            return self.waiting.remove(at);
        }
        let at = self.settling.iter().position(|place| place.ticket == ticket)?;
        Some(self.settling.swap_remove(at))
    }
}

impl<S> Drop for Wait<'_, S> {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.line.give_up(ticket);
        }
    }
}

impl<S> Drop for Settled<'_, S> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.line.give_up(ticket);
        }
    }
}

/// Notices that a future is dropped between the start of its op and the reply.
#[must_use = "it notices being dropped"]
pub(crate) struct Leaving<'a, S> {
    line: &'a Line<S>,
    turn: Option<u64>,
}

impl<S> Leaving<'_, S> {
    /// The reply came.
    #[inline]
    pub fn disarm(mut self) {
        self.turn = None;
    }
}

impl<S> Drop for Leaving<'_, S> {
    /// The op may be gone before its future is, if the reply was there already, and the turn with it.
    #[inline]
    fn drop(&mut self) {
        if self.turn == Some(self.line.ended.get()) {
            self.line.left_to_op.set(true);
        }
    }
}

//! Turns at the cursor: who moves it, moves it alone, in the order of first polls.
//!
//! A [`Turn`] can travel with an op into the kernel and comes back with its last reply, so that a dropped future does
//! not end the turn of what is still in flight.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::description::Description;

/// Who has the turn, and who waits for it: one place for each waiting future.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    is_taken: Cell<bool>,
    waiting: RefCell<VecDeque<Place>>,
    next_ticket: Cell<Ticket>,
}

type Ticket = u64;

#[derive(Debug)]
struct Place {
    ticket: Ticket,
    /// Who waits, unless it was woken and has not been polled since.
    waker: Option<Waker>,
}

/// The right to move the cursor. Dropping it lets the next one move it.
#[derive(Debug)]
pub(crate) struct Turn(Rc<Description>);

impl Turn {
    /// Waits for the turn.
    pub fn of(description: &Rc<Description>) -> Wait<'_> {
        Wait { description, ticket: None }
    }
}

impl Turns {
    /// Whether nobody moves the cursor, and nobody waits for that.
    pub fn are_free(&self) -> bool {
        !self.is_taken.get() && self.waiting.borrow().is_empty()
    }

    /// Takes the turn if nobody has it, and nobody stands before `ticket` in line.
    fn try_take(&self, ticket: Option<Ticket>) -> bool {
        let front = self.waiting.borrow().front().map(|place| place.ticket);
        if self.is_taken.get() || front.is_some() && front != ticket {
            return false;
        }
        if front.is_some() {
            self.leave(front);
        }
        self.is_taken.set(true);
        true
    }

    // Wakers are anybody's: their clones, wakes and drops may come back here, so none happens while the line is
    // borrowed.

    fn leave(&self, ticket: Option<Ticket>) {
        let mut waiting = self.waiting.borrow_mut();
        let gone = waiting.iter().position(|place| Some(place.ticket) == ticket).and_then(|at| waiting.remove(at));
        drop(waiting);
        drop(gone);
    }

    /// Takes a place in line, or brings its waker up to date. A place is left when the turn is taken or given up.
    fn wait(&self, ticket: Option<Ticket>, waker: Waker) -> Ticket {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(place) = waiting.iter_mut().find(|place| Some(place.ticket) == ticket) {
            let ticket = place.ticket;
            let before = place.waker.replace(waker);
            drop(waiting);
            drop(before);
            return ticket;
        }
        let ticket = self.next_ticket.replace(self.next_ticket.get() + 1);
        waiting.push_back(Place { ticket, waker: Some(waker) });
        ticket
    }

    /// Who stands in front may have been asleep when the turn ended, or come to stand there since.
    fn wake_front(&self) {
        if self.is_taken.get() {
            return;
        }
        let front = self.waiting.borrow_mut().front_mut().and_then(|place| place.waker.take());
        if let Some(waker) = front {
            waker.wake();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let turns = &self.0.turns;
        turns.is_taken.set(false);
        turns.wake_front();
    }
}

/// Waits for the turn; see [`Turn::of`].
#[must_use = "a turn comes to who awaits it"]
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    description: &'a Rc<Description>,
    ticket: Option<Ticket>,
}

impl Future for Wait<'_> {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn> {
        if let Some(turn) = self.try_take() {
            return Poll::Ready(turn);
        }
        // The clone may come back here, and end the turn of somebody else.
        let waker = context.waker().clone();
        if let Some(turn) = self.try_take() {
            return Poll::Ready(turn);
        }
        self.ticket = Some(self.description.turns.wait(self.ticket, waker));
        Poll::Pending
    }
}

impl Wait<'_> {
    #[inline]
    fn try_take(&mut self) -> Option<Turn> {
        if !self.description.turns.try_take(self.ticket) {
            return None;
        }
        self.ticket = None;
        Some(Turn(self.description.clone()))
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            let turns = &self.description.turns;
            turns.leave(self.ticket);
            turns.wake_front();
        }
    }
}

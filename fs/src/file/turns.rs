//! Turns at the cursor: who moves it, moves it alone, in the order of first polls.
//!
//! A [`Turn`] can travel with an op into the kernel and comes back with its last reply, so that a dropped future does not
//! end the turn of what is still in flight.

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
    waiting: RefCell<VecDeque<(Ticket, Waker)>>,
    next_ticket: Cell<Ticket>,
}

type Ticket = u64;

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
        let front = self.waiting.borrow().front().map(|(front, _)| *front);
        if self.is_taken.get() || front.is_some() && front != ticket {
            return false;
        }
        if front.is_some() {
            self.leave(front);
        }
        self.is_taken.set(true);
        true
    }

    fn leave(&self, ticket: Option<Ticket>) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(place) = waiting.iter().position(|(waits, _)| Some(*waits) == ticket) {
            let gone = waiting.remove(place);
            drop(waiting);
            drop(gone);
        }
    }

    /// Takes a place in line, or brings its waker up to date. A place is left when it is called or given up.
    fn wait(&self, ticket: Option<Ticket>, waker: &Waker) -> Ticket {
        let waker = waker.clone();
        let mut waiting = self.waiting.borrow_mut();
        if let Some((ticket, known)) = waiting.iter_mut().find(|(waits, _)| Some(*waits) == ticket) {
            let ticket = *ticket;
            let before = std::mem::replace(known, waker);
            drop(waiting);
            drop(before);
            return ticket;
        }
        let ticket = self.next_ticket.replace(self.next_ticket.get() + 1);
        waiting.push_back((ticket, waker));
        ticket
    }

    /// Who stands in front may have been asleep when the turn ended, or come to stand there since.
    fn wake_front(&self) {
        if self.is_taken.get() {
            return;
        }
        let front = self.waiting.borrow().front().map(|(_, waker)| waker.clone());
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
        let turns = &self.description.turns;
        if turns.try_take(self.ticket) {
            self.ticket = None;
            return Poll::Ready(Turn(self.description.clone()));
        }
        self.ticket = Some(turns.wait(self.ticket, context.waker()));
        Poll::Pending
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

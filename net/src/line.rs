//! One at a time, first come, first served: who may use one direction of a socket.
//!
//! ```text
//!  turn() ─► nobody has it ──────────────────────────────────► Turn ─► dropped: the next in line has it
//!        └─► somebody has it ─► a place in line ─► granted ──► Turn
//!                                    └ dropped: the place goes, and a turn that was granted meanwhile goes to the next
//! ```
//!
//! A [`Turn`] is owned, so an op in flight can carry it: then the line waits for that op's last reply, also when its
//! future is gone. Without somebody who waits, nothing here allocates.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// What is used by one at a time, and who waits for it.
pub(crate) struct Line<S> {
    shared: S,
    queue: RefCell<Queue>,
    /// A future was dropped whose op may still have the turn.
    left_to_op: Cell<bool>,
}

#[derive(Default)]
struct Queue {
    taken: bool,
    /// Whose turn it is, from when it was passed on until they were polled.
    granted: Option<u64>,
    last_ticket: u64,
    /// Bound: one for each future that waits.
    waiting: VecDeque<Place>,
}

struct Place {
    ticket: u64,
    waker: Waker,
}

impl<S> Line<S> {
    pub fn new(shared: S) -> Rc<Line<S>> {
        Rc::new(Line { shared, queue: RefCell::default(), left_to_op: Cell::new(false) })
    }

    /// Waits for the turn. Places are given in the order of the first polls.
    #[inline]
    pub fn turn(self: &Rc<Line<S>>) -> Wait<'_, S> {
        Wait { line: self, ticket: None }
    }

    /// Says, unless it is [disarmed](Leaving::disarm), that a future was dropped while its op had the turn.
    #[inline]
    pub fn leaving(&self) -> Leaving<'_> {
        Leaving { left_to_op: Some(&self.left_to_op) }
    }

    /// Waits for an op whose future is gone. Does not wait for those who still wait themselves.
    pub async fn settled(self: &Rc<Line<S>>) {
        if self.left_to_op.get() {
            let _turn = self.turn().await;
            self.left_to_op.set(false);
        }
    }

    fn pass_on(&self) {
        let mut queue = self.queue.borrow_mut();
        let Some(next) = queue.waiting.pop_front() else {
            queue.taken = false;
            return;
        };
        queue.granted = Some(next.ticket);
        // The waker may be anybody's, and may come back here.
        drop(queue);
        next.waker.wake();
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
                self.ticket = Some(line.stand_in(context.waker()));
                return Poll::Pending;
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

impl<S> Line<S> {
    #[cold]
    fn stand_in(&self, waker: &Waker) -> u64 {
        let waker = waker.clone();
        let mut queue = self.queue.borrow_mut();
        queue.last_ticket += 1;
        let ticket = queue.last_ticket;
        queue.waiting.push_back(Place { ticket, waker });
        ticket
    }

    /// The future has moved to another task, perhaps.
    fn wake_instead(&self, ticket: u64, waker: &Waker) {
        let mut waker = waker.clone();
        if let Some(place) = self.queue.borrow_mut().waiting.iter_mut().find(|place| place.ticket == ticket) {
            std::mem::swap(&mut place.waker, &mut waker);
        }
        // The one before is dropped here, outside of the borrow.
        drop(waker);
    }

    fn give_up(&self, ticket: u64) {
        let mut queue = self.queue.borrow_mut();
        if queue.granted.take_if(|granted| *granted == ticket).is_some() {
            drop(queue);
            self.pass_on();
            return;
        }
        let place = queue.waiting.iter().position(|place| place.ticket == ticket);
        let gone = place.and_then(|at| queue.waiting.remove(at));
        drop(queue);
        drop(gone);
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

/// Notices that a future is dropped between the start of its op and the reply.
#[must_use = "it notices being dropped"]
pub(crate) struct Leaving<'a> {
    left_to_op: Option<&'a Cell<bool>>,
}

impl Leaving<'_> {
    /// The reply came.
    #[inline]
    pub fn disarm(mut self) {
        self.left_to_op = None;
    }
}

impl Drop for Leaving<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(left_to_op) = self.left_to_op {
            left_to_op.set(true);
        }
    }
}

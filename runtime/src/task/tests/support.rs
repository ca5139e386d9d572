//! What the tests of tasks wake, drop and poll with.

use crate::task::{JoinError, JoinHandle};
use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Counts how often it is woken.
#[derive(Default)]
pub(super) struct CountingWake {
    wakes: AtomicUsize,
}

impl Wake for CountingWake {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }
}

impl CountingWake {
    pub(super) fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }
}

pub(super) fn counting() -> (Arc<CountingWake>, Waker) {
    let counter = Arc::<CountingWake>::default();
    (Arc::clone(&counter), Waker::from(counter))
}

/// Runs a closure when it is dropped.
pub(super) struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

pub(super) fn count_drops(drops: &Rc<Cell<usize>>) -> OnDrop<impl FnMut() + use<>> {
    let drops = Rc::clone(drops);
    OnDrop(move || drops.set(drops.get() + 1))
}

pub(super) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

pub(super) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

/// The output of a handle that must be ready now.
pub(super) fn output<T>(mut handle: JoinHandle<T>) -> Result<T, JoinError> {
    match poll_once(&mut handle) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the task has not ended"),
    }
}

/// A task that leaves its waker in the cell each time it is polled, for ever.
pub(super) fn leave_waker(
    place: &Rc<RefCell<Option<Waker>>>,
    polls: &Rc<Cell<usize>>,
) -> impl Future<Output = ()> + use<> {
    let (place, polls) = (Rc::clone(place), Rc::clone(polls));
    poll_fn(move |context| {
        polls.set(polls.get() + 1);
        *place.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    })
}

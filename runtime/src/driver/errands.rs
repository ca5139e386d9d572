//! Requests on their way to the blocking pool, and back: those that epoll cannot wait for, and those whose op a ring
//! lacks.
//!
//! A request moves to the thread that services it: it borrows from an op, which stays where it is until there is an
//! answer, whoever makes that. All that a request can hold may go to another thread; the compiler checks it here.
//!
//! A job that the pool drops at its closing, unrun, leaves its request in the errand: the runtime that ends cancels all
//! its requests, and recalls it so.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use rustix::io::{Errno, retry_on_intr};

use crate::blocking::pool::{Job, Pool, Refused};
use crate::inbox::Inbox;
use crate::inflight::held::{Answer, Lent};
use crate::inflight::slots::Key;
use crate::op::{Answered, Request};

/// A request that a thread of the pool will take. Whoever takes it out answers it.
struct Errand(Mutex<Option<Lent>>);

/// So many errands that were recalled stand in line without a look at whether they are too many.
const EMPTY_MAX: usize = 64;

/// All that this core has sent to the pool.
///
/// Bound: the ops in flight. Of these the pool queues what it has room for, and the rest wait here, first come, first
/// served, with at most as many beside them that were recalled, and [`EMPTY_MAX`] more. An errand costs two
/// allocations.
pub(crate) struct Errands {
    pool: Arc<Pool>,
    /// The first for whom the pool had no room, with its place among all who wait for that.
    first: Option<(Arc<Errand>, Refused)>,
    /// Those behind it.
    line: VecDeque<Arc<Errand>>,
    returned: Arc<Returned>,
    room: Waker,
    /// Those that were sent and have not come back, by the index of their slot: one is reused only after its last
    /// reply.
    out: Vec<Option<(Key, Arc<Errand>)>>,
    /// How many these are.
    len: usize,
    /// Kept for its memory.
    spare: Vec<(Key, Answer)>,
}

/// Where threads leave what they have done.
struct Returned {
    answers: Mutex<Vec<(Key, Answer)>>,
    inbox: Arc<Inbox>,
}

impl Errands {
    pub fn new(inbox: Arc<Inbox>, pool: Arc<Pool>) -> Errands {
        let returned = Arc::new(Returned { answers: Mutex::default(), inbox });
        Errands {
            pool,
            first: None,
            line: VecDeque::new(),
            room: Waker::from(returned.clone()),
            returned,
            out: Vec::new(),
            len: 0,
            spare: Vec::new(),
        }
    }

    /// Has a thread service the request.
    pub fn send(&mut self, lent: Lent) {
        let key = lent.key();
        let errand = Arc::new(Errand(Mutex::new(Some(lent))));
        if key.index() >= self.out.len() {
            self.out.resize_with(key.index() + 1, || None);
        }
        self.out[key.index()] = Some((key, errand.clone()));
        self.len += 1;
        self.line.push_back(errand);
        // Who stands behind others waits for the core's next turn.
        if self.first.is_none() {
            self.send_waiting();
        }
    }

    /// Hands to the pool what there is room for.
    pub fn send_waiting(&mut self) {
        loop {
            let room = self.room.clone();
            let (errand, submitted) = match self.first.take() {
                Some((errand, Refused::Waiting(job, ticket))) => {
                    (errand, self.pool.submit_or_wait(job, Some(ticket), room))
                }
                Some((errand, _refused)) => {
                    let job = self.job(errand.clone());
                    (errand, self.pool.submit_or_wait(job, None, room))
                }
                None => {
                    let Some(errand) = self.line.pop_front() else { return };
                    if errand.is_recalled() {
                        continue;
                    }
                    let job = self.job(errand.clone());
                    (errand, self.pool.submit_or_wait(job, None, room))
                }
            };
            match submitted {
                Ok(()) => {}
                Err(refused @ (Refused::Waiting(..) | Refused::Full(_))) => {
                    self.first = Some((errand, refused));
                    return;
                }
                Err(Refused::Closed) => errand.service(&self.returned, |_request| Err(Errno::CANCELED)),
                Err(Refused::NoThread(error)) => {
                    let error = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                    errand.service(&self.returned, |_request| Err(error));
                }
            }
        }
    }

    /// Whether this request was sent, and has neither come back nor been recalled.
    pub fn has(&self, key: Key) -> bool {
        self.out.get(key.index()).is_some_and(|place| place.as_ref().is_some_and(|(sent, _)| *sent == key))
    }

    /// Takes a request back, if it is here and no thread was faster.
    pub fn recall(&mut self, key: Key) -> Option<Lent> {
        let place = self.out.get_mut(key.index())?;
        let lent = place.as_ref().filter(|(sent, _)| *sent == key)?.1.take()?;
        *place = None;
        self.len -= 1;
        // Its errand may stand in line. Empty ones go when they are more than those that are still out.
        if self.line.len() > 2 * self.len + EMPTY_MAX {
            self.line.retain(|errand| !errand.is_recalled());
        }
        Some(lent)
    }

    /// Hands out what has come back. Takes no lock while nothing is out.
    pub fn collect(&mut self, mut came: impl FnMut(Key, Answer)) {
        if self.len == 0 {
            return;
        }
        mem::swap(&mut *lock(&self.returned.answers), &mut self.spare);
        self.len -= self.spare.len();
        for (key, answer) in self.spare.drain(..) {
            self.out[key.index()] = None;
            came(key, answer);
        }
    }

    /// How many were sent and have not come back.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many stand in line, those that were recalled there included.
    #[cfg(test)]
    pub fn in_line(&self) -> usize {
        self.line.len() + usize::from(self.first.is_some())
    }

    /// Whether none is on its way, and none stands in line. One that was recalled may still stand there: room that is
    /// kept for it is nobody's until [`send_waiting`](Errands::send_waiting) takes it.
    #[inline(always)]
    pub fn is_idle(&self) -> bool {
        self.len == 0 && self.first.is_none()
    }

    fn job(&self, errand: Arc<Errand>) -> Job {
        let returned = self.returned.clone();
        Box::new(move || errand.service(&returned, |request| retry_on_intr(|| request.call())))
    }
}

impl Drop for Errands {
    /// Room in the pool that was kept for us would be nobody's.
    fn drop(&mut self) {
        if let Some((_, Refused::Waiting(_, ticket))) = self.first.take() {
            self.pool.leave_line(ticket);
        }
    }
}

impl Errand {
    fn service(&self, returned: &Returned, act: impl for<'a> FnOnce(&mut Request<'a>) -> Answered) {
        if let Some(mut lent) = self.take() {
            let key = lent.key();
            let answered = lent.with(act);
            returned.put(key, lent.answer(answered));
        }
    }

    fn take(&self) -> Option<Lent> {
        lock(&self.0).take()
    }

    fn is_recalled(&self) -> bool {
        lock(&self.0).is_none()
    }
}

impl Returned {
    /// One wake a batch: who finds others here knows that the core has been told and has not come yet.
    fn put(&self, key: Key, answer: Answer) {
        let is_first = {
            let mut answers = lock(&self.answers);
            answers.push((key, answer));
            answers.len() == 1
        };
        if is_first {
            self.inbox.notify_only();
        }
    }
}

impl Wake for Returned {
    /// The pool has room for the first in line.
    fn wake(self: Arc<Self>) {
        self.inbox.notify_only();
    }
}

/// Nothing panics under these locks, so what they guard is whole even if a mutex says otherwise.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

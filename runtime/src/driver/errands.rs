//! Requests on their way to the blocking pool, and back: those that epoll cannot wait for, and those whose op a ring
//! lacks.
//!
//! A request moves to the thread that services it: it borrows from an op, which stays where it is until there is an
//! answer, whoever makes that. All that a request can hold may go to another thread; the compiler checks it here.
//!
//! A job that the pool drops at its closing, unrun, leaves its request in the errand: the runtime that ends cancels all
//! its requests, and recalls it so.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::{Errno, retry_on_intr};

use crate::blocking::pool::{Job, Pool, Refused, Source, Ticket};
use crate::inbox::Inbox;
use crate::inflight::held::{Answer, Lent};
use crate::inflight::slots::Key;
use crate::op::{Answered, Request};

/// A request that a thread of the pool will take. Whoever takes it out answers it.
struct Errand(Mutex<Option<Lent>>);

/// All that this core has sent to the pool.
///
/// Bound: the ops in flight. An errand costs two allocations. One that was recalled stays in the pool's queue without
/// its request, but not in the line before that.
pub(crate) struct Errands {
    source: Source,
    returned: Arc<Returned>,
    /// Those that were sent and have not come back, by the index of their slot: one is reused only after its last
    /// reply.
    out: Vec<Option<Sent>>,
    /// How many these are.
    len: usize,
    /// Kept for its memory.
    spare: Vec<(Key, Answer)>,
}

struct Sent {
    key: Key,
    errand: Arc<Errand>,
    ticket: Option<Ticket>,
}

/// Where threads leave what they have done.
struct Returned {
    answers: Mutex<Vec<(Key, Answer)>>,
    inbox: Arc<Inbox>,
}

impl Errands {
    pub fn new(inbox: Arc<Inbox>, pool: Arc<Pool>) -> Errands {
        let returned = Arc::new(Returned { answers: Mutex::default(), inbox });
        Errands { source: pool.source(), returned, out: Vec::new(), len: 0, spare: Vec::new() }
    }

    /// Has a thread service the request.
    pub fn send(&mut self, lent: Lent) {
        let key = lent.key();
        let errand = Arc::new(Errand(Mutex::new(Some(lent))));
        let ticket = match self.source.submit(self.job(errand.clone())) {
            Ok(ticket) => ticket,
            Err(refused) => {
                let error = match refused {
                    Refused::Closed => Errno::CANCELED,
                    Refused::NoThread(error) => Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
                };
                errand.service(&self.returned, |_request| Err(error));
                None
            }
        };
        if key.index() >= self.out.len() {
            self.out.resize_with(key.index() + 1, || None);
        }
        self.out[key.index()] = Some(Sent { key, errand, ticket });
        self.len += 1;
    }

    /// Whether this request was sent, and has neither come back nor been recalled.
    pub fn has(&self, key: Key) -> bool {
        self.out.get(key.index()).is_some_and(|place| place.as_ref().is_some_and(|sent| sent.key == key))
    }

    /// Takes a request back, if it is here and no thread was faster.
    pub fn recall(&mut self, key: Key) -> Option<Lent> {
        let place = self.out.get_mut(key.index())?;
        let sent = place.as_ref().filter(|sent| sent.key == key)?;
        let lent = sent.errand.take()?;
        if let Some(ticket) = sent.ticket {
            self.source.withdraw(ticket);
        }
        *place = None;
        self.len -= 1;
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

    /// Whether none is on its way.
    #[inline(always)]
    pub fn is_idle(&self) -> bool {
        self.len == 0
    }

    fn job(&self, errand: Arc<Errand>) -> Job {
        let returned = self.returned.clone();
        Box::new(move || errand.service(&returned, |request| retry_on_intr(|| request.call())))
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

/// Nothing panics under these locks, so what they guard is whole even if a mutex says otherwise.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

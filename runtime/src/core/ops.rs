//! The ops in flight of one core, and the driver that services them.
//!
//! A future has a [`Flight`], which keeps this and nothing else of the core: a future that is forgotten, or lives
//! longer than its runtime, keeps memory, but neither a ring open nor a descriptor, since the driver is closed with the
//! runtime.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::Waker;

use super::with;
use crate::driver::Driver;
use crate::inflight::held::{Cells, Held, Proof};
use crate::inflight::slots::{self, Key, Orphan, Slots};
use crate::op::{Op, Reply, StreamOp};
use crate::task::{Notify, contain};

/// See above.
pub(super) struct Ops {
    /// Of the core, for whoever reads a dump.
    index: usize,
    pub cells: Cells,
    /// What the driver said last: asked after each poll, it is a flag.
    pub is_due: Cell<bool>,
    pub flights: RefCell<Flights>,
}

pub(super) struct Flights {
    pub slots: Slots,
    pub driver: Driver,
}

/// Names an op in flight: its slot, and where that is, which it finds without asking the thread.
pub(crate) struct Flight {
    key: Key,
    ops: Rc<Ops>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op {:?} of core {}", self.key, self.ops.index)
    }
}

/// What a stream of replies has next.
pub(crate) enum Next<T> {
    Item(io::Result<Reply>),
    Last(T, io::Result<Reply>),
    Nothing,
}

impl Ops {
    pub fn new(index: usize, driver: Driver) -> Ops {
        Ops {
            index,
            cells: Cells::new(),
            is_due: Cell::new(false),
            flights: RefCell::new(Flights { slots: Slots::new(), driver }),
        }
    }

    #[inline]
    pub fn start<T: Op>(self: Rc<Ops>, op: T, waker: &Waker) -> Flight {
        // Foreign, and may panic: the op is nowhere yet, and is dropped.
        let waiter = Notify::of(waker);
        let (held, loan) = Held::place(op, &self.cells);
        let mut flights = self.flights.borrow_mut();
        let key = flights.slots.insert(held, waiter);
        if flights.driver.start(key, loan) {
            self.is_due.set(true);
        }
        drop(flights);
        Flight { key, ops: self }
    }

    pub fn start_stream<T: StreamOp>(self: Rc<Ops>, op: T) -> Flight {
        let (held, loan) = Held::place(op, &self.cells);
        let mut flights = self.flights.borrow_mut();
        let key = flights.slots.insert_stream(held, loan.replies());
        if flights.driver.start(key, loan) {
            self.is_due.set(true);
        }
        drop(flights);
        Flight { key, ops: self }
    }

    /// Remembers the newest waker, if it is another one than before.
    fn wait_as(&self, key: Key, waker: &Waker) {
        let known = self.flights.borrow_mut().slots.will_wake(key, waker);
        if !known {
            let newest = Notify::of(waker);
            let before = self.flights.borrow_mut().slots.set_waiter(key, newest);
            drop(before);
        }
    }

    pub fn cancel(&self, key: Key) {
        self.flights.borrow_mut().driver.cancel(key);
        self.look_what_is_due();
    }

    pub fn look_what_is_due(&self) {
        self.is_due.set(self.flights.borrow().driver.is_due());
    }

    pub fn orphan(&self, key: Key) {
        let mut flights = self.flights.borrow_mut();
        let (orphan, waiter) = flights.slots.orphan(key);
        if let Orphan::Cancel = orphan {
            flights.driver.cancel(key);
            self.is_due.set(flights.driver.is_due());
        }
        drop(flights);
        if let Orphan::Answered(held, proof, items) = orphan {
            drop(items);
            self.abandon(held, proof);
        }
        // Foreign, and may panic: last.
        drop(waiter);
    }

    pub fn abandon(&self, held: Held, proof: Proof) {
        contain("the `abandon` of an op", || held.abandon(proof, &self.cells));
    }
}

impl Flight {
    /// Gives the op and its reply, if that came, to `settle`; otherwise the newest waker is remembered.
    #[inline]
    pub fn settle<T: Op, R>(&self, waker: &Waker, settle: impl FnOnce(T, io::Result<Reply>) -> R) -> Option<R> {
        let ops = &*self.ops;
        let answered = ops.flights.borrow_mut().slots.poll(self.key);
        match answered {
            Some((held, proof)) => Some(held.settle(proof, &ops.cells, settle)),
            None => {
                self.must_be_here();
                ops.wait_as(self.key, waker);
                None
            }
        }
    }

    #[inline]
    pub fn next_reply<T: StreamOp>(&self, waker: &Waker) -> Next<T> {
        let ops = &*self.ops;
        let next = ops.flights.borrow_mut().slots.next(self.key);
        match next {
            slots::Next::Item(reply) => Next::Item(reply),
            slots::Next::Last(held, proof) => held.settle(proof, &ops.cells, Next::Last),
            slots::Next::Nothing => {
                self.must_be_here();
                let reader = Notify::of(waker);
                let before = ops.flights.borrow_mut().slots.set_reader(self.key, reader);
                drop(before);
                Next::Nothing
            }
        }
    }

    /// Asks for an early reply. It comes all the same.
    pub fn cancel(&self) {
        self.ops.cancel(self.key);
    }

    /// Nobody waits for the reply any more. Nothing is left to do when the runtime has ended: its ops have ended with
    /// it.
    pub fn orphan(&self) {
        self.ops.orphan(self.key);
    }

    #[inline]
    fn must_be_here(&self) {
        with(|core| {
            if !Rc::ptr_eq(&core.ops, &self.ops) {
                wrong_runtime()
            }
        });
    }
}

#[cold]
fn wrong_runtime() -> ! {
    panic!("an op of one runtime is polled under another: handles and their ops stay on the core where they began")
}

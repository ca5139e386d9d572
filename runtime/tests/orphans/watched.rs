//! Ops and buffers that tell when they go.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use runtime::buf::{IoBuf, IoBufMut};
use runtime::op::{OnDrop, Op, Reply, Request, StreamOp};

/// What memory holds that nobody may write to.
const CANARY: u8 = 0xa5;

/// Counts the ops of one cell, and keeps the memory that they gave back.
#[derive(Clone, Default)]
pub struct Tally(Rc<Counts>);

#[derive(Default)]
struct Counts {
    made: Cell<usize>,
    dropped: Cell<usize>,
    canaries: RefCell<Vec<Vec<u8>>>,
}

impl Tally {
    /// Watches `op`.
    pub fn watch<T>(&self, op: T) -> Watched<T> {
        self.0.made.set(self.0.made.get() + 1);
        Watched { op, token: Token(self.clone()) }
    }

    /// A buffer whose memory is taken again, and filled, as soon as it is freed.
    pub fn buffer(&self, bytes: Vec<u8>) -> Canaried {
        Canaried { bytes, tally: self.clone() }
    }

    /// How many ops were made and dropped.
    pub fn made_and_dropped(&self) -> (usize, usize) {
        (self.0.made.get(), self.0.dropped.get())
    }

    /// Whether nobody wrote to memory that was given back.
    pub fn is_intact(&self) -> bool {
        self.0.canaries.borrow().iter().flatten().all(|&byte| byte == CANARY)
    }
}

struct Token(Tally);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.0.dropped.set(self.0.0.dropped.get() + 1);
    }
}

/// An op that is what it was, and counted when it is dropped.
pub struct Watched<T> {
    op: T,
    token: Token,
}

impl<T: Op> Op for Watched<T> {
    type Output = T::Output;

    const ON_DROP: OnDrop = T::ON_DROP;

    fn check(&self) -> io::Result<()> {
        self.op.check()
    }

    fn request(&mut self) -> Request<'_> {
        self.op.request()
    }

    fn finish(self, reply: io::Result<Reply>) -> T::Output {
        let Watched { op, token } = self;
        drop(token);
        op.finish(reply)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        let Watched { op, token } = self;
        drop(token);
        op.abandon(reply);
    }
}

impl<T: StreamOp> StreamOp for Watched<T> {
    type Item = T::Item;

    fn item(reply: io::Result<Reply>) -> T::Item {
        T::item(reply)
    }
}

/// A buffer that, when it is dropped, takes its memory again and fills it: a late write shows there.
pub struct Canaried {
    bytes: Vec<u8>,
    tally: Tally,
}

impl IoBuf for Canaried {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl IoBufMut for Canaried {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Canaried {
    fn drop(&mut self) {
        let len = self.bytes.len();
        drop(std::mem::take(&mut self.bytes));
        self.tally.0.canaries.borrow_mut().push(vec![CANARY; len]);
    }
}

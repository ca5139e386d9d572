//! Ops that are counted when they are made and dropped, and buffers that show writes after they are freed.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use runtime::op::{OnDrop, Op, Reply, Request, StreamOp};

use crate::canary::{Canaried, Canaries};

/// Counts the ops of one cell, and keeps the memory that they gave back.
#[derive(Clone, Default)]
pub struct Tally(Rc<Counts>);

#[derive(Default)]
struct Counts {
    made: Cell<usize>,
    dropped: Cell<usize>,
    canaries: Canaries,
}

impl Tally {
    /// Watches `op`.
    pub fn watch<T>(&self, op: T) -> Watched<T> {
        self.0.made.set(self.0.made.get() + 1);
        Watched { op, token: Token(self.clone()) }
    }

    pub fn buffer(&self, bytes: Vec<u8>) -> Canaried {
        self.0.canaries.buffer(bytes)
    }

    /// How many ops were made and dropped.
    pub fn made_and_dropped(&self) -> (usize, usize) {
        (self.0.made.get(), self.0.dropped.get())
    }

    /// Whether nobody wrote to memory that was given back.
    pub fn is_intact(&self) -> bool {
        self.0.canaries.are_intact()
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

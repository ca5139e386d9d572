//! Ops and buffers that tell when they go: each op that was lent is answered once, and then dropped once.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use runtime::op::{OnDrop, Op, Reply, Request, StreamOp};

pub use crate::canary::Canaried;
use crate::canary::Canaries;
use crate::verdict::Verdict;

/// Counts ops, and keeps the memory that they gave back. Clones count together.
#[derive(Clone)]
pub struct Watch(Rc<Counts>);

struct Counts {
    verdict: Verdict,
    alive: Cell<usize>,
    unanswered: Cell<usize>,
    canaries: Canaries,
}

impl Watch {
    pub fn new(verdict: Verdict) -> Watch {
        Watch(Rc::new(Counts { verdict, alive: Cell::new(0), unanswered: Cell::new(0), canaries: Canaries::default() }))
    }

    /// Watches `op`, and reports its last reply, whoever gets it.
    pub fn op<T>(&self, op: T, report: impl FnOnce(&T, &io::Result<Reply>) + 'static) -> Watched<T> {
        self.0.alive.set(self.0.alive.get() + 1);
        Watched { op, token: Token { watch: self.clone(), stage: Cell::new(Stage::Made) }, report: Box::new(report) }
    }

    pub fn buffer(&self, bytes: Vec<u8>) -> Canaried {
        self.0.canaries.buffer(bytes)
    }

    /// All is over: no op is left, and nobody wrote to memory that was given back.
    pub fn judge(&self) {
        let (alive, unanswered) = (self.0.alive.get(), self.0.unanswered.get());
        self.0.verdict.blame_unless(alive == 0 && unanswered == 0, || {
            format!("{alive} ops are left, {unanswered} of them without their last reply")
        });
        self.0
            .verdict
            .blame_unless(self.0.canaries.are_intact(), || "somebody wrote to memory that was given back".to_owned());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Made,
    Lent,
    Answered,
}

struct Token {
    watch: Watch,
    stage: Cell<Stage>,
}

impl Token {
    fn pass(&self, from: Stage, to: Stage) {
        let counts = &self.watch.0;
        let before = self.stage.replace(to);
        counts.verdict.blame_unless(before == from, || format!("an op that was {before:?} is {to:?}"));
        match to {
            Stage::Lent => counts.unanswered.set(counts.unanswered.get() + 1),
            Stage::Answered => counts.unanswered.set(counts.unanswered.get() - 1),
            Stage::Made => {}
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let counts = &self.watch.0;
        counts.alive.set(counts.alive.get() - 1);
        let is_lent = self.stage.get() == Stage::Lent;
        counts.verdict.blame_unless(!is_lent, || "an op was dropped before its last reply".to_owned());
    }
}

/// Hears of an op's last reply.
type Report<T> = dyn FnOnce(&T, &io::Result<Reply>);

/// An op that is what it was, and watched.
pub struct Watched<T> {
    op: T,
    token: Token,
    report: Box<Report<T>>,
}

impl<T> Watched<T> {
    fn answered(self, reply: &io::Result<Reply>) -> T {
        self.token.pass(Stage::Lent, Stage::Answered);
        (self.report)(&self.op, reply);
        self.op
    }
}

impl<T: Op> Op for Watched<T> {
    type Output = T::Output;

    const ON_DROP: OnDrop = T::ON_DROP;

    fn check(&self) -> io::Result<()> {
        self.op.check()
    }

    fn request(&mut self) -> Request<'_> {
        self.token.pass(Stage::Made, Stage::Lent);
        self.op.request()
    }

    fn finish(self, reply: io::Result<Reply>) -> T::Output {
        self.answered(&reply).finish(reply)
    }

    fn abandon(self, reply: io::Result<Reply>) {
        self.answered(&reply).abandon(reply);
    }
}

impl<T: StreamOp> StreamOp for Watched<T> {
    type Item = T::Item;

    fn item(reply: io::Result<Reply>) -> T::Item {
        T::item(reply)
    }
}

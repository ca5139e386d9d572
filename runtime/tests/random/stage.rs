//! What all tasks of a program share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

use runtime::JoinHandle;
use runtime::simulated::{Peer, World};

use crate::script::Conversation;
use crate::talk::Line;
use crate::verdict::Verdict;
use crate::watched::Watch;

/// Looks at the world when all is over, and hears whether the runtime ended in the middle.
pub type Last = Box<dyn FnOnce(&Stage, bool)>;

/// A connection from outside, and what the program will say once it has accepted it.
pub type Visitor = (Rc<Line>, Option<Conversation>);

/// One run of a program.
pub struct Stage {
    pub world: World,
    pub verdict: Verdict,
    pub watch: Watch,
    /// Connections that came from outside, by the address they came from, and what will be said.
    pub visitors: RefCell<BTreeMap<SocketAddr, Visitor>>,
    pub lines: RefCell<Vec<Rc<Line>>>,
    /// Who connected to listeners without a handle.
    pub strangers: RefCell<Vec<Peer>>,
    /// The network was cut, so what was sent last may still be on its way.
    pub had_outages: Cell<bool>,
    /// Futures that outlive the runtime.
    pub graveyard: RefCell<Vec<Pin<Box<dyn Future<Output = ()>>>>>,
    /// Ops whose futures were forgotten.
    pub forgotten: Cell<usize>,
    /// One of them was leaked, and with it the place of its core.
    pub has_leaked: Cell<bool>,
    tasks: RefCell<Vec<(&'static str, JoinHandle<()>)>>,
    mortals: RefCell<Vec<(&'static str, JoinHandle<()>)>>,
    names: Cell<u64>,
    /// The task that the end of the program waits for now.
    awaited: Cell<&'static str>,
    /// What must hold when all is over.
    pub last: RefCell<Vec<Last>>,
}

impl Stage {
    pub fn new(world: World) -> Rc<Stage> {
        let verdict = Verdict::default();
        Rc::new(Stage {
            watch: Watch::new(verdict.clone()),
            world,
            verdict,
            visitors: RefCell::default(),
            lines: RefCell::default(),
            strangers: RefCell::default(),
            had_outages: Cell::new(false),
            graveyard: RefCell::default(),
            forgotten: Cell::new(0),
            has_leaked: Cell::new(false),
            tasks: RefCell::default(),
            mortals: RefCell::default(),
            names: Cell::new(1),
            awaited: Cell::new("nobody"),
            last: RefCell::default(),
        })
    }

    /// Names bytes that nothing else is made of.
    pub fn name(&self) -> u64 {
        self.names.replace(self.names.get() + 1)
    }

    /// Runs a task that the end of the program waits for.
    pub fn spawn(&self, what: &'static str, future: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push((what, runtime::spawn(future)));
    }

    /// Runs a task that may be aborted before.
    pub fn spawn_mortal(&self, what: &'static str, future: impl Future<Output = ()> + 'static) {
        self.mortals.borrow_mut().push((what, runtime::spawn(future)));
    }

    /// Aborts one of the mortal tasks, if there are any.
    pub fn abort(&self, which: usize) {
        let mortals = self.mortals.borrow();
        if let Some((_, task)) = mortals.get(which % mortals.len().max(1)) {
            task.abort();
        }
    }

    /// Waits for all tasks, those that they spawn included.
    pub async fn join(&self) {
        loop {
            let next = self.tasks.borrow_mut().pop().or_else(|| self.mortals.borrow_mut().pop());
            let Some((what, task)) = next else { return };
            self.awaited.set(what);
            self.judge(what, task).await;
        }
    }

    /// Which task [`join`](Stage::join) waits for.
    pub fn awaited(&self) -> &'static str {
        self.awaited.get()
    }

    /// Waits for a task, which may have been aborted but must not have panicked.
    pub async fn judge(&self, what: &'static str, task: JoinHandle<()>) {
        if let Err(error) = task.await
            && error.is_panic()
        {
            self.verdict.blame(format!("{what}: {error}"));
        }
    }

    /// Tears down what keeps the stage alive.
    pub fn clear(&self) {
        drop(self.graveyard.take());
        drop((self.tasks.take(), self.mortals.take()));
        drop(self.visitors.take());
        drop(self.lines.take());
    }
}

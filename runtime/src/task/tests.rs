//! What tasks promise. `promises` on one thread, `ends` when the core goes, `threads` on several, `models` under loom.

#[cfg(not(loom))]
mod ends;
#[cfg(loom)]
mod models;
#[cfg(not(loom))]
mod promises;
#[cfg(not(loom))]
mod support;
#[cfg(not(loom))]
mod threads;

use super::{Address, Site, Tasks};
use crate::inbox::Inbox;
use std::rc::Rc;

/// A core that somebody must turn by hand.
fn new_core() -> Rc<Tasks> {
    reachable_core().0
}

/// The same, and how tasks are sent to it.
fn reachable_core() -> (Rc<Tasks>, Address) {
    let (site, inbox) = (Site::new(), Inbox::new().expect("an eventfd"));
    let address = Address::new(&site, inbox.clone());
    (Tasks::new(site, inbox), address)
}

/// Turns until nobody is ready, and says how many turns it took.
fn run(core: &Tasks) -> usize {
    core.accept_mail();
    let mut turns = 0;
    while core.run_next() {
        turns += 1;
        core.accept_mail();
        assert!(turns < 1_000_000, "tasks that never rest");
    }
    turns
}

/// The end of a runtime, in its order.
fn end(core: &Rc<Tasks>) {
    Tasks::drop_all(core);
    core.close();
    assert_eq!((core.alive(), core.ready()), (0, 0));
}

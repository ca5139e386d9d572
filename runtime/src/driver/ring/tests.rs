//! The ring by itself, under a kernel that is short of memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{PAUSE, Ring};
use crate::blocking::pool::Pool;
use crate::driver::Park;
use crate::driver::refusal::Sizes;
use crate::driver::setup::{self, Features};
use crate::fd::SharedFd;
use crate::inbox::Inbox;
use crate::inflight::held::{Cells, Held};
use crate::inflight::slots::{Event, Key, Slots};
use crate::op::file::{Position, Read};
use crate::op::{Nop, Op, Replies};
use crate::testing::{Driver, is_here};

mod woken;

/// As a kernel that has no memory for requests: enters that would submit answer EAGAIN, so many times.
#[derive(Default)]
pub(super) struct Refusal {
    left: u32,
}

impl Refusal {
    pub fn strikes(&mut self, submit: u32) -> Result<(), Errno> {
        if submit == 0 || self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        Err(Errno::AGAIN)
    }
}

/// More often than any test enters, and few enough that one that enters for ever ends and is told.
const FOR_LONG: u32 = 100_000;

/// What a core has, without the core. Four entries in the SQ, eight in the CQ.
struct Desk {
    inbox: Arc<Inbox>,
    ring: Ring,
    slots: Slots,
    cells: Cells,
    /// In the order in which they came.
    answered: Vec<Key>,
}

impl Desk {
    /// `None` where there is no ring.
    fn new(test: &str) -> Option<Desk> {
        let sizes = Sizes { entries: 4, cq_entries: 8, workers: 1, cores: 1 };
        is_here(Driver::Ring, test).then(|| {
            let (inbox, pool): (Arc<Inbox>, _) = (Inbox::new().unwrap(), Pool::new(1, 1));
            let ring = setup::ring(sizes, Features::WANTED, &inbox, &pool).expect("a small ring");
            Desk { inbox, ring, slots: Slots::new(), cells: Cells::new(), answered: Vec::new() }
        })
    }

    fn start<T: Op>(&mut self, op: T) -> Key {
        let (held, loan) = Held::place(op, &self.cells);
        let key = self.slots.insert_stream(held, Replies::One);
        self.ring.start(loan.under(key));
        key
    }

    /// How many enters it took.
    fn wait(&mut self, park: Park) -> u64 {
        let Desk { ring, slots, answered, .. } = self;
        let before = ring.counters().enters;
        let waited = ring.wait(park, |event| {
            if let Event::Last(key, _) = &event {
                answered.push(*key);
            }
            let _nobody_sleeps = slots.deliver(event);
        });
        waited.unwrap();
        ring.counters().enters - before
    }
}

/// Catches: a wait that enters until the backlog is empty, whatever the kernel says; one that pauses although tasks are
/// ready; one that does not although nobody has anything to do, or for as long as nobody has.
#[test]
fn a_kernel_that_takes_no_entries_holds_up_neither_tasks_nor_timers() {
    let Some(mut desk) = Desk::new("a kernel that takes nothing") else { return };
    let keys: Vec<Key> = (0..20).map(|_| desk.start(Nop)).collect();
    desk.ring.refusal.left = FOR_LONG;

    assert!(desk.wait(Park::No) <= 2, "one that is refused, and one for what is due");
    let took = |desk: &mut Desk, park| {
        let began = Instant::now();
        desk.wait(park);
        began.elapsed()
    };
    // The machine may be busy now and then.
    assert!((0..50).map(|_| took(&mut desk, Park::No)).min().unwrap() < PAUSE / 2);
    let far = Instant::now() + Duration::from_secs(20);
    assert!(took(&mut desk, Park::Until(Some(far))) < Duration::from_secs(10));
    // As a core does: again and again, until its timer is due.
    let (began, timer) = (Instant::now(), Instant::now() + Duration::from_millis(30));
    let mut enters = 0;
    while Instant::now() < timer {
        enters += desk.wait(Park::Until(Some(timer)));
    }
    assert!(enters <= 2 * 31, "{enters} enters in {:?}", began.elapsed());
    assert_eq!(desk.answered, []);

    desk.ring.refusal.left = 0;
    while desk.answered.len() < keys.len() {
        desk.wait(Park::No);
    }
    assert_eq!(desk.answered, keys);
}

/// What completes may be what gives the kernel its memory back.
/// Catches: an enter that is refused and not followed by one that submits nothing.
#[test]
fn completions_arrive_although_the_kernel_takes_no_entries() {
    let Some(mut desk) = Desk::new("a kernel that takes nothing, and gives") else { return };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let fd = SharedFd::new(reader);
    for park in [Park::No, Park::Until(None)] {
        let read = desk.start(Read { fd: fd.clone(), buf: [0; 8], position: Position::Cursor });
        desk.wait(Park::No);
        let nops: Vec<Key> = (0..20).map(|_| desk.start(Nop)).collect();
        desk.ring.refusal.left = FOR_LONG;
        assert_eq!(rustix::io::write(&writer, b"late").unwrap(), 4);
        desk.wait(park);
        assert_eq!(desk.answered.last(), Some(&read), "{park:?}");
        desk.ring.refusal.left = 0;
        while desk.answered.last() != nops.last() {
            desk.wait(Park::No);
        }
    }
}

/// A thread has 16 numbers for its rings, and a number keeps the ring behind it, with all its memory.
/// Catches: a ring that closes its descriptor and keeps its number.
#[test]
fn a_ring_that_closes_gives_its_number_back() {
    for round in 0..40 {
        let Some(desk) = Desk::new("a ring's number") else { return };
        assert!(desk.ring.features().has(setup::Feature::RegisteredRing), "round {round}: there is no number left");
    }
}

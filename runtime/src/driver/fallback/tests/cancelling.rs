//! Cancelling, at each stage of a request.

use std::io::{Read as _, Write as _};

use super::pool::{Busy, Fifo, Scratch};
use super::{Desk, is_cancelled, pair, received, recv};
use crate::blocking::pool::Pool;
use crate::driver::Park;
use crate::op::Nop;
use crate::op::path::Open;
use crate::op::socket::Recv;

type Received = Recv<Vec<u8>>;

/// Catches: a cancelled request that stays listed with its descriptor, and takes the bytes.
#[test]
fn a_cancelled_wait_takes_nothing_and_leaves_the_others_waiting() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let first = desk.start(recv(&ours, 8));
    let second = desk.start(recv(&ours, 8));
    desk.settle();
    desk.fallback.cancel(first);
    desk.wait_in_time();
    assert!(is_cancelled(desk.answer::<Received>(first).expect("an answer").unwrap_err().error()));
    assert_eq!(desk.fallback.waiting, 1);

    theirs.write_all(b"second").unwrap();
    assert_eq!(received(desk.finish::<Received>(second)), b"second");
}

/// Catches: two last replies to one key.
#[test]
fn a_request_that_is_answered_cannot_be_cancelled() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    theirs.write_all(b"x").unwrap();
    let key = desk.start(recv(&ours, 8));
    desk.wait_in_time();
    desk.fallback.cancel(key);
    let nop = desk.start(Nop);
    desk.fallback.cancel(nop);
    desk.fallback.cancel(nop);
    desk.settle();
    assert_eq!(received(desk.answer::<Received>(key).expect("an answer")), b"x");
    desk.answer::<Nop>(nop).expect("an answer").unwrap();
}

/// A key names a slot and one use of it. Catches: a cancel that compares the slot only.
#[test]
fn a_late_cancel_does_not_hit_the_next_user_of_the_slot() {
    let mut desk = Desk::new();
    let (ours, mut theirs) = pair();
    let old = desk.start(recv(&ours, 8));
    theirs.write_all(b"old").unwrap();
    assert_eq!(received(desk.finish::<Received>(old)), b"old");

    let new = desk.start(recv(&ours, 8));
    assert_eq!(old.index(), new.index());
    desk.fallback.cancel(old);
    desk.settle();
    assert!(desk.answer::<Received>(new).is_none());
    theirs.write_all(b"new").unwrap();
    assert_eq!(received(desk.finish::<Received>(new)), b"new");
}

/// Catches: a request on the pool that only its thread can answer.
#[test]
fn a_request_that_waits_for_a_thread_is_answered_while_the_thread_is_busy() {
    let pool = Pool::new(1, 8);
    let mut desk = Desk::with_pool(pool.clone());
    let busy = Busy::new(&pool);
    let key = desk.start(Scratch::new("queued").open());
    desk.fallback.cancel(key);
    desk.wait(Park::No);
    assert!(is_cancelled(&desk.answer::<Open>(key).expect("an answer").unwrap_err()));
    drop(busy);
}

/// Catches: a running request that is counted as recalled, so that nobody collects its answer.
#[test]
fn a_request_that_runs_is_answered_by_its_own_end() {
    let mut desk = Desk::new();
    let fifo = Fifo::new("running");
    let running = desk.start(fifo.0.open());
    let mut writer = fifo.open_for_writing();
    desk.fallback.cancel(running);
    let opened = desk.finish::<Open>(running).expect("opened, since the writer saw a reader");
    writer.write_all(b"late").unwrap();
    drop(writer);
    let mut text = String::new();
    let crate::fd::Fd::Os(opened) = opened else { panic!("a descriptor of a simulated kernel") };
    std::fs::File::from(opened).read_to_string(&mut text).unwrap();
    assert_eq!(text, "late");
}

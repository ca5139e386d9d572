//! What a ring says, and under which names.

use super::*;
use crate::inflight::held::{Cells, Lent};
use crate::op::Nop;

/// The ring's own names lie below: what answers under them is nobody's op.
const OWN_NAMES_END: u64 = 1 << 32;

fn start(slots: &mut Slots, cells: &Cells) -> Lent {
    let (held, loan) = Held::place(Nop, cells);
    let key = slots.insert(held, Notify::of(Waker::noop()));
    loan.under(key)
}

/// Answers, and takes the op out, so that its slot is free.
fn end(slots: &mut Slots, cells: &Cells, lent: Lent) {
    let key = lent.key();
    assert!(matches!(slots.deliver(Event::Last(key, lent.answer(Ok(Reply::Count(0))))), Consequence::Wake(_)));
    let (held, proof) = slots.poll(key).expect("it is answered");
    held.settle(proof, cells, |_: Nop, reply| assert!(reply.is_ok()));
}

/// Generations have 32 bits, so they come round: in an hour, if a core does nothing else. The reply to an op whose key
/// is one of the ring's own names would be dropped, and its task would wait for ever.
/// Catches: a generation that becomes 0; one that stays where it is at its end.
#[test]
fn keys_whose_generation_wraps_around_stay_clear_of_the_rings_own() {
    let (mut slots, cells) = (Slots::new(), Cells::new());
    slots.generation = u32::MAX - 3;
    let mut seen = Vec::new();
    for _round in 0..4 {
        let here: Vec<Lent> = (0..2).map(|_| start(&mut slots, &cells)).collect();
        for lent in here {
            let key = lent.key();
            assert!(key.to_bits() >= OWN_NAMES_END, "{key:?}");
            assert!(!seen.contains(&key), "{key:?} comes twice, in {seen:?}");
            seen.push(key);
            end(&mut slots, &cells, lent);
        }
    }
    assert_eq!(slots.len(), 0);
}

/// The slot of an op that is over is the next one's, which must not notice those who still have the old key.
/// Catches: a key that is looked up by its index alone.
#[test]
fn the_key_of_an_op_that_is_over_does_not_reach_the_next_op_in_its_slot() {
    let (mut slots, cells) = (Slots::new(), Cells::new());
    let first = start(&mut slots, &cells);
    let old = first.key();
    end(&mut slots, &cells, first);

    let second = start(&mut slots, &cells);
    assert_eq!(second.key().index(), old.index(), "or this shows nothing");
    assert!(matches!(slots.orphan(old), (Orphan::Gone, None)));
    assert!(slots.set_waiter(old, Notify::of(Waker::noop())).is_some(), "nobody waits under the old key");
    end(&mut slots, &cells, second);
}

/// A ring answers with the number of an error below zero. Its workers answer with 512 to 516 when a signal is to start
/// them once more, numbers that no program should see.
/// Catches: a number that keeps its sign; a worker's own that is told as it is; -4095 and i32::MIN that overflow.
#[test]
fn an_error_of_the_kernels_keeps_its_number_and_a_workers_restart_code_becomes_eintr() {
    let cells = Cells::new();
    let (held, _loan) = Held::place(Nop, &cells);
    for number in (1..=133).chain([511, 517, 4095, i32::MAX]) {
        let error = Came::Kernel(-number).item(&held).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(number));
        assert_eq!(error.kind(), io::Error::from_raw_os_error(number).kind());
    }
    for number in 512..=516 {
        let error = Came::Kernel(-number).item(&held).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted, "{number}");
    }
    assert!(Came::Kernel(i32::MIN).item(&held).is_err());
}

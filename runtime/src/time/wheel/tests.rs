//! The wheel against a sorted map, and its promises one by one.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{KEPT_ENTRIES, NEVER, TimerKey, Wheel};

/// Xorshift: enough to wander, and replayable from one number.
struct Random(u64);

impl Random {
    /// Prints its seed, so that a failure can be run again with `WHEEL_SEED`.
    fn new() -> Self {
        let seed: u64 = match std::env::var("WHEEL_SEED") {
            Ok(seed) => seed.parse().expect("WHEEL_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos().into(),
        };
        println!("WHEEL_SEED={seed}");
        Random((seed << 1) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// As likely 3 as 3 million: each order of magnitude up to `bits_max` bits comes equally often.
    fn of_any_size(&mut self, bits_max: u64) -> u64 {
        let bits = self.below(bits_max + 1);
        self.next().checked_shr(64 - u32::try_from(bits).expect("at most 64")).unwrap_or(0)
    }
}

/// A wheel, and the map that says what it must do.
struct Pair {
    wheel: Wheel<u64>,
    /// By number of insertion, which is also the payload.
    model: BTreeMap<u64, Expected>,
    now_ns: u64,
    inserted: u64,
    removed_any: bool,
}

struct Expected {
    key: TimerKey,
    deadline_ns: u64,
    was_past: bool,
}

impl Pair {
    fn new() -> Self {
        Pair { wheel: Wheel::new(), model: BTreeMap::new(), now_ns: 0, inserted: 0, removed_any: false }
    }

    fn insert(&mut self, deadline_ns: u64) {
        let key = self.wheel.insert(deadline_ns, self.inserted);
        let was_past = deadline_ns <= self.now_ns;
        self.model.insert(self.inserted, Expected { key, deadline_ns, was_past });
        self.inserted += 1;
    }

    fn remove(&mut self, number: u64) {
        let expected = self.model.remove(&number).expect("one that is there");
        assert_eq!(self.wheel.payload_mut(expected.key), Some(&mut number.clone()));
        assert_eq!(self.wheel.remove(expected.key), Some(number));
        assert_eq!(self.wheel.remove(expected.key), None, "removed twice");
        assert_eq!(self.wheel.payload_mut(expected.key), None, "seen after its removal");
        self.removed_any = true;
    }

    fn earliest(&self) -> Option<u64> {
        self.model.values().map(|expected| expected.deadline_ns).filter(|&deadline_ns| deadline_ns != NEVER).min()
    }

    /// Moves the clock, and checks that exactly what is due comes, in order.
    fn advance_to(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        let mut last = (0, 0);
        while let Some((key, number)) = self.wheel.pop_expired(now_ns) {
            let expected = self.model.remove(&number).expect("each comes once");
            assert_eq!(key, expected.key);
            assert!(expected.deadline_ns <= now_ns, "{} is early at {now_ns}", expected.deadline_ns);
            if !expected.was_past {
                assert!(last <= (expected.deadline_ns, number), "out of order: {number} after {last:?}");
                last = (expected.deadline_ns, number);
            }
            assert_eq!(self.wheel.payload_mut(key), None, "seen after it came");
        }
        assert!(self.earliest().is_none_or(|earliest| earliest > now_ns), "late at {now_ns}: {:?}", self.earliest());
    }

    fn check(&self) {
        assert_eq!(self.wheel.len(), self.model.len());
        let (next, earliest) = (self.wheel.next_expiry(), self.earliest());
        assert_eq!(next.is_some(), earliest.is_some());
        if self.removed_any {
            assert!(next <= earliest, "a core would sleep until {next:?} and miss {earliest:?}");
        } else {
            assert_eq!(next, earliest);
        }
    }
}

/// Catches: a slot minimum that does not sink; an entry fired with its whole slot; moving past the first slot in use; a
/// bit of the occupancy maps that stays; lists that turn round when they are split.
#[test]
fn whatever_is_inserted_removed_and_waited_for_the_wheel_does_what_a_sorted_map_does() {
    let mut random = Random::new();
    for round in 0..600 {
        let mut pair = Pair::new();
        let cancels = round % 3 != 0;
        let bits_max = 8 + random.below(57);
        for _ in 0..random.below(600) {
            match random.below(10) {
                0..=4 => {
                    let ahead_ns = random.of_any_size(bits_max);
                    pair.insert(pair.now_ns.saturating_add(ahead_ns));
                }
                5 => pair.insert([0, NEVER, NEVER - 1, pair.now_ns / 2][random.below(4) as usize]),
                6 | 7 if cancels => {
                    let from = random.below(pair.inserted + 1);
                    if let Some((&number, _)) = pair.model.range(from..).next() {
                        pair.remove(number);
                    }
                }
                8 => {
                    let next = pair.wheel.next_expiry().unwrap_or(pair.now_ns).max(pair.now_ns);
                    if next > pair.now_ns {
                        let before = pair.wheel.len();
                        pair.advance_to(next - 1);
                        assert_eq!(pair.wheel.len(), before, "something came a nanosecond before the time given");
                    }
                    pair.advance_to(next);
                    assert!(pair.wheel.next_expiry().is_none_or(|later| later > next), "a core would spin");
                }
                _ => {
                    let ahead_ns = random.of_any_size(bits_max);
                    pair.advance_to(pair.now_ns.saturating_add(ahead_ns).min(NEVER - 1));
                }
            }
            pair.check();
        }
        pair.advance_to(NEVER - 1);
        assert!(pair.model.values().all(|expected| expected.deadline_ns == NEVER));
        assert_eq!(pair.wheel.next_expiry(), None);
    }
}

#[test]
fn what_never_comes_due_is_kept_and_can_be_removed() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(NEVER, 'n');
    assert_eq!(wheel.next_expiry(), None);
    assert_eq!(wheel.pop_expired(NEVER), None);
    assert_eq!(wheel.len(), 1);
    assert_eq!(wheel.remove(key), Some('n'));
    assert_eq!(wheel.len(), 0);
}

/// Catches: keys compared by index alone, and generations that every wheel counts from the same number.
#[test]
fn a_key_that_outlived_its_timer_finds_neither_the_next_one_there_nor_one_on_another_wheel() {
    let mut wheel = Wheel::new();
    let stale = wheel.insert(1, 'a');
    assert_eq!(wheel.pop_expired(1), Some((stale, 'a')));
    let fresh = wheel.insert(2, 'b');
    assert_eq!(fresh.index, stale.index);
    assert_eq!(wheel.remove(stale), None);

    let mut other = Wheel::new();
    other.insert(1, 'c');
    assert_eq!(other.remove(stale), None);
    assert_eq!((wheel.len(), other.len()), (1, 1));
}

/// Catches: a wait until the first slot begins, instead of until something in it is due.
#[test]
fn waiting_for_the_time_given_takes_one_wake_a_timer_however_long_the_wheel_has_run() {
    let mut wheel = Wheel::new();
    let mut now_ns = 0;
    for hours in 0..10_000 {
        now_ns += 3_600_000_000_000;
        assert_eq!(wheel.pop_expired(now_ns), None);
        for ahead_ns in [1_000_000, 2_000_000, 2_000_001, 30_000_000_000] {
            wheel.insert(now_ns + ahead_ns, hours);
        }
        for _ in 0..4 {
            now_ns = wheel.next_expiry().expect("four timers");
            assert!(wheel.pop_expired(now_ns).is_some(), "woken for nothing");
            assert_eq!(wheel.pop_expired(now_ns), None);
        }
    }
    assert_eq!(wheel.len(), 0);
}

/// Catches: leaving the minimum in place when nothing is due by it, and so coming back to it for ever.
#[test]
fn a_cancelled_timer_costs_at_most_one_wake() {
    for still_there in 1..4 {
        let mut wheel = Wheel::new();
        let cancelled = wheel.insert(1_000_000_000, 0);
        for later in 0..still_there {
            wheel.insert(1_050_000_000 + later, 1);
        }
        wheel.remove(cancelled);
        let (mut wakes, mut fired) = (0, 0);
        while let Some(now_ns) = wheel.next_expiry() {
            wakes += 1;
            while wheel.pop_expired(now_ns).is_some() {
                fired += 1;
            }
            assert!(wakes <= 1 + still_there, "woken again and again");
        }
        assert_eq!(fired, still_there);
    }
}

#[test]
fn a_million_timers_of_which_half_are_cancelled_come_out_in_order_and_give_their_memory_back() {
    let mut random = Random::new();
    let mut wheel = Wheel::new();
    let keys: Vec<_> = (0..1_000_000)
        .map(|_| {
            let deadline_ns = random.below(10_000_000_000);
            wheel.insert(deadline_ns, deadline_ns)
        })
        .collect();
    for key in keys.iter().step_by(2) {
        assert!(wheel.remove(*key).is_some());
    }
    let (mut fired, mut wakes, mut last_ns) = (0, 0, 0);
    while let Some(now_ns) = wheel.next_expiry() {
        wakes += 1;
        while let Some((_, deadline_ns)) = wheel.pop_expired(now_ns) {
            assert!(last_ns <= deadline_ns && deadline_ns <= now_ns);
            last_ns = deadline_ns;
            fired += 1;
        }
    }
    assert_eq!(fired, 500_000);
    assert!(wakes <= 1_000_000, "{wakes} wakes: at most one for each timer that fired or was cancelled");
    assert!(wheel.entries.capacity() <= KEPT_ENTRIES);
}

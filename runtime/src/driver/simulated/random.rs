//! Where chance comes from: one number, drawn out into as many streams as there are uses.
//!
//! Each use (order and time of replies, faults, the program's own draws) has a stream of its own, so that a fault more
//! does not change every delay that follows it, and a shrunk failure stays the same failure.

/// A stream of numbers, the same for the same seed (splitmix64).
#[derive(Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// A stream of its own.
    pub fn fork(&mut self) -> Random {
        Random::new(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..bound`; 0 if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The upper half of the product is below `bound`. Its bias is far below what a test could see.
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).expect("half of 128 bits")
    }

    /// One of `1..=most`, for sizes. 0 only if `most` is 0.
    pub fn up_to(&mut self, most: usize) -> usize {
        let below = self.below(u64::try_from(most).expect("usize has 64 bits at most"));
        most.min(usize::try_from(below).expect("below a usize") + 1)
    }

    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Whether something of this probability happens. Certain and impossible things draw nothing.
    pub fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 || probability >= 1.0 {
            return probability >= 1.0;
        }
        // 32 bits, since those become a float without loss.
        let drawn = f64::from(u32::try_from(self.next() >> 32).expect("32 bits"));
        drawn / 4_294_967_296.0 < probability
    }

    /// How long something usually takes, in nanoseconds: mostly up to 100 us, one in eight times nearly nothing.
    pub fn delay_ns(&mut self) -> u64 {
        let spread = if self.below(8) == 0 { 1_000 } else { 100_000 };
        self.below(spread)
    }

    /// How long it takes when it is late: 1 ms to 200 ms, a slow disk's time. The end of a runtime waits for longer.
    pub fn long_delay_ns(&mut self) -> u64 {
        1_000_000 + self.below(199_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers_and_another_seed_others() {
        let draw = |seed| -> Vec<u64> {
            let mut random = Random::new(seed);
            (0..100).map(|_| random.next()).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn draws_keep_to_their_bounds_and_reach_them() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 5];
        for _ in 0..1_000 {
            let drawn = random.up_to(4);
            seen[drawn] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|&count| count > 150), "{seen:?}");
        assert_eq!((random.below(0), random.below(1), random.up_to(0)), (0, 0, 0));
    }

    #[test]
    fn a_chance_comes_as_often_as_it_says() {
        let mut random = Random::new(2);
        let mut often = |probability| (0..10_000).filter(|_| random.chance(probability)).count();
        assert_eq!((often(0.0), often(1.0)), (0, 10_000));
        let tenth = often(0.1);
        assert!((900..1_100).contains(&tenth), "{tenth}");
    }
}

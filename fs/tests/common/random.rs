//! Chance that can be had again.

/// xorshift64*. Says its seed when the test that uses it fails.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { seed, state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// From `GIMMAL_SEED` that one, else `count` of them.
    pub fn seeds(count: u64) -> std::ops::Range<u64> {
        match std::env::var("GIMMAL_SEED").ok().and_then(|seed| seed.parse().ok()) {
            Some(seed) => seed..seed + 1,
            None => 0..count,
        }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    pub fn bytes(&mut self, len_max: u64) -> Vec<u8> {
        (0..self.below(len_max + 1)).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {0}; to replay it: GIMMAL_SEED={0}", self.seed);
        }
    }
}

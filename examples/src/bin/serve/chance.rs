//! Random input for tests, replayable from one number.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A stream of pseudorandom numbers: xorshift64*.
#[derive(Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// Starts from `GIMMAL_SEED`, or from a seed of its own. Prints it: the test harness shows that when the test
    /// fails.
    pub fn new() -> Self {
        let seed = match std::env::var("GIMMAL_SEED") {
            Ok(text) => text.parse().expect("GIMMAL_SEED is a decimal number of 64 bits"),
            Err(_) => RandomState::new().hash_one("seed"),
        };
        println!("GIMMAL_SEED={seed}");
        // Zero is the one state that the generator never leaves.
        Self { state: seed.max(1) }
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        usize::try_from(number).expect("48 bits fit a usize of 64") % bound
    }

    /// One of `choices`.
    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// Up to `length_max` bytes of any value.
    pub fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        let length = self.below(length_max + 1);
        (0..length).map(|_| self.byte()).collect()
    }

    /// `count` of `parts`, one after the other: text that looks like what a parser expects, and is not.
    pub fn salad(&mut self, parts: &[&[u8]], count: usize) -> Vec<u8> {
        (0..count).flat_map(|_| self.pick(parts)).copied().collect()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below 256")
    }
}

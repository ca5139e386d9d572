//! What the programs' author throws: numbers that follow from a seed.

/// A stream of numbers, the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        // Not the stream that the simulated kernel draws from the same seed.
        Dice { state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x6a09_e667_f3bc_c908 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// One of `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A length: mostly short, sometimes more than a socket takes at once.
    pub fn len(&mut self) -> usize {
        let most = match self.below(16) {
            0 => 90_000,
            1..=3 => 8_000,
            4..=7 => 8,
            _ => 700,
        };
        usize::try_from(self.between(1, most)).expect("a small number")
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// So many things, made one after the other.
    pub fn some<T>(&mut self, low: u64, high: u64, mut make: impl FnMut(&mut Dice) -> T) -> Vec<T> {
        let count = self.between(low, high);
        (0..count).map(|_| make(self)).collect()
    }
}

fn mix(mut mixed: u64) -> u64 {
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The byte at `offset` of what is called `name`. Of no two names are long pieces alike.
pub fn byte(name: u64, offset: u64) -> u8 {
    mix(name.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(offset)).to_le_bytes()[3]
}

/// `len` bytes of what is called `name`, from `offset` on.
pub fn bytes(name: u64, offset: u64, len: usize) -> Vec<u8> {
    (offset..).take(len).map(|offset| byte(name, offset)).collect()
}

/// A length, where offsets are reckoned.
pub fn count(len: usize) -> u64 {
    u64::try_from(len).expect("usize has 64 bits at most")
}

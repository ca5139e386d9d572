//! Random numbers that follow from a seed, the same everywhere. Whoever draws them prints the seed.

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Below `bound`, as a length or an index.
    pub fn len_below(&mut self, bound: u64) -> usize {
        usize::try_from(self.below(bound)).expect("64 bits")
    }
}

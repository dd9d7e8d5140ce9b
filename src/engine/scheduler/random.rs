//! A pseudo-random generator with a fixed seed, so that simulations are reproducible.

use std::cell::Cell;

/// The generator's state.
pub struct Random {
    /// Not 0.
    state: Cell<u64>,
}

impl Random {
    pub const fn new() -> Random {
        Random { state: Cell::new(1) }
    }

    /// One of the candidates, each with the same probability, by reservoir sampling.
    pub fn choose<T>(&self, candidates: impl Iterator<Item = T>) -> Option<T> {
        let mut chosen = None;
        for (earlier, candidate) in candidates.enumerate() {
            if earlier == 0 || self.below(earlier as u64 + 1) == 0 {
                chosen = Some(candidate);
            }
        }
        chosen
    }

    /// A number below `limit`. The sequence is the same for each scheduler.
    fn below(&self, limit: u64) -> u64 {
        // Marsaglia, Xorshift RNGs (2003), with the multiplier of Vigna's xorshift64*.
        let mut state = self.state.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.state.set(state);
        ((state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) * limit) >> 32
    }
}

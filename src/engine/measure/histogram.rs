//! Histograms.

use std::cell::Cell;
use std::mem::offset_of;

use super::counters::add;

/// Values by size: eight buckets for each power of two, so a value is known to within an eighth.
/// The layout is that of HdrHistogram (Tene), with three significant bits.
pub struct Histogram {
    counts: [Cell<u64>; BUCKETS],
    /// The minimum, `u64::MAX` if no value was recorded, and the difference of the maximum from it.
    pub least: Cell<u64>,
    spread: Cell<u64>,
}

/// A part of a power of two.
const PARTS_BITS: u32 = 3;
const PARTS: usize = 1 << PARTS_BITS;
/// All values from `1 << BITS` on, 36 years in nanoseconds, are in the last bucket.
const BITS: u32 = 60;
const BUCKETS: usize = (BITS - PARTS_BITS + 1) as usize * PARTS;

/// The median and the 99th percentile, each rounded up to the end of its bucket, and the exact
/// maximum. 0 if no value was recorded.
#[derive(Clone, Copy)]
pub struct Summary {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Histogram {
    /// For debuggers: where the counts are, how many there are, and for a power of two.
    pub const COUNTS_OFFSET: usize = offset_of!(Histogram, counts);
    pub const COUNTS: usize = BUCKETS;
    pub const PARTS: usize = PARTS;

    pub const fn new() -> Histogram {
        Histogram {
            counts: [const { Cell::new(0) }; BUCKETS],
            least: Cell::new(u64::MAX),
            spread: Cell::new(0),
        }
    }

    pub fn record(&self, value: u64) {
        let greatest = self.greatest().max(value);
        self.least.set(self.least.get().min(value));
        self.spread.set(greatest - self.least.get());
        add(&self.counts[bucket(value)], 1);
    }

    /// The fast path of [`record`](Self::record), for a small value that is no new minimum or
    /// maximum. Returns false, and records nothing, for any other.
    #[inline(always)]
    pub fn record_fast(&self, value: u64) -> bool {
        // One comparison for both bounds.
        let within = value.wrapping_sub(self.least.get()) <= self.spread.get();
        match BUCKETS_OF_SMALL.get(value as usize) {
            Some(&bucket) if within => {
                add(&self.counts[usize::from(bucket)], 1);
                true
            }
            _ => false,
        }
    }

    pub fn greatest(&self) -> u64 {
        match self.least.get() {
            u64::MAX => 0,
            least => least + self.spread.get(),
        }
    }

    /// How many values are less than `1 << exponent`, or how many there are, if that is none.
    pub fn count_below(&self, exponent: u32) -> u64 {
        let buckets = if exponent < BITS { bucket(1 << exponent) } else { BUCKETS };
        self.counts[..buckets].iter().map(Cell::get).sum()
    }

    pub fn reset(&self) {
        self.counts.iter().for_each(|count| count.set(0));
        self.least.set(u64::MAX);
        self.spread.set(0);
    }

    pub fn summary(&self) -> Summary {
        let max = self.greatest();
        let total: u64 = self.counts.iter().map(Cell::get).sum();
        let quantile = |percent: u64| {
            // In u128, since the product may overflow.
            let rank = (u128::from(total) * u128::from(percent)).div_ceil(100);
            let mut seen = 0;
            for (index, count) in self.counts.iter().enumerate() {
                seen += u128::from(count.get());
                if seen >= rank && seen > 0 {
                    return last_value(index).min(max);
                }
            }
            0
        };
        Summary { p50: quantile(50), p99: quantile(99), max }
    }
}

/// The buckets of small values, since a table lookup takes a third of the time of [`bucket`]: 3 ns
/// of a turn, which matters for short turns.
const BUCKETS_OF_SMALL: &[u8; SMALL] = &{
    let mut buckets = [0; SMALL];
    let mut value = 0;
    while value < SMALL {
        buckets[value] = bucket(value as u64) as u8;
        value += 1;
    }
    buckets
};
const SMALL: usize = 1024;
const _: () = assert!(bucket(SMALL as u64) <= u8::MAX as usize);

/// The bucket of a value: itself if it is small, else its highest four bits and how far they are
/// shifted.
#[inline(always)]
const fn bucket(value: u64) -> usize {
    let shift = (value | PARTS as u64).ilog2() - PARTS_BITS;
    let index = shift as usize * PARTS + (value >> shift) as usize;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// The greatest value of a bucket.
fn last_value(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let shift = (bucket / PARTS).saturating_sub(1);
    let leading = (bucket - shift * PARTS) as u64;
    ((leading + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BUCKETS, Histogram, bucket, last_value};

    #[test]
    fn buckets_are_in_order_and_meet() {
        assert_eq!(bucket(0), 0);
        for index in 0..BUCKETS {
            assert_eq!(bucket(last_value(index)), index);
            if index + 1 < BUCKETS {
                assert_eq!(bucket(last_value(index) + 1), index + 1);
            }
        }
        assert_eq!(last_value(BUCKETS - 1), u64::MAX);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn quantiles_are_right_to_an_eighth(mut values in prop::collection::vec(0u64..1 << 40, 1..500)) {
            let histogram = Histogram::new();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let exact = |percent: usize| values[(values.len() * percent).div_ceil(100) - 1];
            let summary = histogram.summary();
            prop_assert_eq!(summary.max, values[values.len() - 1]);
            for exponent in [0, 1, 10, 39, 40, 60, 64] {
                let below = values.iter().filter(|value| exponent == 64 || **value < 1 << exponent);
                prop_assert_eq!(histogram.count_below(exponent), below.count() as u64);
            }
            for (found, exact) in [(summary.p50, exact(50)), (summary.p99, exact(99))] {
                prop_assert!(found >= exact && found <= exact + exact / 8, "{} for {}", found, exact);
            }
        }
    }
}

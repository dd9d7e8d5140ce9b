//! The counters: the public ones, counted where things happen, and the times of turns, in ticks.

use std::cell::Cell;

use crate::engine::time::{Clock, Ratio};

/// The public counters. C reads them, in this order, and its wait functions count `io_events`.
#[repr(C)]
#[derive(Default)]
pub struct Metrics {
    pub task_executions: Cell<u64>,
    pub total_execution_time_ns: Cell<u64>,
    pub min_execution_time_ns: Cell<u64>,
    pub max_execution_time_ns: Cell<u64>,
    pub scheduler_loops: Cell<u64>,
    pub total_loop_time_ns: Cell<u64>,
    pub timer_expirations: Cell<u64>,
    pub timer_cancellations: Cell<u64>,
    pub wait_calls: Cell<u64>,
    pub total_wait_time_ns: Cell<u64>,
    pub io_events: Cell<u64>,
    pub tasks_created: Cell<u64>,
    pub tasks_exited: Cell<u64>,
    pub current_tasks: Cell<u64>,
    pub peak_tasks: Cell<u64>,
    pub heap_operations: Cell<u64>,
    pub memory_allocated_bytes: Cell<usize>,
}

/// Adds to a counter.
#[inline(always)]
pub fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

impl Metrics {
    /// Starts counting again. What says how many there are now stays.
    pub fn reset(&self) {
        let zero = [
            &self.task_executions,
            &self.total_execution_time_ns,
            &self.min_execution_time_ns,
            &self.max_execution_time_ns,
            &self.scheduler_loops,
            &self.total_loop_time_ns,
            &self.timer_expirations,
            &self.timer_cancellations,
            &self.wait_calls,
            &self.total_wait_time_ns,
            &self.io_events,
            &self.tasks_created,
            &self.tasks_exited,
            &self.heap_operations,
        ];
        zero.into_iter().for_each(|counter| counter.set(0));
        self.peak_tasks.set(self.current_tasks.get());
    }
}

/// How long turns take: one reading of the counter ends a turn and begins the next. All in ticks.
pub struct TurnTimes {
    count: Cell<u64>,
    /// When the current turn began; between two series, when the last one ended.
    began: Cell<u64>,
    /// When the first turn of the current series began. Turns follow each other without a gap, so
    /// nothing is added up at each: a series takes from then to `began`.
    series_began: Cell<u64>,
    /// What the earlier series took.
    total_before: Cell<u64>,
    histogram: Histogram,
    /// How much of `count` and of the total is in the public counters, and the ratio then.
    published_count: Cell<u64>,
    published_total: Cell<u64>,
    ratio: Cell<Ratio>,
}

impl TurnTimes {
    pub const fn new() -> TurnTimes {
        TurnTimes {
            count: Cell::new(0),
            began: Cell::new(0),
            series_began: Cell::new(0),
            total_before: Cell::new(0),
            histogram: Histogram::new(),
            published_count: Cell::new(0),
            published_total: Cell::new(0),
            ratio: Cell::new(Ratio::UNKNOWN),
        }
    }

    /// The first turn of a series begins.
    #[inline(always)]
    pub fn begin(&self, now_ticks: u64) {
        self.total_before.set(self.total());
        self.series_began.set(now_ticks);
        self.began.set(now_ticks);
    }

    /// A turn ends; if another follows, it begins.
    #[inline(always)]
    pub fn end(&self, now_ticks: u64) {
        if !self.end_ordinary(now_ticks) {
            self.end_special(now_ticks);
        }
    }

    /// The same, for a turn that is short and neither the shortest nor the longest so far. Returns
    /// whether it was; if not, [`end_special`](Self::end_special) is to end it. A yield calls the two
    /// apart, since it has no call on its way when the turn was ordinary.
    #[inline(always)]
    pub fn end_ordinary(&self, now_ticks: u64) -> bool {
        let turn = now_ticks.wrapping_sub(self.began.get());
        let ordinary = self.histogram.record_ordinary(turn);
        if ordinary {
            self.began.set(now_ticks);
            add(&self.count, 1);
        }
        ordinary
    }

    /// Ends any turn.
    #[inline(never)]
    pub fn end_special(&self, now_ticks: u64) {
        let turn = now_ticks.wrapping_sub(self.began.replace(now_ticks));
        add(&self.count, 1);
        self.histogram.record(turn);
    }

    /// How many have ended.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// What all turns took that have ended.
    fn total(&self) -> u64 {
        let series = self.began.get().wrapping_sub(self.series_began.get());
        self.total_before.get().wrapping_add(series)
    }

    pub fn reset(&self) {
        self.count.set(0);
        self.series_began.set(self.began.get());
        self.total_before.set(0);
        self.histogram.reset();
        self.published_count.set(0);
        self.published_total.set(0);
    }

    /// Writes the times to the public counters. What is there already stays as it was converted, so
    /// that sums only grow.
    pub fn publish(&self, clock: &Clock, metrics: &Metrics) {
        let count = self.count.get();
        if self.published_count.replace(count) == count {
            return;
        }
        metrics.task_executions.set(count);
        let ratio = clock.ratio();
        self.ratio.set(ratio);
        let total = self.total();
        let more = total.wrapping_sub(self.published_total.replace(total));
        add(&metrics.total_execution_time_ns, ratio.to_ns(more));
        // The ratio of an earlier conversion may have been lower, and no turn is longer than all.
        let longest = ratio.to_ns(self.histogram.greatest());
        let longest = longest.min(metrics.total_execution_time_ns.get());
        metrics.max_execution_time_ns.set(longest);
        metrics.min_execution_time_ns.set(ratio.to_ns(self.histogram.least.get()).min(longest));
    }

    /// The distribution, in nanoseconds, as of the latest [`publish`](Self::publish).
    pub fn summary(&self) -> Summary {
        let ratio = self.ratio.get();
        let Summary { p50, p99, max } = self.histogram.summary();
        Summary { p50: ratio.to_ns(p50), p99: ratio.to_ns(p99), max: ratio.to_ns(max) }
    }
}

/// Values by size: eight buckets for each power of two, so a value is known to within an eighth.
/// The layout is that of HdrHistogram (Tene), with three significant bits.
pub struct Histogram {
    counts: [Cell<u64>; BUCKETS],
    /// The least value recorded, `u64::MAX` if there is none, and how much greater the greatest is.
    least: Cell<u64>,
    spread: Cell<u64>,
}

/// A part of a power of two.
const PARTS_BITS: u32 = 3;
const PARTS: usize = 1 << PARTS_BITS;
const BUCKETS: usize = (u64::BITS - PARTS_BITS + 1) as usize * PARTS;

/// The middle, the tail and the end of a distribution: values that half and 99 in 100 of those
/// recorded do not exceed, each rounded up to the end of its bucket, and the greatest, exact. 0
/// when none was recorded.
pub struct Summary {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Histogram {
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

    /// Records a value that is small, and within what was recorded before. Returns whether it was.
    #[inline(always)]
    pub fn record_ordinary(&self, value: u64) -> bool {
        // One comparison for both ends.
        let within = value.wrapping_sub(self.least.get()) <= self.spread.get();
        match BUCKETS_OF_SMALL.get(value as usize) {
            Some(&bucket) if within => {
                add(&self.counts[usize::from(bucket)], 1);
                true
            }
            _ => false,
        }
    }

    fn greatest(&self) -> u64 {
        match self.least.get() {
            u64::MAX => 0,
            least => least + self.spread.get(),
        }
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
            // In u128, since a counter may be near its end.
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

/// The buckets of small values, since to look one up takes a third of the time that [`bucket`] does:
/// 3 ns of a turn. The short turns are those whose length in time this matters for.
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
    shift as usize * PARTS + (value >> shift) as usize
}

/// The greatest value of a bucket.
fn last_value(bucket: usize) -> u64 {
    let shift = (bucket / PARTS).saturating_sub(1);
    let leading = (bucket - shift * PARTS) as u128;
    (((leading + 1) << shift) - 1) as u64
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
            for (found, exact) in [(summary.p50, exact(50)), (summary.p99, exact(99))] {
                prop_assert!(found >= exact && found <= exact + exact / 8, "{} for {}", found, exact);
            }
        }
    }
}

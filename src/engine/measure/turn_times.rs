//! The durations of turns, in ticks.

use std::cell::Cell;

use super::counters::{Metrics, add};
use super::histogram::{Histogram, Summary};
use crate::engine::time::{Clock, Ratio};

/// The durations of turns, in ticks. One reading of the counter ends a turn and begins the next.
pub struct TurnTimes {
    count: Cell<u64>,
    /// When the current turn began; outside a series, when the last turn ended.
    began: Cell<u64>,
    /// When the current series of turns began. Turns of a series follow each other without a gap,
    /// so its total is `began - series_began`, and no turn needs an addition.
    series_began: Cell<u64>,
    /// The total of earlier series.
    total_before: Cell<u64>,
    histogram: Histogram,
    /// The parts of `count` and of the total that are in the public counters, and the ratio then.
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

    /// Ends a turn, and begins the next.
    #[inline(always)]
    pub fn end(&self, now_ticks: u64) {
        if !self.end_fast(now_ticks) {
            self.end_slow(now_ticks);
        }
    }

    /// [`end`](Self::end) for a short turn that is no new minimum or maximum. Returns false, and
    /// ends nothing, for any other: call [`end_slow`](Self::end_slow). A yield calls the two
    /// separately, so that its fast path has no call.
    #[inline(always)]
    pub fn end_fast(&self, now_ticks: u64) -> bool {
        let turn = now_ticks.wrapping_sub(self.began.get());
        let ordinary = self.histogram.record_fast(turn);
        if ordinary {
            self.began.set(now_ticks);
            add(&self.count, 1);
        }
        ordinary
    }

    /// Ends any turn.
    #[inline(never)]
    pub fn end_slow(&self, now_ticks: u64) {
        let turn = now_ticks.wrapping_sub(self.began.replace(now_ticks));
        add(&self.count, 1);
        self.histogram.record(turn);
    }

    /// How many turns have ended.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// The total duration of all turns that have ended.
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

    /// Writes the durations to the public counters. Only the difference since the last call is
    /// converted, so that sums never decrease.
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
        // An earlier conversion may have had a lower ratio, and the maximum must not exceed the
        // total.
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

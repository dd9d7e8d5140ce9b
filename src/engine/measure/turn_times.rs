//! The durations of turns, in ticks.

use std::cell::Cell;
use std::mem::offset_of;
use std::sync::atomic::AtomicU64;

use super::counters::{Metrics, add};
use super::histogram::{Histogram, Summary};
use crate::engine::sys::VisibleU64;
use crate::engine::time::{Clock, Ratio};

/// The durations of turns. One reading of the counter ends a turn and begins the next.
pub struct TurnTimes {
    /// How many turns are left until the clock is to be asked, [`NONE_LEFT`] once it is, and the
    /// count of turns when it is: one subtraction for each turn counts it, and finds that out.
    left: Cell<u64>,
    asked_at: Cell<u64>,
    /// While turns are recorded: how many more may be by [`is_next_recorded`](Self::is_next_recorded). None are left
    /// then, so that each turn comes there.
    recorded: Cell<u64>,
    /// When the current turn began; outside a series, when the last turn ended. So it also tells one
    /// turn from another, and the watchdog looks at it.
    began: VisibleU64,
    /// When the current series of turns began. Turns of a series follow each other without a gap,
    /// so its total is `began - series_began`, and no turn needs an addition.
    series_began: Cell<u64>,
    /// The total of earlier series.
    total_before: Cell<u64>,
    histogram: Histogram,
    /// The parts of the count and of the total that are in the public counters; the ratio and the
    /// longest turn then.
    published_count: Cell<u64>,
    published_total: Cell<u64>,
    ratio: Cell<Ratio>,
    longest_ns: Cell<u64>,
}

/// In `left`: the turn that has just been counted is one too many.
const NONE_LEFT: u64 = u64::MAX;

impl TurnTimes {
    /// For debuggers.
    pub const BEGAN_OFFSET: usize = offset_of!(TurnTimes, began);
    pub const HISTOGRAM_OFFSET: usize = offset_of!(TurnTimes, histogram) + Histogram::COUNTS_OFFSET;

    pub const fn new() -> TurnTimes {
        TurnTimes {
            left: Cell::new(0),
            asked_at: Cell::new(0),
            recorded: Cell::new(0),
            began: VisibleU64::new(0),
            series_began: Cell::new(0),
            total_before: Cell::new(0),
            histogram: Histogram::new(),
            published_count: Cell::new(0),
            published_total: Cell::new(0),
            ratio: Cell::new(Ratio::UNKNOWN),
            longest_ns: Cell::new(0),
        }
    }

    /// The first turn of a series begins.
    #[inline(always)]
    pub fn begin(&self, now_ticks: u64) {
        self.total_before.set(self.total());
        self.series_began.set(now_ticks);
        self.began.set(now_ticks);
    }

    /// So many turns may follow until the clock is to be asked.
    pub fn ask_clock_after(&self, turns: u64) {
        self.asked_at.set(self.count().wrapping_add(turns));
        self.left.set(turns);
        self.recorded.set(0);
    }

    /// The same where all of them are recorded.
    pub fn record_until_clock(&self, turns: u64) {
        self.asked_at.set(self.count().wrapping_add(turns));
        self.left.set(0);
        self.recorded.set(turns);
    }

    /// How many turns may follow still that are recorded.
    pub fn recorded_left(&self) -> u64 {
        self.recorded.get()
    }

    /// Whether the turn that [`end_fast`](Self::end_fast) has counted may be recorded without the clock.
    #[inline(always)]
    pub fn is_next_recorded(&self) -> bool {
        let (recorded, none_left) = self.recorded.get().overflowing_sub(1);
        self.recorded.set(recorded);
        !none_left
    }

    /// It is not, after all.
    pub fn is_not_recorded(&self) {
        self.recorded.set(self.recorded.get().wrapping_add(1));
    }

    /// Ends a turn that is recorded as [`end_fast`](Self::end_fast) does, which has counted it.
    #[inline(always)]
    pub fn end_recorded(&self, now_ticks: u64) -> bool {
        let ordinary = self.histogram.record_fast(self.ticks_since_it_began(now_ticks));
        if ordinary {
            self.began.set(now_ticks);
            self.left.set(0);
        }
        ordinary
    }

    /// Whether the clock is to be asked now: the counter may have stood still for all these turns.
    pub fn is_clock_due(&self) -> bool {
        self.left.get() == NONE_LEFT
    }

    /// Ends a short turn that is no new minimum or maximum, and begins the next. For any other, and
    /// when the clock is due, it only counts the turn, and returns false: [`end_slow`] is to follow.
    ///
    /// [`end_slow`]: Self::end_slow
    #[inline(always)]
    pub fn end_fast(&self, now_ticks: u64) -> bool {
        let (left, none_left) = self.left.get().overflowing_sub(1);
        self.left.set(left);
        if none_left {
            return false;
        }
        let ordinary = self.histogram.record_fast(self.ticks_since_it_began(now_ticks));
        if ordinary {
            self.began.set(now_ticks);
        }
        ordinary
    }

    /// How long the current turn has taken, as the counter says.
    #[inline(always)]
    pub fn ticks_since_it_began(&self, now_ticks: u64) -> u64 {
        now_ticks.wrapping_sub(self.began.get())
    }

    /// Ends a turn that has been counted, which has taken so many ticks, and begins the next. If the
    /// counter says something else, it has jumped, and the total does not follow.
    #[inline(never)]
    pub fn end_slow(&self, now_ticks: u64, turn_ticks: u64) {
        let jump = now_ticks.wrapping_sub(self.began.replace(now_ticks)).wrapping_sub(turn_ticks);
        self.series_began.set(self.series_began.get().wrapping_add(jump));
        self.histogram.record(turn_ticks);
    }

    /// What differs from turn to turn, for other threads.
    pub fn turn(&self) -> &AtomicU64 {
        self.began.word()
    }

    /// When the current turn began.
    pub fn began(&self) -> u64 {
        self.began.get()
    }

    /// When the latest turns that followed each other began, and when they ended: of a scheduler that is in its
    /// loop.
    pub fn latest_series(&self) -> (u64, u64) {
        (self.series_began.get(), self.began.get())
    }

    /// How many turns have ended.
    pub fn count(&self) -> u64 {
        self.asked_at.get().wrapping_sub(self.left.get()).wrapping_sub(self.recorded.get())
    }

    /// The total duration of all turns that have ended.
    fn total(&self) -> u64 {
        let series = self.began.get().wrapping_sub(self.series_began.get());
        self.total_before.get().wrapping_add(series)
    }

    pub fn reset(&self) {
        self.asked_at.set(self.left.get().wrapping_add(self.recorded.get()));
        self.series_began.set(self.began.get());
        self.total_before.set(0);
        self.histogram.reset();
        self.published_count.set(0);
        self.published_total.set(0);
    }

    /// Writes the durations to the public counters. Only the difference since the last call is
    /// converted, so that sums never decrease. Turns take no longer than the loop, whose time the
    /// clock has measured: a counter that has changed its pace does not make them.
    pub fn publish(&self, clock: &Clock, metrics: &Metrics) {
        let count = self.count();
        if self.published_count.replace(count) == count {
            return;
        }
        metrics.task_executions.set(count);
        let ratio = clock.ratio();
        self.ratio.set(ratio);
        let total = self.total();
        let more = total.saturating_sub(self.published_total.replace(total));
        let of_loop = metrics.total_loop_time_ns.get();
        let most = of_loop.saturating_sub(metrics.total_execution_time_ns.get());
        add(&metrics.total_execution_time_ns, ratio.to_ns(more).min(most));
        // An earlier conversion may have had a lower ratio, and the maximum must not exceed the
        // total.
        let longest = ratio.to_ns(self.histogram.greatest());
        let longest = longest.min(metrics.total_execution_time_ns.get());
        metrics.max_execution_time_ns.set(longest);
        self.longest_ns.set(longest);
        metrics.min_execution_time_ns.set(ratio.to_ns(self.histogram.least.get()).min(longest));
    }

    /// The distribution, in nanoseconds, as of the latest [`publish`](Self::publish).
    pub fn summary(&self) -> Summary {
        let ns = |ticks| self.ratio.get().to_ns(ticks).min(self.longest_ns.get());
        let Summary { p50, p99, max } = self.histogram.summary();
        Summary { p50: ns(p50), p99: ns(p99), max: ns(max) }
    }
}

#[cfg(test)]
mod tests {
    use super::TurnTimes;

    /// Ends a turn that has taken so many ticks, when the counter says `now`.
    fn end(turns: &TurnTimes, now: u64, ticks: u64) {
        if !turns.end_fast(now) {
            turns.end_slow(now, ticks);
        }
    }

    #[test]
    fn the_total_does_not_follow_a_jump_of_the_counter() {
        let turns = TurnTimes::new();
        turns.ask_clock_after(100);
        turns.begin(1 << 40);
        end(&turns, (1 << 40) + 300, 300);
        end(&turns, (1 << 40) + 700, 400);
        assert_eq!(turns.total(), 700);
        end(&turns, 5, 0); // It has gone back.
        assert_eq!(turns.total(), 700);
        end(&turns, 1 << 50, 250); // And ahead.
        assert_eq!(turns.total(), 950);
        turns.begin(7);
        end(&turns, 57, 50);
        assert_eq!(turns.total(), 1000);
        assert_eq!(turns.count(), 5);
        assert_eq!(turns.histogram.greatest(), 400);
        turns.reset();
        assert_eq!((turns.count(), turns.total()), (0, 0));
    }

    #[test]
    fn the_clock_is_due_after_the_agreed_turns() {
        let turns = TurnTimes::new();
        turns.ask_clock_after(3);
        turns.begin(10);
        end(&turns, 11, 1);
        for _ in 0..2 {
            assert!(turns.end_fast(11 + 1) || !turns.is_clock_due());
        }
        assert!(!turns.is_clock_due());
        assert!(!turns.end_fast(13));
        assert!(turns.is_clock_due());
        turns.end_slow(13, 1);
        assert_eq!(turns.count(), 4);
        turns.ask_clock_after(3);
        assert!(!turns.is_clock_due());
        assert_eq!(turns.count(), 4);
    }
}

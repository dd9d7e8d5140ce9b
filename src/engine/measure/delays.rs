//! What a scheduler that has too much to do makes others wait for: three delays, each with its distribution.
//!
//! | delay | from | to | which |
//! |---|---|---|---|
//! | of the loop | a look of the loop at timers, messages and descriptors, or the end of its sleep | the next look, or the beginning of its next sleep | each round, by readings of the clock that the loop makes anyway |
//! | of a ready task | the loop has found an event of a descriptor, or a timer, for it | its turn begins | one task at a time: the first in a round, unless an earlier one has not had its turn yet. By readings that end a wait of the loop or a turn |
//! | of a job | a task gives it to the pool | a thread begins with it | each |
//!
//! So a turn costs nothing for these, a wait of a task a comparison, and a round of the loop a few dozen instructions.

use std::cell::Cell;
use std::ptr::null;

use super::counters::{Kind, Metric, add};
use super::histogram::{Histogram, Summary};

/// The durations of something, in nanoseconds.
pub struct Delay {
    histogram: Histogram,
    total_ns: Cell<u64>,
}

impl Delay {
    const fn new() -> Delay {
        Delay { histogram: Histogram::new(), total_ns: Cell::new(0) }
    }

    pub fn record(&self, ns: u64) {
        self.histogram.record(ns);
        add(&self.total_ns, ns);
    }

    pub fn summary(&self) -> Summary {
        self.histogram.summary()
    }

    pub fn total_ns(&self) -> u64 {
        self.total_ns.get()
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.histogram.count_below(u64::BITS)
    }

    /// How many of them were shorter than `1 << exponent` nanoseconds.
    pub fn count_below(&self, exponent: u32) -> u64 {
        self.histogram.count_below(exponent)
    }

    fn reset(&self) {
        self.histogram.reset();
        self.total_ns.set(0);
    }
}

/// The delays of a scheduler.
pub struct Delays {
    pub of_loop: Delay,
    pub of_ready: Delay,
    pub of_jobs: Delay,
    /// In nanoseconds of the clock: when the loop looked last, unless it has slept since; 0 for that.
    looked_at_ns: Cell<u64>,
    /// The task that is ready and is measured, by its address, which is only compared; null for none. And since
    /// when it is ready, in ticks; 0 until the next reading.
    sample: Cell<*const ()>,
    ready_since: Cell<u64>,
}

impl Delays {
    pub const fn new() -> Delays {
        Delays {
            of_loop: Delay::new(),
            of_ready: Delay::new(),
            of_jobs: Delay::new(),
            looked_at_ns: Cell::new(0),
            sample: Cell::new(null()),
            ready_since: Cell::new(0),
        }
    }

    /// The loop looks.
    pub fn look(&self, now_ns: u64) {
        self.sleep(now_ns);
        self.looked_at_ns.set(now_ns);
    }

    /// The loop begins to sleep.
    pub fn sleep(&self, now_ns: u64) {
        let looked_at_ns = self.looked_at_ns.replace(0);
        if looked_at_ns != 0 {
            self.of_loop.record(now_ns.saturating_sub(looked_at_ns));
        }
    }

    /// A run begins: there is no look to measure from.
    pub fn begin_run(&self) {
        self.looked_at_ns.set(0);
        self.sample.set(null());
    }

    /// The task that is measured.
    pub fn sample(&self) -> *const () {
        self.sample.get()
    }

    /// Measures a task that has just become ready: at the next [`read`](Self::read) from then on.
    pub fn begin_sample(&self, task: *const ()) {
        self.sample.set(task);
        self.ready_since.set(0);
    }

    /// The counter was read.
    pub fn read(&self, ticks: u64) {
        if self.ready_since.get() == 0 {
            self.ready_since.set(ticks);
        }
    }

    /// The turn of the task that is measured has begun. Returns since when it was ready, if that is known.
    pub fn end_sample(&self) -> Option<u64> {
        self.sample.set(null());
        Some(self.ready_since.get()).filter(|ticks| *ticks != 0)
    }

    /// The rows of the metrics.
    pub fn table(&self) -> [(Metric, &Delay); 3] {
        let row = |name, help| Metric { name, kind: Kind::Gauge, help };
        [
            (row("loop_delay_ns", "How long the loop has not looked for events"), &self.of_loop),
            (row("ready_delay_ns", "How long ready tasks have waited for a turn"), &self.of_ready),
            (row("offload_delay_ns", "How long jobs have waited for a thread"), &self.of_jobs),
        ]
    }

    pub fn reset(&self) {
        [&self.of_loop, &self.of_ready, &self.of_jobs].into_iter().for_each(Delay::reset);
    }
}

#[cfg(test)]
mod tests {
    use super::Delays;

    #[test]
    fn a_round_ends_with_a_look_or_a_sleep() {
        let delays = Delays::new();
        delays.look(1000);
        delays.look(1300);
        delays.sleep(1700);
        delays.sleep(9000); // It was asleep.
        delays.look(9500);
        delays.look(9600);
        assert_eq!((delays.of_loop.count(), delays.of_loop.total_ns()), (3, 300 + 400 + 100));
        delays.begin_run();
        delays.look(20_000);
        assert_eq!(delays.of_loop.count(), 3);
        assert_eq!((delays.of_loop.count_below(7), delays.of_loop.count_below(9)), (1, 3));
        delays.reset();
        assert_eq!((delays.of_loop.count(), delays.of_loop.total_ns()), (0, 0));
    }

    #[test]
    fn a_sample_counts_from_the_next_reading() {
        let delays = Delays::new();
        let task = (&raw const delays).cast();
        delays.read(5);
        delays.begin_sample(task);
        assert_eq!(delays.sample(), task);
        delays.read(7);
        delays.read(9);
        assert_eq!(delays.end_sample(), Some(7));
        delays.begin_sample(task);
        assert_eq!(delays.end_sample(), None);
        assert!(delays.sample().is_null());
    }
}

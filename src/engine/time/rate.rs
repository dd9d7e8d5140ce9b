//! How fast the cycle counter runs, in ticks per nanosecond.
//!
//! Measured against the clock over the latest one or two seconds, and not for longer: the counter may
//! go on while the clock stands still (a suspended machine), begin anew (hibernation, a virtual
//! machine that is restored), or run at another rate (one that has moved to another processor). A step
//! that does not fit the rate so far is not measured, and the window begins anew behind it; the next
//! step is believed.

use std::cell::Cell;
use std::mem::offset_of;

use super::instant::Instant;

/// A step is measured if it is at least this long: each reading is off by less than 100 ns.
const STEP_NS: u64 = 1_000_000;

/// How old the beginning of the window gets, at the least, before it moves on to its middle.
const WINDOW_NS: u64 = 1_000_000_000;

/// Until the first step was measured. With a faster counter, timers and I/O are polled more often
/// than needed for the first millisecond.
const DEFAULT: f64 = 1.0;

/// What no counter is slower or faster than, in ticks per nanosecond.
const SLOWEST: f64 = 1.0 / 2048.0;
const FASTEST: f64 = 16.0;

/// By which part a step may differ from the rate so far.
const TOLERANCE: f64 = 0.125;

/// The rate of a scheduler's counter.
pub struct Rate {
    /// Where the window begins, and where it will begin next.
    began: Cell<Instant>,
    middle: Cell<Instant>,
    /// The end of the latest step.
    latest: Cell<Instant>,
    ticks_per_ns: Cell<f64>,
    /// Whether any step was measured yet.
    known: Cell<bool>,
}

impl Rate {
    /// Where a debugger finds a reading of both clocks, an [`Instant`], and the rate.
    pub const LATEST_OFFSET: usize = offset_of!(Rate, latest);
    pub const TICKS_PER_NS_OFFSET: usize = offset_of!(Rate, ticks_per_ns);

    pub fn new(now: Instant) -> Rate {
        Rate {
            began: Cell::new(now),
            middle: Cell::new(now),
            latest: Cell::new(now),
            ticks_per_ns: Cell::new(DEFAULT),
            known: Cell::new(false),
        }
    }

    /// Takes both clocks' readings of one moment.
    #[inline]
    pub fn observe(&self, now: Instant) {
        if now.ns.saturating_sub(self.latest.get().ns) >= STEP_NS {
            self.measure(now);
        }
    }

    #[inline(never)]
    fn measure(&self, now: Instant) {
        let (latest, so_far) = (self.latest.replace(now), self.ticks_per_ns.get());
        let window_is_empty = self.began.get().ns == latest.ns;
        let fits = |step: f64| window_is_empty || (step - so_far).abs() <= so_far * TOLERANCE;
        if !between(latest, now).is_some_and(fits) {
            self.began.set(now);
            self.middle.set(now);
            return;
        }
        if let Some(rate) = between(self.began.get(), now) {
            self.ticks_per_ns.set(rate);
            self.known.set(true);
        }
        if now.ns.saturating_sub(self.middle.get().ns) >= WINDOW_NS {
            self.began.set(self.middle.replace(now));
        }
    }

    /// The rate, exact to one part in a thousand or better once a step was measured.
    pub fn ticks_per_ns(&self) -> f64 {
        self.ticks_per_ns.get()
    }

    /// The same, once a step was measured.
    pub fn known(&self) -> Option<f64> {
        self.known.get().then_some(self.ticks_per_ns.get())
    }

    /// The rate at this moment: before the first step is complete, as far as it can be told.
    pub fn at(&self, now: Instant) -> f64 {
        self.observe(now);
        let so_far = self.ticks_per_ns.get();
        if self.known.get() { so_far } else { between(self.began.get(), now).unwrap_or(so_far) }
    }

    /// No less than the ticks of so many nanoseconds, and not many times more.
    pub fn most_ticks(&self, ns: u64) -> u64 {
        let most =
            if self.known.get() { self.ticks_per_ns.get() * (1.0 + TOLERANCE) } else { FASTEST };
        (ns as f64 * most) as u64
    }
}

/// The rate between two moments; `None` if no counter has it.
fn between(from: Instant, to: Instant) -> Option<f64> {
    let ticks = to.ticks.checked_sub(from.ticks)? as f64;
    let rate = ticks / to.ns.checked_sub(from.ns)? as f64;
    (SLOWEST..=FASTEST).contains(&rate).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::super::instant::Instant;
    use super::{DEFAULT, Rate, STEP_NS};

    const MS: u64 = 1_000_000;
    const S: u64 = 1000 * MS;

    /// Both clocks, and the rate that is measured of them.
    struct Machine {
        now: Instant,
        rate: Rate,
    }

    impl Machine {
        fn new() -> Machine {
            let now = Instant { ticks: 1 << 50, ns: 5 * S };
            Machine { now, rate: Rate::new(now) }
        }

        /// Time passes, in steps of 2 ms, with a counter of so many ticks per microsecond.
        fn pass(&mut self, ns: u64, ticks_per_us: u64) {
            for _ in 0..ns / (2 * STEP_NS) {
                self.now.ns += 2 * STEP_NS;
                self.now.ticks += 2 * STEP_NS / 1000 * ticks_per_us;
                self.rate.observe(self.now);
            }
        }

        fn is_at(&self, expected: f64) {
            let found = self.rate.ticks_per_ns();
            assert!((found / expected - 1.0).abs() < 1e-3, "{found} for {expected}");
        }
    }

    #[test]
    fn it_is_known_after_the_first_step() {
        let mut machine = Machine::new();
        machine.rate.observe(Instant { ticks: (1 << 50) + 1500, ns: 5 * S + 500 });
        machine.is_at(DEFAULT);
        assert!(machine.rate.most_ticks(500) >= 1500);
        machine.pass(2 * MS, 3000);
        machine.is_at(3.0);
        assert!(machine.rate.most_ticks(1000) < 3500);
    }

    #[test]
    fn a_jump_does_not_change_it() {
        for jump in [-(1 << 49), -30_000, 40_000_000, 1 << 60] {
            for at in [2 * MS, S, 10 * S] {
                let mut machine = Machine::new();
                machine.pass(at, 3000);
                machine.now.ticks = machine.now.ticks.wrapping_add_signed(jump);
                for _ in 0..5 {
                    machine.pass(2 * MS, 3000);
                    // A jump of less than a step's ticks may pass for noise, for a moment.
                    let found = machine.rate.ticks_per_ns();
                    assert!((found / 3.0 - 1.0).abs() < 0.13, "{found} after {jump} at {at}");
                }
                machine.pass(3 * S, 3000);
                machine.is_at(3.0);
            }
        }
    }

    #[test]
    fn another_rate_is_learned_at_once() {
        let mut machine = Machine::new();
        machine.pass(100 * S, 3000);
        machine.pass(4 * MS, 1000);
        machine.is_at(1.0);
    }

    #[test]
    fn a_slow_drift_is_followed() {
        let mut machine = Machine::new();
        machine.pass(100 * S, 3000);
        machine.pass(3 * S, 2900);
        machine.is_at(2.9);
    }

    #[test]
    fn a_counter_that_stands_still_has_the_rate_of_before() {
        let mut machine = Machine::new();
        machine.pass(S, 3000);
        machine.pass(S, 0);
        machine.is_at(3.0);
        machine.pass(4 * MS, 2000);
        machine.is_at(2.0);
    }
}

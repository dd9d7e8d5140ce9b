//! A scheduler's clock and timers.

use std::cell::Cell;

use crate::engine::measure::Histogram;
use crate::engine::sys;
use crate::engine::time::Clock;

/// Deadlines and their timers.
pub struct Time {
    pub clock: Clock,
    /// How late timers fired.
    pub lateness: Histogram,
    /// Orders timers with equal deadlines.
    next_serial: Cell<u64>,
    /// In nanoseconds: up to when the time of the current run has been counted.
    loop_began_ns: Cell<u64>,
}

impl Time {
    pub fn new() -> Time {
        Time {
            clock: Clock::start(),
            lateness: Histogram::new(),
            next_serial: Cell::new(0),
            loop_began_ns: Cell::new(0),
        }
    }

    /// The number of the next timer.
    pub fn serial(&self) -> u64 {
        let serial = self.next_serial.get();
        self.next_serial.set(serial + 1);
        serial
    }

    /// A run begins.
    pub fn begin_loop(&self) {
        self.loop_began_ns.set(sys::monotonic_ns());
    }

    /// The time of the run since the last call.
    pub fn take_loop_ns(&self) -> u64 {
        let now_ns = sys::monotonic_ns();
        now_ns.saturating_sub(self.loop_began_ns.replace(now_ns))
    }
}

//! Deadlines of waits.

use super::clock::Clock;
use crate::engine::sys;

/// A moment of the scheduler's clock, or a timeout that starts when the call first has to wait: a
/// call that need not wait reads no clock, and a call that waits several times reads it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    Never,
    /// A timeout in nanoseconds.
    In(u64),
    /// A moment, in nanoseconds of the clock.
    At(u64),
}

impl Deadline {
    /// A timeout in C's form: `u64::MAX` is none.
    pub const fn after_ns(timeout_ns: u64) -> Deadline {
        if timeout_ns == u64::MAX { Deadline::Never } else { Deadline::In(timeout_ns) }
    }

    /// The moment, if there is one. A timeout starts now, and is replaced by its moment. May call
    /// the program's clock.
    pub fn resolve(&mut self, clock: &Clock) -> Option<u64> {
        if let Deadline::In(ns) = *self {
            // Past the end of the clock is never.
            *self = Deadline::At(clock.now_ns().saturating_add(ns));
        }
        self.moment_ns()
    }

    /// The moment by the system's clock, for a thread that runs no scheduler.
    pub fn by_system_clock(self) -> Option<u64> {
        match self {
            // Past the end of the clock is never.
            Deadline::In(ns) => sys::monotonic_ns().checked_add(ns),
            others => others.moment_ns(),
        }
    }

    /// The moment, if it is known or has been resolved.
    pub fn moment_ns(self) -> Option<u64> {
        match self {
            Deadline::At(ns) => Some(ns),
            _ => None,
        }
    }
}

//! The clock: monotonic nanoseconds for deadlines, and a cheaper cycle counter for measuring turns.
//!
//! Reading the time stamp counter costs 11 ns and `clock_gettime` 27 ns on the machine where this
//! was designed; a yield costs little more. So turns are measured in ticks of the counter where
//! that is steady, and only sums are converted, with the rate of the latest seconds ([`Rate`]): no
//! calibration at start-up. Elsewhere a tick is a nanosecond.
//!
//! The counter measures, and does not decide: what it says of the time is bounded by the clock, see
//! `engine::scheduler::round`.
//!
//! A program may set a custom clock for deadlines, such as a simulated one. Turns are still
//! measured in real time.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::instant::Instant;
use super::rate::Rate;
use crate::engine::context::{callback, switch};
use crate::engine::sys;

/// A program's clock: nanoseconds since any fixed moment, never decreasing.
pub type ClockFunction = unsafe extern "C" fn(*mut c_void) -> u64;

/// The last moment that comes: a deadline at the one behind it is never.
const LAST_NS: u64 = u64::MAX - 1;

/// A scheduler's clock.
pub struct Clock {
    /// The program's clock for deadlines, and its argument.
    custom: Cell<Option<(ClockFunction, *mut c_void)>>,
    counter: bool,
    rate: Rate,
}

impl Clock {
    /// Where a debugger finds what converts ticks: a reading of both clocks, of at most a round or a wait ago,
    /// as two numbers of 8 bytes, ticks and nanoseconds of CLOCK_MONOTONIC; and how many ticks a nanosecond
    /// has, as a double. Where there is no counter they are equal, and 1.
    pub const LATEST_OFFSET: usize = offset_of!(Clock, rate) + Rate::LATEST_OFFSET;
    pub const TICKS_PER_NS_OFFSET: usize = offset_of!(Clock, rate) + Rate::TICKS_PER_NS_OFFSET;

    pub fn start() -> Clock {
        let counter = counter_is_invariant();
        Clock { custom: Cell::new(None), counter, rate: Rate::new(read(counter)) }
    }

    /// Whether [`ticks`](Self::ticks) reads the counter.
    pub fn has_counter(&self) -> bool {
        self.counter
    }

    /// The counter, or else the clock. Cheap.
    #[inline(always)]
    pub fn ticks(&self) -> u64 {
        if self.counter { switch::ticks() } else { sys::monotonic_ns() }
    }

    /// Reads both clocks, and updates the rate.
    pub fn now(&self) -> Instant {
        let now = read(self.counter);
        self.rate.observe(now);
        now
    }

    /// Sets a custom clock, which must stay callable while it is set; with `None` the monotonic
    /// one.
    pub fn set_custom(&self, function: Option<ClockFunction>, data: *mut c_void) {
        self.custom.set(function.map(|function| (function, data)));
    }

    /// Whether deadlines follow a custom clock.
    pub fn has_custom(&self) -> bool {
        self.custom.get().is_some()
    }

    /// Reads the clock of deadlines. A custom clock may call the library, so the caller must hold
    /// no `RefCell` borrow.
    #[inline(always)]
    pub fn now_ns(&self) -> u64 {
        if self.custom.get().is_some() { self.custom_now_ns() } else { sys::monotonic_ns() }
    }

    #[cold]
    #[inline(never)]
    fn custom_now_ns(&self) -> u64 {
        let Some((function, data)) = self.custom.get() else { return sys::monotonic_ns() };
        let arguments = [data as usize, 0, 0];
        // SAFETY: the program's function, which its setter promised to keep callable.
        let now_ns = unsafe { callback::call(function as *const c_void, arguments, c"a clock") };
        now_ns.min(LAST_NS)
    }

    /// Converts a duration to ticks. Exact to one part in a thousand or better, so only for short
    /// ones.
    pub fn ns_to_ticks(&self, ns: u64) -> u64 {
        (ns as f64 * self.rate.ticks_per_ns()) as u64
    }

    /// The most ticks that so many nanoseconds can have.
    pub fn most_ticks(&self, ns: u64) -> u64 {
        if self.counter { self.rate.most_ticks(ns) } else { ns }
    }

    /// The rate without a reading, once it is known.
    pub fn known_ratio(&self) -> Option<Ratio> {
        self.rate.known().map(|ticks_per_ns| Ratio { ticks_per_ns })
    }

    /// The rate at this moment, for conversions of ticks.
    pub fn ratio(&self) -> Ratio {
        if !self.counter {
            return Ratio::UNKNOWN;
        }
        Ratio { ticks_per_ns: self.rate.at(read(self.counter)) }
    }
}

const _: () = assert!(Clock::LATEST_OFFSET.is_multiple_of(8));

/// Converts ticks to nanoseconds.
#[derive(Clone, Copy)]
pub struct Ratio {
    ticks_per_ns: f64,
}

impl Ratio {
    /// Before any was measured, and where a tick is a nanosecond.
    pub const UNKNOWN: Ratio = Ratio { ticks_per_ns: 1.0 };

    pub fn to_ns(self, ticks: u64) -> u64 {
        (ticks as f64 / self.ticks_per_ns) as u64
    }

    /// How many nanoseconds passed between two readings of the counter: to one part in a thousand or better,
    /// unless it has jumped meanwhile. 0 if it has gone back.
    pub fn ns_between(self, from: u64, to: u64) -> u64 {
        self.to_ns(to.wrapping_sub(from).cast_signed().max(0).cast_unsigned())
    }
}

fn read(counter: bool) -> Instant {
    let ns = sys::monotonic_ns();
    Instant { ticks: if counter { switch::ticks() } else { ns }, ns }
}

/// Cached for the process, since the answer may need a file to be read.
fn counter_is_invariant() -> bool {
    const UNKNOWN: u8 = 0;
    const STEADY: u8 = 1;
    const NOT: u8 = 2;
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
    if ANSWER.load(Relaxed) == UNKNOWN {
        ANSWER.store(if switch::ticks_are_invariant() { STEADY } else { NOT }, Relaxed);
    }
    ANSWER.load(Relaxed) == STEADY
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn spans_in_ticks_are_spans_in_nanoseconds() {
        let clock = Clock::start();
        let start = clock.now();
        while clock.now().ns < start.ns + 20_000_000 {}
        let end = clock.now();
        let (ns, converted) = (end.ns - start.ns, clock.ratio().to_ns(end.ticks - start.ticks));
        // A reading can be interrupted between its two halves, so only the order of size is
        // certain.
        assert!(converted > ns / 2 && converted < ns * 2, "{converted} ns against {ns} ns");
        let ticks = clock.ns_to_ticks(ns);
        let expected = end.ticks - start.ticks;
        assert!(ticks > expected / 2 && ticks < expected * 2, "{ticks} against {expected} ticks");
    }
}

//! How closely jobs follow each other on a thread, by which it lingers or does not.
//!
//! To fall asleep and to be woken costs some microseconds of two processors, and so does lingering. It pays
//! where the next job comes within a time that is shorter than that. Whether it will is guessed from the
//! last one; after a guess that was wrong, more and more jobs must have come in time.

use std::cell::Cell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::engine::sys;

/// For how long a thread lingers: about as long as it takes to wake the loop's thread, on an idle processor of a
/// virtual machine, which adds the next job.
const LINGER_NS: u64 = 30_000;

/// Within what time of the end of the last job the next one is to begin, a wake-up included.
const CLOSE_NS: u64 = 50_000;

/// How many jobs at most must have come in time after a wrong guess.
const MOST_DOUBTS: u32 = 64;

/// Whether there is another processor, which runs who will add a job.
pub fn may_linger() -> bool {
    static PROCESSORS: AtomicUsize = AtomicUsize::new(0);
    if PROCESSORS.load(Relaxed) == 0 {
        PROCESSORS.store(sys::processors(), Relaxed);
    }
    PROCESSORS.load(Relaxed) > 1
}

pub struct Pace {
    ended_ns: Cell<u64>,
    /// How many jobs must have come in time until it is fast.
    left: Cell<u32>,
    doubts: Cell<u32>,
}

impl Pace {
    pub const fn new() -> Pace {
        Pace { ended_ns: Cell::new(0), left: Cell::new(2), doubts: Cell::new(2) }
    }

    /// A job begins.
    pub fn begin(&self) {
        let is_close = sys::monotonic_ns().saturating_sub(self.ended_ns.get()) < CLOSE_NS;
        self.left.set(if is_close { self.left.get().saturating_sub(1) } else { self.doubts.get() });
    }

    /// It has ended.
    pub fn end(&self) {
        self.ended_ns.set(sys::monotonic_ns());
    }

    pub fn is_fast(&self) -> bool {
        self.left.get() == 0
    }

    /// Waits for something by looking.
    pub fn linger(&self, has_come: impl Fn() -> bool) {
        let until_ns = self.ended_ns.get() + LINGER_NS;
        loop {
            for _ in 0..32 {
                if has_come() {
                    self.doubts.set(2);
                    return;
                }
                spin_loop();
            }
            sys::yield_thread();
            if sys::monotonic_ns() >= until_ns {
                self.doubts.set((self.doubts.get() * 2).min(MOST_DOUBTS));
                self.left.set(self.doubts.get());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSE_NS, MOST_DOUBTS, Pace};
    use crate::engine::sys;

    /// So many jobs, each begun when the last one has ended so long ago.
    fn after(pace: &Pace, jobs: usize, ago_ns: u64) {
        for _ in 0..jobs {
            pace.ended_ns.set(sys::monotonic_ns() - ago_ns);
            pace.begin();
        }
    }

    #[test]
    fn only_jobs_that_are_close_make_it_fast() {
        let pace = Pace::new();
        after(&pace, 100, CLOSE_NS);
        assert!(!pace.is_fast());
        // A processor that was taken away meanwhile makes a job late.
        let becomes_fast = (0..100).any(|_| {
            after(&pace, 2, 0);
            pace.is_fast()
        });
        assert!(becomes_fast);
        after(&pace, 1, CLOSE_NS);
        assert!(!pace.is_fast());
    }

    #[test]
    fn a_wrong_guess_makes_it_slower_to_believe() {
        let pace = Pace::new();
        for _ in 0..10 {
            pace.end();
            pace.linger(|| false);
            assert!(!pace.is_fast());
        }
        assert_eq!(pace.doubts.get(), MOST_DOUBTS);
        pace.end();
        pace.linger(|| true);
        assert_eq!(pace.doubts.get(), 2);
    }
}

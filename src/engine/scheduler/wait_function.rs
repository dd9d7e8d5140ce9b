//! The built-in wait functions. The loop knows no epoll: it calls one of these, or the program's.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use crate::engine::io::READABLE;
use crate::engine::log;
use crate::engine::scheduler::Scheduler;
use crate::engine::sys;
use crate::engine::sys::Result;

/// A function that waits when nothing is ready. See `mj_wait_fn` for what it may do.
pub type WaitFunction = unsafe extern "C" fn(*mut Scheduler, u64, *mut c_void) -> c_int;

/// Waits by epoll for the descriptors that tasks wait for, and for a stop. What a scheduler without
/// a wait function uses.
///
/// # Safety
/// The scheduler is alive.
pub unsafe extern "C" fn wait_epoll(
    scheduler: *mut Scheduler,
    timeout_ns: u64,
    _user_data: *mut c_void,
) -> c_int {
    // SAFETY: alive by contract.
    let scheduler = unsafe { &*scheduler };
    report(scheduler, scheduler.poll_reactor(timeout_ns), "epoll_wait")
}

/// The same by poll(2) on the scheduler's one descriptor: a model for wait functions on other
/// systems.
///
/// # Safety
/// The scheduler is alive.
pub unsafe extern "C" fn wait_poll(
    scheduler: *mut Scheduler,
    timeout_ns: u64,
    _user_data: *mut c_void,
) -> c_int {
    // SAFETY: alive by contract.
    let scheduler = unsafe { &*scheduler };
    let ready = sys::poll_one(scheduler.backend_fd(), READABLE, timeout_ns);
    report(scheduler, ready.and_then(|_| scheduler.poll_reactor(0)), "poll")
}

/// Sleeps, and is woken by nothing but a stop. Descriptors are looked at when the sleep is over.
///
/// # Safety
/// The scheduler is alive.
pub unsafe extern "C" fn wait_nanosleep(
    scheduler: *mut Scheduler,
    timeout_ns: u64,
    _user_data: *mut c_void,
) -> c_int {
    // SAFETY: alive by contract.
    let scheduler = unsafe { &*scheduler };
    // A sleep by poll(2), since nothing from another thread ends nanosleep(2).
    let stopped = sys::poll_one(scheduler.stop.fd(), READABLE, timeout_ns);
    report(scheduler, stopped.map(|_| 0), "poll")
}

fn report(scheduler: &Scheduler, result: Result<usize>, call: &str) -> c_int {
    match result {
        Ok(events) => c_int::try_from(events).unwrap_or(c_int::MAX),
        Err(error) => {
            // A call that keeps failing must not fill the disk.
            if !scheduler.wait_failed.get() {
                log::error(format_args!("{call} failed: {error}"));
            }
            -1
        }
    }
}

/// What the scheduler knows of a built-in wait function: that it knows of nothing else that could
/// happen, and whether it readies the tasks whose descriptors are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    WatchesDescriptors,
    OnlySleeps,
}

/// How long the thread needs to wake when a wait for a timer is over: at the least, in the latest
/// waits. The next ones are so much shorter, which halves the lateness of timers. A thread that is
/// too early for once goes round the loop until the timer is due.
#[derive(Default)]
pub struct Wakening {
    least_ns: Cell<u64>,
    /// Of the waits since `least_ns` was last renewed.
    least_of_these_ns: Cell<u64>,
    waits: Cell<u32>,
}

impl Wakening {
    /// How long to wait for a timer that is so far ahead.
    pub fn shorten(&self, timeout_ns: u64) -> u64 {
        match timeout_ns {
            u64::MAX => u64::MAX, // There is no timer.
            _ => timeout_ns.saturating_sub(self.least_ns.get()),
        }
    }

    /// A wait has ended, so long after its time.
    pub fn record(&self, late_ns: u64) {
        /// What a longer one costs in processor time, where timers are close together, would not be
        /// worth it.
        const MOST_NS: u64 = 60_000;
        const WAITS: u32 = 16;
        let late_ns = late_ns.min(MOST_NS);
        let so_far = if self.waits.get() == 0 { MOST_NS } else { self.least_of_these_ns.get() };
        self.least_of_these_ns.set(so_far.min(late_ns));
        self.least_ns.set(self.least_ns.get().min(late_ns));
        self.waits.set((self.waits.get() + 1) % WAITS);
        if self.waits.get() == 0 {
            self.least_ns.set(self.least_of_these_ns.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Wakening;

    #[test]
    fn waits_are_shorter_by_what_all_of_the_latest_were_late() {
        let wakening = Wakening::default();
        for late_ns in (0..15).map(|wait| 50_000 - 1000 * wait) {
            wakening.record(late_ns);
            assert_eq!(wakening.shorten(100_000), 100_000);
        }
        wakening.record(70_000);
        assert_eq!(wakening.shorten(100_000), 64_000);
        assert_eq!(wakening.shorten(20_000), 0);
        assert_eq!(wakening.shorten(u64::MAX), u64::MAX);
        // Less counts at once, more when all have taken more, and no more than there is a use for.
        wakening.record(10_000);
        assert_eq!(wakening.shorten(100_000), 90_000);
        for _ in 0..15 {
            assert_eq!(wakening.shorten(100_000), 90_000);
            wakening.record(1_000_000);
        }
        (0..16).for_each(|_| wakening.record(1_000_000));
        assert_eq!(wakening.shorten(100_000), 40_000);
    }
}

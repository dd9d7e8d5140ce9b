//! Clocks, and sleeping.

use std::mem::{MaybeUninit, zeroed};
use std::ptr::null_mut;

use super::cancellation::uncancelable;
use super::errno::check;
use super::error::Result;

/// CLOCK_MONOTONIC in nanoseconds; 0 when it cannot be read, see [`check_clock`].
pub fn monotonic_ns() -> u64 {
    read_clock().unwrap_or_else(|_| read_clock_again())
}

/// An error when the clock cannot be read at all, as under a seccomp filter without a vDSO.
pub fn check_clock() -> Result<()> {
    read_clock().or_else(|error| if read_clock_again() > 0 { Ok(0) } else { Err(error) }).map(drop)
}

fn read_clock() -> Result<u64> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the address is good for a timespec.
    check(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) })?;
    // SAFETY: filled in, since the call succeeded.
    let now = unsafe { now.assume_init() };
    Ok(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// Schedulers are only created if the clock can be read. Retry a transient failure, so that no
/// timer fires early; after a permanent one timers stop.
#[cold]
#[inline(never)]
fn read_clock_again() -> u64 {
    (0..100).find_map(|_| read_clock().ok()).unwrap_or(0)
}

/// While it lives, this thread's timers are exact: its timer slack (prctl(2), PR_SET_TIMERSLACK) is
/// 1 ns, and 50 us by default. To be held for no longer than a wait, since threads and children
/// that are made meanwhile inherit it.
pub struct ExactTimers {
    slack_ns: Option<libc::c_ulong>,
}

impl ExactTimers {
    /// For a wait of `timeout_ns`. The kernel allows itself a thousandth of a wait whatever the slack
    /// is, so for long ones the default slack is no worse.
    pub fn for_wait(timeout_ns: u64) -> ExactTimers {
        const DEFAULT_SLACK_NS: u64 = 50_000;
        if timeout_ns == 0 || timeout_ns >= 1000 * DEFAULT_SLACK_NS {
            return ExactTimers { slack_ns: None };
        }
        // SAFETY: the request gives an integer. (Valgrind asks also for the arguments that it ignores.)
        let slack_ns = unsafe { libc::prctl(libc::PR_GET_TIMERSLACK, 0, 0, 0, 0) };
        let is_set = slack_ns > 1 && set_timer_slack_ns(1);
        ExactTimers { slack_ns: is_set.then_some(slack_ns as libc::c_ulong) }
    }
}

impl Drop for ExactTimers {
    fn drop(&mut self) {
        self.slack_ns.map(set_timer_slack_ns);
    }
}

fn set_timer_slack_ns(ns: libc::c_ulong) -> bool {
    // SAFETY: the request takes an integer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, ns, 0, 0, 0) == 0 }
}

/// Blocks the thread; returns early on a signal.
pub fn sleep_ns(ns: u64) {
    // SAFETY: the address is good for the call.
    uncancelable(|| unsafe { libc::nanosleep(&timespec(ns), null_mut()) });
}

/// Seconds since 1970.
pub fn unix_time_s() -> i64 {
    // SAFETY: NULL is allowed.
    unsafe { libc::time(null_mut()) }
}

/// The offset of the local time from UTC at a moment; 0 if it is unknown.
pub fn utc_offset_s(unix_time_s: i64) -> i64 {
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both addresses are good; localtime_r keeps neither.
    let known = unsafe { !libc::localtime_r(&unix_time_s, parts.as_mut_ptr()).is_null() };
    if !known {
        return 0;
    }
    // SAFETY: filled in, since the call succeeded.
    unsafe { parts.assume_init() }.tm_gmtoff
}

/// A span as the system calls take it.
pub(super) fn timespec(ns: u64) -> libc::timespec {
    // SAFETY: a timespec is integers, for which zero is a value.
    let mut time: libc::timespec = unsafe { zeroed() };
    time.tv_sec = (ns / 1_000_000_000) as libc::time_t;
    time.tv_nsec = (ns % 1_000_000_000) as libc::c_long;
    time
}

//! The built-in wait functions. The loop knows no epoll: it calls one of these, or the program's.

use std::ffi::{c_int, c_void};

use crate::error::Result;
use crate::log;
use crate::reactor::READABLE;
use crate::scheduler::Scheduler;
use crate::sys;

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

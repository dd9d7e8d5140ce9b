//! The built-in wait function: waits for descriptors and for other threads, by epoll.

use std::ffi::{c_int, c_void};

use crate::log;
use crate::scheduler::Scheduler;

/// A function that waits when nothing is ready. See `mj_wait_fn` for what it may do.
pub type WaitFunction = unsafe extern "C" fn(*mut Scheduler, u64, *mut c_void) -> c_int;

/// What a scheduler without a wait function uses, and what the application preset sets.
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
    match scheduler.poll_reactor(timeout_ns) {
        Ok(events) => c_int::try_from(events).unwrap_or(c_int::MAX),
        Err(error) => {
            log::error(format_args!("epoll_wait failed: {error}"));
            -1
        }
    }
}

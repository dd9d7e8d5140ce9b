//! Deadlines: moments for several calls together, and for all waits of a task.

use std::ffi::c_int;

use super::reported;
use crate::engine::scheduler;

/// Returns the moment `timeout_ns` from now, by the clock of the scheduler that runs on this thread, or
/// else by CLOCK_MONOTONIC: a deadline that several calls share, each by mj_deadline_left().
/// MJ_FOREVER, and what is past the end of the clock, is MJ_FOREVER. Callable from any thread. Does not
/// suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_deadline_after(timeout_ns: u64) -> u64 {
    scheduler::now_ns().saturating_add(timeout_ns)
}

/// Returns how long it is until a deadline, by the clock of mj_deadline_after(), as the `timeout_ns` of a
/// call: 0 when it is past, MJ_FOREVER for MJ_FOREVER. Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_deadline_left(deadline_ns: u64) -> u64 {
    match deadline_ns {
        u64::MAX => u64::MAX,
        _ => deadline_ns.saturating_sub(scheduler::now_ns()),
    }
}

/// Limits all waits of the running task, from now on: "this request has 10 s", by
/// mj_deadline_after(10 * 1000000000ull). At `deadline_ns` a wait of the task ends, and past it each call
/// that would have to wait returns -ETIMEDOUT once the other ready tasks have had their turn, whatever
/// limit of its own it has; sleeps end too, also those that return nothing. What can be had without
/// waiting is had as before. MJ_FOREVER, as at first, is no deadline: set that before cleaning up, which
/// may have to wait. Tasks that the task creates have none, but members of a group inherit it.
///
/// A yield is no wait. mj_cond_wait() waits for a signal until then, but for the mutex as long as that
/// takes. `old`, unless NULL, is set to what was set before, to put it back. Does not suspend.
///
/// Returns 0. Errors:
///   -EPERM  outside a task
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_set_deadline(deadline_ns: u64, old: *mut u64) -> c_int {
    match reported("mj_task_set_deadline", scheduler::set_deadline(deadline_ns)) {
        Ok(before) => {
            if !old.is_null() {
                // SAFETY: as this function's contract says.
                unsafe { old.write(before) };
            }
            0
        }
        Err(error) => error.status(),
    }
}

//! What a task has called when it ends.

use std::ffi::{c_int, c_void};

use super::reported;
use super::types::mj_defer_fn;
use crate::engine::scheduler;
use crate::engine::sys::Error;

/// Has `function` called with `argument` when the running task ends: not when its body returns and is called
/// again, but once it has ended, by mj_task_exit() or a return, canceled or not. What was deferred last is
/// called first. It runs in the task, on its stack, before its `user_state` is freed and before those who
/// wait for its end go on, and may suspend, defer more, and unlock what the task has locked. Of a canceled
/// task it is as canceled as the rest: a call that would wait returns -ECANCELED, unless it holds the
/// cancellation with mj_task_set_cancelable(); so does the task's deadline limit it. If it calls
/// mj_task_exit(), that has no effect once it has returned. `argument` stays the caller's, and must be there
/// then: not a variable of a function that has returned, be it the body. Does not suspend.
///
/// When a scheduler is destroyed, what its tasks have deferred is called in mj_scheduler_destroy(), on that
/// stack and outside any task: calls that would suspend return -EPERM there, and mj_task_current() is NULL.
/// What belongs to the scheduler can still be closed and released.
///
/// Returns 0. Errors:
///   -EINVAL  `function` is NULL
///   -ENOMEM  out of memory, or 65,536 are deferred already
///   -EPERM   outside a task
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_defer(function: mj_defer_fn, argument: *mut c_void) -> c_int {
    let Some(function) = function else {
        return Error::InvalidArgument.status();
    };
    match reported("mj_task_defer", scheduler::defer(function, argument)) {
        Ok(()) => 0,
        Err(error) => error.status(),
    }
}

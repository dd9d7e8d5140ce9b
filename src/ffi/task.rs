//! Creating tasks, and what a task can do from within.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use super::types::{mj_scheduler, mj_task, mj_task_fn};
use super::{body_from, scheduler_ref, status, task_ref};
use crate::error::Error;
use crate::{log, scheduler, sys};

/// Adds a task at the end of the run queue; it first runs when its turn comes, never inside this call. The
/// task owns `user_state` from then on, and releases it with C's free() when it ends, so it must come
/// from malloc() or be NULL. Its stack is taken at its first turn. Returns the task, valid until it
/// ends, or NULL with errno EINVAL (NULL scheduler or function), ENOMEM, or EPERM (the scheduler
/// is running on another thread); `user_state` then still belongs to the caller. Does not suspend.
///
/// `scheduler` is NULL or alive; `task_function` is NULL or a function of the type `mj_task_fn`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_create_task(
    scheduler: *mut mj_scheduler,
    task_function: *mut mj_task_fn,
    user_state: *mut c_void,
) -> *mut mj_task {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { scheduler_ref(scheduler, "mj_create_task") };
    // SAFETY: as this function's contract says.
    let body = unsafe { body_from(task_function) };
    let created = match (scheduler, body) {
        (Some(scheduler), Some(body)) => scheduler.spawn(body, user_state),
        (Some(_), None) => {
            log::warn(format_args!("mj_create_task: the task function is NULL"));
            Err(Error::InvalidArgument)
        }
        (None, _) => Err(Error::InvalidArgument),
    };
    match created {
        Ok(task) => std::ptr::from_ref(task).cast_mut().cast(),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// Sets the stack size, in bytes, of one task that has not run yet. Rounded up to whole pages; at least
/// 16 KiB. Returns 0, -EINVAL (NULL, too small, or over 1 GiB), or -EBUSY when the task already has
/// a stack. Does not suspend.
///
/// The pointer is NULL or a live task.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_set_stack_size(task: *mut mj_task, stack_bytes: usize) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { task_ref(task) } {
        Some(task) => status(task.set_stack_size(stack_bytes)),
        None => Error::InvalidArgument.status(),
    }
}

/// Marks the running task as ended, and returns to it: it ends when its body returns. Until then,
/// calls that would suspend it return at once. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_exit() {
    scheduler::exit();
}

/// Suspends the running task behind all others that are ready, so that each gets its turn. Returns at
/// once when the task is marked as ended.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_yield() {
    scheduler::yield_now();
}

/// Suspends the running task for at least that many nanoseconds, never less; a time past the end of the
/// clock never comes. Also ends when another task or a wait function enqueues the task. Returns at
/// once when the task is marked as ended, and after a mere yield, with an ERROR line, when memory
/// for the timer is missing.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_sleep_ns(nanoseconds: u64) {
    scheduler::sleep(nanoseconds);
}

/// mj_task_sleep_ns() in milliseconds. May suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_sleep_ms(milliseconds: u64) {
    scheduler::sleep(milliseconds.saturating_mul(1_000_000));
}

/// mj_task_sleep_ns() in seconds. May suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_sleep_s(seconds: u64) {
    scheduler::sleep(seconds.saturating_mul(1_000_000_000));
}

/// Suspends the running task until the descriptor is readable: data, a connection to accept, end of
/// file, or an error for the next read() to report. A regular file is always readable. Several tasks
/// may wait for one descriptor; all are woken, so each but the first may find nothing left. Ends early
/// when another task or a wait function enqueues the task. A descriptor that cannot be waited for is
/// an ERROR line, and the call then yields and returns, leaving it to the next read() to fail. Returns
/// at once when the task is marked as ended.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_wait_readable(fd: c_int) {
    scheduler::wait_readable(fd);
}

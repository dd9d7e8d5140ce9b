//! Ending the waits of tasks by the scheduler and an id, also between runs, and holding a cancellation.

use std::ffi::c_int;

use super::types::{mj_scheduler, mj_task_id};
use super::{own_scheduler_ref, reported, status};
use crate::engine::log;
use crate::engine::scheduler::{self, Scheduler};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{State, Task};

/// Sets whether the running task is told when it is canceled: at first it is. While it is not, its
/// calls wait as if nothing had happened, and a cancellation is held; when it is again, the next call
/// that would wait returns -ECANCELED. For cleaning up: sending a goodbye, joining the tasks that
/// were made. `old`, unless NULL, is set to what was set before, to put it back. Does not suspend.
///
/// Returns 0. Errors:
///   -EPERM  outside a task
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_set_cancelable(cancelable: bool, old: *mut bool) -> c_int {
    match reported("mj_task_set_cancelable", scheduler::set_cancelable(cancelable)) {
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

/// mj_task_cancel() for the task with an id, whether or not the scheduler runs: between two runs it
/// tells tasks to end, and the next run lets them. Does not suspend.
///
/// Returns 0. Errors:
///   -ESRCH   none of its tasks has this id any more
///   -EINVAL  `scheduler` is NULL
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_cancel(
    scheduler: *mut mj_scheduler,
    id: mj_task_id,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { task_of(scheduler, id, "mj_scheduler_cancel") } {
        Ok((scheduler, task)) => {
            scheduler.cancel(task);
            0
        }
        Err(error) => error.status(),
    }
}

/// mj_task_wake() for the task with an id, whether or not the scheduler runs. Does not suspend.
///
/// Returns 1, or 0 when the task was not waiting, which changes nothing. Errors:
///   -ESRCH, -EINVAL, -EPERM  as mj_scheduler_cancel()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_wake(scheduler: *mut mj_scheduler, id: mj_task_id) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { task_of(scheduler, id, "mj_scheduler_wake") } {
        Ok((scheduler, task)) => c_int::from(scheduler.wake(task)),
        Err(error) => error.status(),
    }
}

/// mj_fd_close() for the tasks of a scheduler, whether or not it runs: closes a descriptor, and ends
/// the waits of its tasks for it with -EBADF. Does not suspend.
///
/// Returns 0. Errors:
///   -EBUSY   it is one of the scheduler's own two descriptors, and stays open (also an ERROR line)
///   -EINVAL  `scheduler` is NULL
///   -EPERM   the scheduler is running on another thread
///   and as close(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_close_fd(scheduler: *mut mj_scheduler, fd: c_int) -> c_int {
    // SAFETY: as this function's contract says.
    let closed = unsafe { own_scheduler_ref(scheduler, "mj_scheduler_close_fd") }
        .and_then(|scheduler| scheduler.close_fd(fd));
    if closed == Err(Error::Busy) {
        log::error(format_args!("mj_scheduler_close_fd: fd {fd} is the scheduler's own"));
    }
    status(closed)
}

/// The living task with an id, which may be any.
///
/// # Safety
/// As [`own_scheduler_ref`].
unsafe fn task_of<'s>(
    scheduler: *const mj_scheduler,
    id: mj_task_id,
    call: &str,
) -> Result<(&'s Scheduler, &'s Task)> {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { own_scheduler_ref(scheduler, call) }?;
    let task = scheduler.tasks.find_id(id).filter(|task| !task.is(State::Exited));
    Ok((scheduler, task.ok_or(Error::NoSuchTask)?))
}

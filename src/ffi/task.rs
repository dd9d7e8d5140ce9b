//! Creating tasks, and what a task can do from within.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

use super::types::{mj_scheduler, mj_task, mj_task_fn, mj_task_id};
use super::{body_from, own_scheduler_ref, report_stranger, reported, status, task_ref};
use crate::engine::context::stack;
use crate::engine::log;
use crate::engine::scheduler::{self, Scheduler};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::{Task, Words};

/// What C's calls are named.
static WORDS: Words = Words {
    set_stack_size: "mj_task_set_stack_size() or mj_scheduler_set_stack_size()",
    exit: "mj_task_exit()",
};

/// Adds a task at the end of the run queue; it first runs when its turn comes, never inside this
/// call. The task owns `user_state` from then on, and releases it with C's free() when it ends, so
/// it must come from malloc() or be NULL: the address of a variable, on a stack or static, or of something
/// that others free as well, ends the process then. A function that returns without mj_task_exit() is
/// called again for as long as it does: one that has returned a thousand times without waiting for
/// anything in between is a WARN line. Its stack is taken at its first turn. Returns the task,
/// valid until it ends, or NULL with errno EINVAL (NULL scheduler or function), ENOMEM, or EPERM
/// (the scheduler is running on another thread); `user_state` then still belongs to the caller.
/// Does not suspend.
///
/// `scheduler` is NULL or alive; `task_function` is NULL or a function of the type `mj_task_fn`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_create_task(
    scheduler: *mut mj_scheduler,
    task_function: *mut mj_task_fn,
    user_state: *mut c_void,
) -> *mut mj_task {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { own_scheduler_ref(scheduler, "mj_create_task") };
    // SAFETY: as this function's contract says.
    let body = unsafe { body_from(task_function) };
    let created = match (scheduler, body) {
        (Ok(scheduler), Some(body)) => scheduler.spawn(body, user_state, &WORDS),
        (Ok(_), None) => {
            log::warn(format_args!("mj_create_task: the task function is NULL"));
            Err(Error::InvalidArgument)
        }
        (Err(error), _) => Err(error),
    };
    match created {
        Ok(task) => std::ptr::from_ref(task).cast_mut().cast(),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// Sets the stack size, in bytes, of one task that has not run yet. Rounded up to whole pages; at
/// least 16 KiB. Returns 0, -EINVAL (NULL, too small, or over 1 GiB), or -EBUSY when the task
/// already has a stack. Does not suspend.
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

/// Returns how many bytes of its stack a task has used at most, to size stacks by: 0 before the
/// first turn and for NULL, the whole size under Valgrind. Stacks are used again, so what earlier
/// tasks have used of this one counts too, until its memory has been given back. Reads the stack,
/// so it takes a moment. Does not suspend.
///
/// The pointer is NULL or a task that has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_stack_used(task: *const mj_task) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { task_ref(task) }
        .map_or(0, |task| stack::high_water_bytes(task.stack.get(), task.stack_bytes.get()))
}

/// Marks the running task as ended, and returns to it: it ends when its body returns. Until then,
/// calls that would suspend it return at once. Outside a task it is reported in the log. Does not
/// suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_exit() {
    let _ = reported("mj_task_exit", scheduler::exit());
}

/// Returns the task whose turn it is on this thread, NULL when there is none. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_current() -> *mut mj_task {
    match scheduler::running_task() {
        Some((_, task)) => std::ptr::from_ref(task).cast_mut().cast(),
        None => null_mut(),
    }
}

/// Returns a task's id, 0 for NULL. It stays its own after it has ended: the way to refer to a task
/// that may end. Does not suspend.
///
/// The pointer is NULL or a task that has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_get_id(task: *const mj_task) -> mj_task_id {
    // SAFETY: as this function's contract says.
    unsafe { task_ref(task) }.map_or(0, |task| task.id.get())
}

/// Returns the task with an id, or NULL with errno ESRCH when none of the scheduler's tasks has it
/// any more, EINVAL for NULL, or EPERM when the scheduler is running on another thread. Any number
/// may be asked for. Does not suspend.
///
/// `scheduler` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_find(
    scheduler: *mut mj_scheduler,
    id: mj_task_id,
) -> *mut mj_task {
    // SAFETY: as this function's contract says.
    let found = unsafe { own_scheduler_ref(scheduler, "mj_task_find") }
        .and_then(|scheduler| scheduler.tasks.find_id(id).ok_or(Error::NoSuchTask));
    match found {
        Ok(task) => std::ptr::from_ref(task).cast_mut().cast(),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// Ends a task's sleep or wait early: the call returns -EINTR, if it returns anything. Returns 1,
/// or 0 when the task was not waiting, which changes nothing; -EINVAL, with a WARN line, for NULL
/// and for what is not a living task of the scheduler that runs on this thread; -EPERM when none
/// does. Does not suspend. `task` may be any address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_wake(task: *mut mj_task) -> c_int {
    match own_task(task, "mj_task_wake") {
        Ok((scheduler, task)) => c_int::from(scheduler.wake(task)),
        Err(error) => error.status(),
    }
}

/// Tells a task to end: its wait, and from then on each call of it that would have to wait, returns
/// -ECANCELED after yielding. What can be had without waiting is had as before, but at the latest every
/// 64th call tells it. It is up to the task to clean up, for which it may hold the cancelation with
/// mj_task_set_cancelable(), and end. A task may cancel itself. mj_scheduler_cancel() also works between
/// runs.
/// Returns 0, -EINVAL and -EPERM as mj_task_wake(). Does not suspend. `task` may be any address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_cancel(task: *mut mj_task) -> c_int {
    match own_task(task, "mj_task_cancel") {
        Ok((scheduler, task)) => {
            scheduler.cancel(task);
            0
        }
        Err(error) => error.status(),
    }
}

/// Names a task, for mj_scheduler_dump(). The name is copied, and cut after 23 bytes or the last
/// character that fits. Returns 0, or -EINVAL for NULL. Does not suspend.
///
/// `task` is NULL or has not ended; `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_set_name(task: *mut mj_task, name: *const c_char) -> c_int {
    // SAFETY: as this function's contract says.
    let Some(task) = (unsafe { task_ref(task) }) else {
        return Error::InvalidArgument.status();
    };
    if name.is_null() {
        return Error::InvalidArgument.status();
    }
    // SAFETY: a string by contract.
    task.set_name(unsafe { CStr::from_ptr(name) }.to_bytes());
    0
}

/// Returns a task's name, "" if it has none or for NULL. It is valid until the task ends or gets
/// another name. Does not suspend.
///
/// `task` is NULL or has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_get_name(task: *const mj_task) -> *const c_char {
    // SAFETY: as this function's contract says.
    match unsafe { task_ref(task) } {
        Some(task) => task.name.as_ptr().cast(),
        None => c"".as_ptr(),
    }
}

/// The living task at an address, which may be any, if its scheduler runs on this thread.
fn own_task<'t>(task: *const mj_task, call: &str) -> Result<(&'t Scheduler, &'t Task)> {
    let found = scheduler::own_task(task.cast());
    match found {
        Err(Error::NotInTask) => {
            log::warn(format_args!("{call}: no scheduler is running on this thread"));
        }
        Err(_) => report_stranger(call, task),
        Ok(_) => {}
    }
    found
}

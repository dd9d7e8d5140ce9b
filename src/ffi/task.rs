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
pub(super) static WORDS: Words = Words {
    set_stack_size: "mj_task_set_stack_size() or mj_scheduler_set_stack_size()",
    exit: "mj_task_exit()",
    abandon: None,
};

/// Adds a task at the end of the run queue. It first runs when its turn comes, never inside this
/// call, and takes its stack then. The task owns `user_state` from now on and releases it with
/// free() when it ends, so it must come from malloc() or be NULL: a variable, on a stack or static,
/// ends the process then. The task ends only when its body has called mj_task_exit() and then
/// returns; a body that returns without it is called again, with the same `user_state`, for as long
/// as it does; one that has returned a thousand times without waiting is a WARN line. Does not
/// suspend.
///
/// Returns the task, valid until it ends, or NULL; then `user_state` still belongs to the caller.
/// Errors, in errno:
///   EINVAL  `scheduler` or `task_function` is NULL
///   ENOMEM  out of memory
///   EPERM   the scheduler is running on another thread
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

/// Sets the stack size of one task that has not run yet, rounded up as by
/// mj_scheduler_set_stack_size(). A function whose variables are larger than the guard below the stack can
/// step over it, however large the stack is: see mj_scheduler_set_guard_size(). Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `task` is NULL, or the size is below 16 KiB or over 1 GiB
///   -EBUSY   the task already has a stack
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_set_stack_size(task: *mut mj_task, stack_bytes: usize) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { task_ref(task) } {
        Some(task) => status(task.set_stack_size(stack_bytes)),
        None => Error::InvalidArgument.status(),
    }
}

/// Returns the most bytes of its stack that a task has used, to size stacks by: 0 before its first
/// turn and for NULL, the whole size under Valgrind. Stacks are used again, so what earlier tasks
/// have used of this one counts too, until its memory has been given back. Reads the stack, so it
/// takes a moment. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_stack_used(task: *const mj_task) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { task_ref(task) }
        .map_or(0, |task| stack::high_water_bytes(task.stack.get(), task.stack_bytes()))
}

/// Marks the running task as ended. Unlike pthread_exit() it returns: call it last, and let the
/// body return, which ends the task. Until then, calls that would suspend it return at once.
/// Outside a task it is reported in the log. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_exit() {
    let _ = reported("mj_task_exit", scheduler::exit());
}

/// Returns the running task of this thread, or NULL outside a task. Callable from any thread. Does not
/// suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_current() -> *mut mj_task {
    match scheduler::running_task() {
        Some((_, task)) => std::ptr::from_ref(task).cast_mut().cast(),
        None => null_mut(),
    }
}

/// Returns a task's id, or 0 for NULL. The id stays its own after it has ended: the way to refer to
/// a task that may end. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_get_id(task: *const mj_task) -> mj_task_id {
    // SAFETY: as this function's contract says.
    unsafe { task_ref(task) }.map_or(0, |task| task.id.get())
}

/// Finds a living task by its id. Any number may be asked for. Does not suspend.
///
/// Returns the task, or NULL. Errors, in errno:
///   ESRCH   no living task of the scheduler has this id
///   EINVAL  `scheduler` is NULL
///   EPERM   the scheduler is running on another thread
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

/// Ends a task's sleep or wait early: the call that waits returns -EINTR, if it has a result. I/O calls
/// wait on. A wake of a task that is not waiting is not remembered. Does not suspend. `task` may be any
/// address.
///
/// Returns 1; or 0, and nothing has changed, when the task was not waiting, or was for what no wake ends: a
/// mutex, a signal of mj_signal_wait(), a function of mj_offload(). Errors:
///   -EINVAL  `task` is not a living task of the scheduler that runs on this thread (also a WARN
///            line)
///   -EPERM   no scheduler is running on this thread (also a WARN line)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_wake(task: *mut mj_task) -> c_int {
    match own_task(task, "mj_task_wake") {
        Ok((scheduler, task)) => c_int::from(scheduler.wake(task)),
        Err(error) => error.status(),
    }
}

/// Asks a task to end: its wait, and from then on each call of it that would have to wait, returns
/// -ECANCELED after yielding. What can be had without waiting, or is there after that, is had as before, but not
/// for ever: after 64 such calls in one turn, or 64 in which it was there only then, the next one returns
/// -ECANCELED as well; of a task that owns an mj_mutex without yielding. It is up to the task to clean up, for which it may hold the
/// cancellation with mj_task_set_cancelable(), and to end. A task may cancel itself.
/// mj_scheduler_cancel() works between runs too. Does not suspend. `task` may be any address.
///
/// Returns 0. Errors:
///   -EINVAL, -EPERM  as mj_task_wake()
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

/// Names a task, for mj_scheduler_dump() and debuggers. The name is copied, and cut after 23 bytes
/// or the last character that fits. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `task` or `name` is NULL
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

/// Returns a task's name, or "" if it has none or for NULL. The string is valid until the task ends
/// or is renamed. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_get_name(task: *const mj_task) -> *const c_char {
    // SAFETY: as this function's contract says.
    match unsafe { task_ref(task) } {
        Some(task) => task.name.as_ptr().cast(),
        None => c"".as_ptr(),
    }
}

/// The living task at an address, which may be any, if its scheduler runs on this thread.
#[track_caller]
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

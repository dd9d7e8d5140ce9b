//! Where stacks are, and what is below them.

use std::ffi::{c_int, c_void};

use super::types::{mj_scheduler, mj_task};
use super::{own_scheduler_ref, status, task_ref};
use crate::engine::sys::Error;

/// Sets the size of the guard below each stack of a scheduler: 256 KiB unless set, at most 16 MiB.
/// Rounded up to whole pages. Touching a guard is a fault, which ends the process where it would
/// otherwise write to the stack of another task. A guard takes address space, and 8 bytes of page
/// tables for each page. Does not suspend.
///
/// A function in C or C++ whose variables are larger than the guard (an array, alloca(), a
/// variable-length array) can step over it, unless it is compiled with -fstack-clash-protection,
/// which touches each page in turn. Rust code does so by itself.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL, or the size is 0 or over 16 MiB
///   -EBUSY   a task of the scheduler has had a stack
///   -ENOMEM  no address space for a stack with such a guard
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_set_guard_size(
    scheduler: *mut mj_scheduler,
    guard_bytes: usize,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_set_guard_size") } {
        Ok(scheduler) => status(scheduler.tasks.set_guard_size(guard_bytes)),
        Err(error) => error.status(),
    }
}

/// Says where a task's stack is, for interpreters and collectors that want to know: its lowest address
/// that may be used, and how many bytes there are from there on, as pthread_attr_getstack(3) says it of
/// a thread. Stacks grow down. They stay the same from the task's first turn until it ends. Does not
/// suspend.
///
/// Returns 0. Errors, with which nothing is written:
///   -EINVAL  one of the pointers is NULL
///   -EAGAIN  the task has no stack before its first turn
///
/// `lowest` and `bytes` are NULL or good to write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_stack_bounds(
    task: *const mj_task,
    lowest: *mut *mut c_void,
    bytes: *mut usize,
) -> c_int {
    // SAFETY: as this function's contract says.
    let Some(task) = (unsafe { task_ref(task) }) else {
        return Error::InvalidArgument.status();
    };
    if lowest.is_null() || bytes.is_null() {
        return Error::InvalidArgument.status();
    }
    let Some((start, length)) = task.stack_bounds() else {
        return Error::WouldBlock.status();
    };
    // SAFETY: not NULL, and good to write by contract.
    unsafe {
        lowest.write(start.cast());
        bytes.write(length);
    }
    0
}

//! Task-local values.

use std::ffi::{c_int, c_void};

use super::reported;
use super::types::{mj_destroy_fn, mj_inherit_fn, mj_task_key};
use crate::engine::scheduler;
use crate::engine::sys::Error;
use crate::engine::threads::make_key;

/// Makes a key, of which each task has a value of its own, at first NULL: for what belongs to a request
/// wherever its task is, such as the id in log lines. Keys are the process's, for tasks of all its
/// schedulers, and are not given back: make each once. `destroy`, unless NULL, is called with a task's value
/// when the task ends, or its scheduler is destroyed, behind what it has deferred with mj_task_defer() and as
/// that is. It may set values again, which are destroyed in turn, in four rounds altogether; what is set in the
/// last one is left, and a WARN line says so. `inherit`, unless NULL, is called when a task makes another one of its scheduler, and
/// makes the value that that begins with: a copy, another reference, or just the same pointer. It is called
/// outside a task, where calls that would suspend are refused and there are no values; as is `destroy` for what a
/// task that could not be made has inherited. Callable from any thread, not from a signal handler. Does not suspend.
///
/// Returns 0. Errors, with which `key` is left alone:
///   -EINVAL  `key` is NULL
///   -ENOMEM  there are 128 keys already
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_task_key_create(
    key: *mut mj_task_key,
    destroy: mj_destroy_fn,
    inherit: mj_inherit_fn,
) -> c_int {
    if key.is_null() {
        return Error::InvalidArgument.status();
    }
    match make_key(destroy, inherit) {
        Ok(index) => {
            // SAFETY: as this function's contract says. There are few keys.
            unsafe { key.write(index as mj_task_key + 1) };
            0
        }
        Err(error) => error.status(),
    }
}

/// Sets the running task's value of a key. What it was before is the caller's again: it is not destroyed. Does
/// not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  there is no such key
///   -ENOMEM  out of memory
///   -EPERM   outside a task
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_set_value(key: mj_task_key, value: *mut c_void) -> c_int {
    match reported("mj_task_set_value", scheduler::set_value(index_of(key), value)) {
        Ok(()) => 0,
        Err(error) => error.status(),
    }
}

/// Returns the running task's value of a key; NULL if it has none, for what is no key, and outside a task, as in
/// a log callback there. Does not suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_get_value(key: mj_task_key) -> *mut c_void {
    scheduler::value(index_of(key))
}

/// The index of a key, which may be any number.
fn index_of(key: mj_task_key) -> usize {
    (key as usize).wrapping_sub(1)
}

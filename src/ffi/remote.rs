//! What other threads have of a scheduler, and what outlives it.

use std::ffi::c_int;
use std::ptr::null_mut;

use super::types::{mj_remote, mj_scheduler};
use super::{scheduler_ref, status};
use crate::engine::sys::{self, Error};
use crate::engine::threads::Remote;

/// Makes a handle to a scheduler, for other threads and for signal handlers. Unlike the scheduler's
/// address it stays valid after mj_scheduler_destroy(), and tells then that the scheduler is gone.
/// It keeps a descriptor open. While the program has one, a run whose tasks are all parked waits for
/// other threads to wake one, after a WARN line, instead of ending with -EDEADLK. Callable from any
/// thread. Does not suspend.
///
/// Returns the handle, to be released with mj_remote_release(), or NULL. Errors, in errno:
///   EINVAL  `scheduler` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_remote(scheduler: *mut mj_scheduler) -> *mut mj_remote {
    // SAFETY: as this function's contract says.
    match unsafe { scheduler_ref(scheduler, "mj_scheduler_remote") } {
        Some(scheduler) => hand_out(&scheduler.remote),
        None => {
            sys::set_errno(Error::InvalidArgument.errno());
            null_mut()
        }
    }
}

/// Adds a reference to a handle. Callable from any thread. Does not suspend.
///
/// Returns the same handle, to be released once more, or NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_retain(remote: *mut mj_remote) -> *mut mj_remote {
    // SAFETY: as this function's contract says.
    unsafe { Remote::borrow_raw(remote.cast(), hand_out) }.unwrap_or(null_mut())
}

/// A handle of the program's, which may wake tasks by it.
pub(super) fn hand_out(remote: &Remote) -> *mut mj_remote {
    remote.add_waker();
    remote.clone().into_raw().cast()
}

/// Drops a reference to a handle; NULL is ignored. Callable from any thread, not from a signal
/// handler. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_release(remote: *mut mj_remote) {
    // SAFETY: as this function's contract says.
    if let Some(remote) = unsafe { Remote::from_raw(remote.cast()) } {
        remote.remove_waker();
    }
}

/// mj_scheduler_stop() by a handle. Callable from any thread and from a signal handler. Does not
/// suspend.
///
/// Returns 0. Errors:
///   -EPIPE   the scheduler has been destroyed
///   -EINVAL  `remote` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_stop(remote: *mut mj_remote) -> c_int {
    // SAFETY: as this function's contract says.
    let stopped = unsafe { Remote::borrow_raw(remote.cast(), Remote::stop) };
    status(stopped.unwrap_or(Err(Error::InvalidArgument)))
}

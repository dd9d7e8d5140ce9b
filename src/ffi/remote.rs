//! What other threads have of a scheduler, and what outlives it.

use std::ffi::c_int;
use std::ptr::null_mut;

use super::types::{mj_remote, mj_scheduler};
use super::{scheduler_ref, status};
use crate::engine::sys::{self, Error};
use crate::engine::threads::Remote;

/// Returns a handle to a scheduler, for other threads and for signal handlers: unlike the scheduler's
/// address it stays good after mj_scheduler_destroy(), and says then that the scheduler is gone. It
/// keeps a descriptor open. NULL with errno EINVAL for NULL. Each handle is released once, by
/// mj_remote_release(). Callable from any thread. Does not suspend.
///
/// The pointer is NULL or a live scheduler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_remote(scheduler: *mut mj_scheduler) -> *mut mj_remote {
    // SAFETY: as this function's contract says.
    match unsafe { scheduler_ref(scheduler, "mj_scheduler_remote") } {
        Some(scheduler) => scheduler.remote.clone().into_raw().cast(),
        None => {
            sys::set_errno(Error::InvalidArgument.errno());
            null_mut()
        }
    }
}

/// Returns the handle once more, to be released once more; NULL for NULL. Callable from any thread.
/// Does not suspend.
///
/// The pointer is NULL or a handle that is not released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_retain(remote: *mut mj_remote) -> *mut mj_remote {
    // SAFETY: as this function's contract says.
    let handle = unsafe { Remote::borrow_raw(remote.cast(), Remote::clone) };
    handle.map_or(null_mut(), |handle| handle.into_raw().cast())
}

/// Releases a handle; NULL is none. Callable from any thread, not in a signal handler. Does not
/// suspend.
///
/// The pointer is NULL or a handle that is not released, and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_release(remote: *mut mj_remote) {
    // SAFETY: as this function's contract says.
    drop(unsafe { Remote::from_raw(remote.cast()) });
}

/// mj_scheduler_stop() by a handle. Returns 0; -EPIPE when the scheduler has been destroyed; -EINVAL
/// for NULL. Callable from any thread and from a signal handler. Does not suspend.
///
/// The pointer is NULL or a handle that is not released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_remote_stop(remote: *mut mj_remote) -> c_int {
    // SAFETY: as this function's contract says.
    let stopped = unsafe { Remote::borrow_raw(remote.cast(), Remote::stop) };
    status(stopped.unwrap_or(Err(Error::InvalidArgument)))
}

//! errno, which is how the calls of the C library fail.

use std::ffi::c_int;

use super::error::{Error, Result};

/// The calling thread's errno: its address does not change while the thread lives.
pub fn errno_address() -> *mut c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

pub fn errno() -> c_int {
    // SAFETY: the address is this thread's errno.
    unsafe { *errno_address() }
}

pub fn set_errno(value: c_int) {
    // SAFETY: the address is this thread's errno.
    unsafe { *errno_address() = value }
}

/// Keeps errno while it lives: the system calls that the library makes meanwhile do not show in it.
pub struct ErrnoGuard(c_int);

impl ErrnoGuard {
    pub fn save() -> ErrnoGuard {
        ErrnoGuard(errno())
    }
}

impl Drop for ErrnoGuard {
    fn drop(&mut self) {
        set_errno(self.0);
    }
}

pub fn last_error() -> Error {
    match errno() {
        libc::ENOMEM => Error::OutOfMemory,
        errno => Error::Os(errno),
    }
}

/// 0 or a positive number is a result, -1 means errno.
pub fn check(result: c_int) -> Result<c_int> {
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

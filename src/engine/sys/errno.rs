//! errno, the C library's error report.

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

/// Saves errno, and restores it when dropped, so that the library's system calls do not change the
/// program's errno.
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

/// Converts the result of a call that returns -1 and sets errno.
pub fn check(result: c_int) -> Result<c_int> {
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

/// Makes a call again while it is interrupted by a signal. Not for ever: a tracer or a sandbox may say
/// so each time. Safe in a signal handler, but for errno, which the handler keeps.
pub fn retry_interrupted<T: PartialOrd + From<i8>>(call: impl Fn() -> T) -> T {
    const MOST: u32 = 100;
    for _ in 0..MOST {
        let result = call();
        if result >= T::from(0) || errno() != libc::EINTR {
            return result;
        }
    }
    call()
}

/// Whether an error says that there is no such call here, or not for this process: an old kernel, and
/// the ways in which sandboxes refuse. If a call has a fallback it is used then.
pub fn is_refusal(error: Error) -> bool {
    matches!(error, Error::Os(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The result of a call that is interrupted so often, and how often it was made.
    fn interrupted(times: u32) -> (c_int, u32) {
        let calls = Cell::new(0);
        let result = retry_interrupted(|| {
            calls.set(calls.get() + 1);
            set_errno(libc::EINTR);
            if calls.get() > times { 7 } else { -1 }
        });
        (result, calls.get())
    }

    #[test]
    fn a_call_that_is_interrupted_is_made_again_but_not_for_ever() {
        assert_eq!(interrupted(0), (7, 1));
        assert_eq!(interrupted(100), (7, 101));
        assert_eq!(interrupted(u32::MAX), (-1, 101));
        assert_eq!(errno(), libc::EINTR);
    }
}

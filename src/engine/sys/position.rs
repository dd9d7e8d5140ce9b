//! Reading and writing files at a place, whatever the file's own is.

use std::ffi::c_int;

use super::cancellation::uncancelable;
use super::errno::last_error;
use super::error::{Error, Result};
use super::transfer::iovec;

fn count(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| last_error())
}

/// pread(2).
///
/// # Safety
/// The buffer is good to be written.
pub unsafe fn read_at(fd: c_int, buffer: iovec, place: i64) -> Result<usize> {
    // SAFETY: as this function's contract says.
    count(uncancelable(|| unsafe { libc::pread(fd, buffer.iov_base, buffer.iov_len, place) }))
}

/// pwrite(2).
///
/// # Safety
/// The buffer is good to be read.
pub unsafe fn write_at(fd: c_int, buffer: iovec, place: i64) -> Result<usize> {
    // SAFETY: as this function's contract says.
    count(uncancelable(|| unsafe { libc::pwrite(fd, buffer.iov_base, buffer.iov_len, place) }))
}

/// [`read_at`] of what is in memory; `None` if that is nothing, or cannot be told. The place is not negative:
/// preadv2(2) would take -1 for the file's own.
///
/// # Safety
/// As [`read_at`].
pub unsafe fn read_cached_at(fd: c_int, buffer: iovec, place: i64) -> Result<Option<usize>> {
    // SAFETY: as this function's contract says.
    told(count(uncancelable(|| unsafe { libc::preadv2(fd, &buffer, 1, place, libc::RWF_NOWAIT) })))
}

/// [`write_at`] of what needs no disk; `None` if that is nothing, or cannot be told. The place as in
/// [`read_cached_at`].
///
/// # Safety
/// As [`write_at`].
pub unsafe fn write_cached_at(fd: c_int, buffer: iovec, place: i64) -> Result<Option<usize>> {
    // SAFETY: as this function's contract says.
    told(count(uncancelable(|| unsafe { libc::pwritev2(fd, &buffer, 1, place, libc::RWF_NOWAIT) })))
}

/// Where the system has refused to go without waiting, the call that waits says what is wrong.
fn told(result: Result<usize>) -> Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(Error::Os(
            libc::EAGAIN
            | libc::EINTR
            | libc::EOPNOTSUPP
            | libc::ENOSYS
            | libc::EINVAL
            | libc::EPERM
            | libc::EACCES,
        )) => Ok(None),
        Err(error) => Err(error),
    }
}

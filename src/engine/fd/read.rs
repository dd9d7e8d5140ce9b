//! Reading.

use std::ffi::c_int;

use super::call::Call;
use crate::engine::io::READABLE;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Result, iovec};

/// Reads what is there, at most what the buffers hold; 0 at the end.
///
/// # Safety
/// The buffers are good to be written during the call.
#[inline(always)]
pub unsafe fn read(fd: c_int, buffers: &[iovec], limit: Limit) -> Result<usize> {
    let mut call = Call::new(fd, READABLE, limit)?;
    call.begin()?;
    if sys::is_empty(buffers) {
        return read_nothing(&call);
    }
    // SAFETY: as this function's contract says.
    unsafe { read_part(&mut call, buffers) }
}

/// Reads until the buffer is full, or the end is reached. `done` counts what has been read, also when the
/// call fails.
///
/// # Safety
/// As [`read`].
pub unsafe fn read_exact(fd: c_int, buffer: iovec, limit: Limit, done: &mut usize) -> Result<()> {
    *done = 0;
    let mut call = Call::new(fd, READABLE, limit)?;
    call.begin()?;
    if buffer.iov_len == 0 {
        return read_nothing(&call).map(drop);
    }
    loop {
        // SAFETY: as this function's contract says.
        let count = unsafe { read_part(&mut call, &[sys::rest_of(buffer, *done)])? };
        *done += count;
        if count == 0 || *done == buffer.iov_len {
            return Ok(());
        }
        call.go_on()?;
    }
}

/// As read(2) has it: 0 at once, of what can be read, and no datagram is taken.
#[cold]
fn read_nothing(call: &Call) -> Result<usize> {
    // SAFETY: no buffers.
    unsafe { sys::read_blocking(call.fd, &[]) }
}

/// Reads what is there, as a part of a call; 0 at the end.
///
/// # Safety
/// As [`read`].
#[inline(always)]
pub unsafe fn read_part(call: &mut Call, buffers: &[iovec]) -> Result<usize> {
    if !call.is_drained() {
        // Not by `complete`: this one is inlined.
        // SAFETY: as this function's contract says.
        match unsafe { attempt(call, buffers) } {
            Err(Error::Os(libc::EAGAIN | libc::EINTR)) => {}
            result => return result,
        }
    }
    // SAFETY: as above.
    call.complete_later(&mut |call| unsafe { attempt(call, buffers) })
}

/// # Safety
/// As [`read`].
#[inline(always)]
unsafe fn attempt(call: &Call, buffers: &[iovec]) -> Result<usize> {
    let form = call.form();
    let mut right = form;
    // SAFETY: as this function's contract says.
    let result = unsafe { sys::read_some(call.fd, buffers, &mut right) };
    if right != form {
        call.set_form(right);
    }
    match result {
        Ok(count) => {
            if call.keeps_no_rest() && count > 0 && count < sys::bytes_of(buffers) {
                call.has_read_less();
            }
            Ok(count)
        }
        // On a disk, and not in memory.
        Err(Error::Os(libc::EAGAIN)) if call.is_futile() && sys::is_always_ready(call.fd) => {
            // SAFETY: as above.
            unsafe { sys::read_blocking(call.fd, buffers) }
        }
        Err(error) => Err(error),
    }
}

/// Reads what is there without a task: EAGAIN if there is nothing.
///
/// # Safety
/// As [`read`].
pub unsafe fn try_read(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    // SAFETY: as this function's contract says.
    match unsafe { sys::read_some(fd, buffers, &mut sys::Form::Unknown) } {
        Err(Error::Os(libc::EAGAIN)) if sys::is_always_ready(fd) => {
            // SAFETY: as above.
            unsafe { sys::read_blocking(fd, buffers) }
        }
        result => result,
    }
}

//! Reading.

use std::ffi::c_int;

use super::call::Call;
use super::transfer::{Transfer, move_at_once, move_part};
use crate::engine::io::READABLE;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Form, Result, iovec};

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
    sys::check_open(call.fd)?; // An emulator does not look.
    // SAFETY: no buffers.
    unsafe { sys::read_blocking(call.fd, &[]) }
}

struct Reading;

impl Transfer for Reading {
    #[inline(always)]
    unsafe fn move_some(fd: c_int, buffers: &[iovec], form: &mut Form) -> Result<usize> {
        // SAFETY: as the trait says.
        unsafe { sys::read_some(fd, buffers, form) }
    }

    unsafe fn move_blocking(fd: c_int, buffers: &[iovec]) -> Result<usize> {
        // SAFETY: as the trait says.
        unsafe { sys::read_blocking(fd, buffers) }
    }

    #[inline(always)]
    fn moved(call: &Call, buffers: &[iovec], count: usize) -> Result<usize> {
        call.has_read(count, sys::bytes_of(buffers));
        Ok(count)
    }
}

/// Reads what is there, as a part of a call; 0 at the end.
///
/// # Safety
/// As [`read`].
#[inline(always)]
pub unsafe fn read_part(call: &mut Call, buffers: &[iovec]) -> Result<usize> {
    // SAFETY: as this function's contract says.
    unsafe { move_part::<Reading>(call, buffers) }
}

/// Reads what is there without a task: EAGAIN if there is nothing.
///
/// # Safety
/// As [`read`].
pub unsafe fn try_read(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    // SAFETY: as this function's contract says.
    unsafe { move_at_once::<Reading>(fd, buffers) }
}

//! Writing.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use super::call::Call;
use crate::engine::io::WRITABLE;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Result, iovec};

/// So many buffers are written by one system call.
const MOST_BUFFERS: usize = 16;

/// Writes all of the buffers. `done` counts what has been written, also when the call fails.
///
/// # Safety
/// The buffers are good to be read during the call.
#[inline(always)]
pub unsafe fn write_all(
    fd: c_int,
    buffers: &[iovec],
    limit: Limit,
    done: &mut usize,
) -> Result<()> {
    *done = 0;
    let mut call = Call::new(fd, WRITABLE, limit)?;
    call.begin()?;
    if let [one] = buffers {
        loop {
            // SAFETY: as this function's contract says.
            *done += unsafe { write_part(&mut call, &[sys::rest_of(*one, *done)])? };
            if *done >= one.iov_len {
                return Ok(());
            }
            call.go_on()?;
        }
    }
    // SAFETY: as this function's contract says.
    unsafe { write_gathered(&mut call, buffers, done) }
}

#[inline(never)]
unsafe fn write_gathered(call: &mut Call, mut left: &[iovec], done: &mut usize) -> Result<()> {
    let mut skipped = 0;
    loop {
        let mut window = [iovec { iov_base: null_mut::<c_void>(), iov_len: 0 }; MOST_BUFFERS];
        let count = left.len().min(MOST_BUFFERS);
        window[..count].copy_from_slice(&left[..count]);
        if let Some(first) = window[..count].first_mut() {
            *first = sys::rest_of(*first, skipped);
        }
        // SAFETY: as the contract of `write_all` says.
        let written = unsafe { write_part(call, &window[..count])? };
        *done += written;
        skipped += written;
        while let [first, others @ ..] = left
            && skipped >= first.iov_len
        {
            skipped -= first.iov_len;
            left = others;
        }
        if left.is_empty() {
            return Ok(());
        }
        call.go_on()?;
    }
}

/// Writes what there is room for.
#[inline(always)]
unsafe fn write_part(call: &mut Call, buffers: &[iovec]) -> Result<usize> {
    call.complete(|call| {
        let form = call.form();
        let mut right = form;
        // SAFETY: as the contracts of the callers say.
        let result = unsafe { sys::write_some(call.fd, buffers, &mut right) };
        if right != form {
            call.set_form(right);
        }
        match result {
            Err(Error::Os(libc::EAGAIN)) if call.is_futile() && sys::is_always_ready(call.fd) => {
                // SAFETY: as above.
                unsafe { sys::write_blocking(call.fd, buffers) }
            }
            // Of a file that takes nothing, for ever.
            Ok(0) if buffers.iter().any(|buffer| buffer.iov_len > 0) => Err(Error::Os(libc::EIO)),
            result => result,
        }
    })
}

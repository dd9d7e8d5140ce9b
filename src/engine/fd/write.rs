//! Writing.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use super::call::Call;
use super::transfer::{Transfer, move_at_once, move_part};
use crate::engine::io::WRITABLE;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Form, Result, iovec};

/// So many buffers are written by one system call once a part of them was.
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

/// Writes all of the buffers, as a part of a call. Adds what has been written to `done`, also when it fails.
///
/// # Safety
/// As [`write_all`].
#[inline(never)]
pub unsafe fn write_gathered(call: &mut Call, mut left: &[iovec], done: &mut usize) -> Result<()> {
    let mut skipped = 0;
    loop {
        let mut window = [iovec { iov_base: null_mut::<c_void>(), iov_len: 0 }; MOST_BUFFERS];
        let parts = match left {
            // A part of the first was written. So it is a stream, and the rest may be written in pieces.
            [first, others @ ..] if skipped > 0 => {
                window[0] = sys::rest_of(*first, skipped);
                let count = others.len().min(MOST_BUFFERS - 1);
                window[1..=count].copy_from_slice(&others[..count]);
                &window[..=count]
            }
            // All by one call: the record of a socket, or what a pipe takes whole or not at all.
            all => all,
        };
        // SAFETY: as the contract of `write_all` says.
        let written = unsafe { write_part(call, parts)? };
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

struct Writing;

impl Transfer for Writing {
    #[inline(always)]
    unsafe fn move_some(fd: c_int, buffers: &[iovec], form: &mut Form) -> Result<usize> {
        // SAFETY: as the trait says.
        unsafe { sys::write_some(fd, buffers, form) }
    }

    unsafe fn move_blocking(fd: c_int, buffers: &[iovec]) -> Result<usize> {
        // SAFETY: as the trait says.
        unsafe { sys::write_blocking(fd, buffers) }
    }

    #[inline(always)]
    fn moved(call: &Call, buffers: &[iovec], count: usize) -> Result<usize> {
        let most = sys::bytes_of(buffers);
        if count < most {
            if count == 0 {
                return Err(Error::Os(libc::EIO)); // A file that takes nothing, for ever.
            }
            call.has_written_a_part();
        }
        Ok(count)
    }
}

/// Writes what there is room for.
///
/// # Safety
/// As [`write_all`].
#[inline(always)]
unsafe fn write_part(call: &mut Call, buffers: &[iovec]) -> Result<usize> {
    // SAFETY: as this function's contract says.
    unsafe { move_part::<Writing>(call, buffers) }
}

/// Writes what there is room for without a task: EAGAIN if there is none.
///
/// # Safety
/// As [`write_all`].
pub unsafe fn try_write(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    // SAFETY: as this function's contract says.
    unsafe { move_at_once::<Writing>(fd, buffers) }
}

//! Sending a file.

use std::ffi::c_int;

use super::call::Call;
use crate::engine::io::WRITABLE;
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Result, iovec};
use crate::engine::threads::Generation;

/// What is copied at a time where the kernel would block.
const PIECE: usize = 64 * 1024;

/// More than the kernel sends at a time, and far from where an offset would overflow.
const MOST: usize = 1 << 31;

/// Sends `bytes` of a file, from `offset` or, if that is NULL, from where the file is at, or fewer at the
/// file's end. `done` counts them, also when the call fails.
///
/// # Safety
/// `offset` is NULL, or good for the call.
pub unsafe fn send_file(
    fd: c_int,
    from: c_int,
    offset: *mut i64,
    bytes: usize,
    limit: Limit,
    done: &mut usize,
) -> Result<()> {
    *done = 0;
    let mut call = Call::new(fd, WRITABLE, limit)?;
    let file = Generation::of(from);
    call.begin()?;
    file.check()?;
    let mut copy = if sys::is_nonblocking(fd)? { None } else { Some(Copy::new()?) };
    while *done < bytes {
        let left = (bytes - *done).min(MOST);
        let sent = call.complete(|call| {
            file.check()?; // It may have waited for room.
            match &mut copy {
                // SAFETY: as this function's contract says.
                None => unsafe { sys::send_file(call.fd, from, offset, left) },
                // SAFETY: as above.
                Some(copy) => unsafe { copy.send(call.fd, from, offset, left) },
            }
        })?;
        if sent == 0 {
            break;
        }
        *done += sent;
        call.go_on()?;
    }
    Ok(())
}

/// A buffer between a file and a descriptor that blocks: sendfile(2) has no flag against that.
struct Copy {
    buffer: *mut u8,
}

impl Copy {
    fn new() -> Result<Copy> {
        let buffer = sys::allocate::<u8>(PIECE);
        if buffer.is_null() { Err(Error::OutOfMemory) } else { Ok(Copy { buffer }) }
    }

    /// Sends some of the file. What has been read and does not fit is read again.
    ///
    /// # Safety
    /// As [`send_file`].
    unsafe fn send(
        &mut self,
        fd: c_int,
        from: c_int,
        offset: *mut i64,
        most: usize,
    ) -> Result<usize> {
        // SAFETY: as this function's contract says.
        let place = match unsafe { offset.as_ref() } {
            Some(place) => *place,
            None => sys::file_position(from)?,
        };
        let piece = iovec { iov_base: self.buffer.cast(), iov_len: most.min(PIECE) };
        // SAFETY: the buffer is that large.
        let count = unsafe { sys::read_at(from, piece, place)? };
        if count == 0 {
            return Ok(0);
        }
        let mut form = sys::Form::Unknown;
        let piece = iovec { iov_len: count, ..piece };
        // SAFETY: so much has been read.
        let sent = match unsafe { sys::write_some(fd, &[piece], &mut form) } {
            Err(Error::Os(libc::EAGAIN)) if sys::is_always_ready(fd) => {
                // SAFETY: as above.
                unsafe { sys::write_blocking(fd, &[piece])? }
            }
            sent => sent?,
        };
        // SAFETY: as this function's contract says.
        match unsafe { offset.as_mut() } {
            Some(place) => *place += sent as i64,
            None => sys::set_file_position(from, place + sent as i64)?,
        }
        Ok(sent)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // SAFETY: from `allocate`.
        unsafe { sys::free(self.buffer.cast()) };
    }
}

//! Reading and writing at a place.
//!
//! What is in memory already, as the page cache often is, is moved by the task itself, in pieces between
//! which others may run. The rest is a worker's, which uses the task's buffer: so the call ends when the
//! worker has ended.

use std::ffi::c_int;

use crate::engine::pool::{Class, run_within};
use crate::engine::scheduler::{Limit, running_task, spend};
use crate::engine::sys::{self, ErrnoGuard, Error, Result, iovec};
use crate::engine::threads::Generation;

/// What a task moves between two looks at the time.
const PIECE: usize = 128 * 1024;

/// Moves a part of a buffer to or from a place.
type Move<T> = unsafe fn(c_int, iovec, i64) -> Result<T>;

/// Reads until the buffer is full, or the file's end is reached. `done` counts what has been read, also when the
/// call fails.
///
/// # Safety
/// The buffer is good to be written during the call.
pub unsafe fn read_at(
    fd: c_int,
    buffer: iovec,
    place: i64,
    limit: Limit,
    done: &mut usize,
) -> Result<()> {
    // SAFETY: as this function's contract says.
    unsafe { move_at((sys::read_cached_at, sys::read_at), fd, buffer, place, limit, done) }
}

/// Writes all of the buffer. `done` counts what has been written, also when the call fails.
///
/// # Safety
/// The buffer is good to be read during the call.
pub unsafe fn write_at(
    fd: c_int,
    buffer: iovec,
    place: i64,
    limit: Limit,
    done: &mut usize,
) -> Result<()> {
    // SAFETY: as this function's contract says.
    unsafe { move_at((sys::write_cached_at, sys::write_at), fd, buffer, place, limit, done) }?;
    // A file that takes nothing, for ever.
    if *done < buffer.iov_len { Err(Error::Os(libc::EIO)) } else { Ok(()) }
}

/// # Safety
/// The functions may be called with parts of the buffer during the call.
unsafe fn move_at(
    (cached, waiting): (Move<Option<usize>>, Move<usize>),
    fd: c_int,
    buffer: iovec,
    place: i64,
    limit: Limit,
    done: &mut usize,
) -> Result<()> {
    *done = 0;
    running_task().ok_or(Error::NotInTask)?;
    let _errno = ErrnoGuard::save();
    let end = i64::try_from(buffer.iov_len).ok().and_then(|bytes| place.checked_add(bytes));
    if place < 0 || end.is_none() {
        return Err(Error::InvalidArgument);
    }
    let generation = Generation::of(fd);
    loop {
        let spent = spend();
        generation.check()?;
        spent?;
        let rest = sys::rest_of(buffer, *done);
        let piece = iovec { iov_len: rest.iov_len.min(PIECE), ..rest };
        // SAFETY: as this function's contract says.
        match unsafe { cached(fd, piece, place + *done as i64)? } {
            Some(0) => return Ok(()), // The end of the file, or nothing is asked for.
            Some(count) => *done += count,
            None => break,
        }
        if *done == buffer.iov_len {
            return Ok(());
        }
    }
    run_within(Class::File, limit, || {
        loop {
            generation.check()?; // Each time: the task may have waited for a worker, and a worker for a disk.
            let rest = sys::rest_of(buffer, *done);
            // SAFETY: as above; the call waits for this.
            match unsafe { waiting(fd, rest, place + *done as i64) } {
                Ok(0) => return Ok(()),
                Ok(count) => *done += count,
                Err(Error::Os(libc::EINTR)) => {}
                Err(error) => return Err(error),
            }
            if *done == buffer.iov_len {
                return Ok(());
            }
        }
    })?
}

//! What reading and writing have in common.

use std::ffi::c_int;

use super::call::Call;
use crate::engine::pool::{Class, run_within};
use crate::engine::scheduler::Limit;
use crate::engine::sys::{self, Error, Form, Result, iovec};
use crate::engine::threads::Generation;
use crate::engine::time::Deadline;

/// One direction.
pub(super) trait Transfer {
    /// Moves what can be moved without waiting.
    ///
    /// # Safety
    /// The buffers are good to be written, or to be read.
    unsafe fn move_some(fd: c_int, buffers: &[iovec], form: &mut Form) -> Result<usize>;

    /// The same by a call that may block.
    ///
    /// # Safety
    /// As `move_some`.
    unsafe fn move_blocking(fd: c_int, buffers: &[iovec]) -> Result<usize>;

    /// So much has been moved.
    fn moved(call: &Call, buffers: &[iovec], count: usize) -> Result<usize>;
}

/// Moves what can be moved, once anything can, as a part of a call.
///
/// # Safety
/// As [`Transfer::move_some`].
#[inline(always)]
pub(super) unsafe fn move_part<T: Transfer>(call: &mut Call, buffers: &[iovec]) -> Result<usize> {
    if !call.is_drained() {
        // Not by `complete`: this one is inlined.
        // SAFETY: as this function's contract says.
        match unsafe { attempt::<T>(call, buffers) } {
            Err(Error::Os(libc::EAGAIN | libc::EINTR)) => {}
            // SAFETY: as above.
            Err(ON_A_DISK) => return unsafe { move_on_worker::<T>(call, buffers) },
            result => return result,
        }
    }
    // SAFETY: as above.
    match call.complete_later(&mut |call| unsafe { attempt::<T>(call, buffers) }) {
        // SAFETY: as above.
        Err(ON_A_DISK) => unsafe { move_on_worker::<T>(call, buffers) },
        result => result,
    }
}

/// What an attempt says of a file that is on a disk, and not in memory. No system call does.
const ON_A_DISK: Error = Error::WouldBlock;

/// Moves what can be moved, on a worker of the pool. It uses the task's buffers, and moves the file's own
/// place, so the call ends when the worker has ended, and knows how much was moved.
///
/// # Safety
/// As [`Transfer::move_some`].
#[cold]
unsafe fn move_on_worker<T: Transfer>(call: &mut Call, buffers: &[iovec]) -> Result<usize> {
    /// How long a worker has to begin at the least: however often a call is made that has no time, one of them
    /// moves something.
    const LEAST_NS: u64 = 1_000_000_000;
    let (fd, generation) = (call.fd, Generation::of(call.fd));
    let deadline = Deadline::after_ns(call.left_ns().max(LEAST_NS));
    let moved = run_within(Class::File, Limit::uninterrupted(deadline), || {
        generation.check()?; // The number may be another file's when a worker begins.
        loop {
            // SAFETY: as this function's contract says; the call waits for this.
            match unsafe { T::move_blocking(fd, buffers) } {
                Err(Error::Os(libc::EINTR)) => {}
                result => return result,
            }
        }
    })?;
    moved.and_then(|count| T::moved(call, buffers, count))
}

/// # Safety
/// As [`Transfer::move_some`].
#[inline(always)]
unsafe fn attempt<T: Transfer>(call: &Call, buffers: &[iovec]) -> Result<usize> {
    let form = call.form();
    let mut right = form;
    // SAFETY: as this function's contract says.
    let result = unsafe { T::move_some(call.fd, buffers, &mut right) };
    if right != form {
        call.set_form(right);
    }
    match result {
        Ok(count) => T::moved(call, buffers, count),
        // On a disk, and not in memory.
        Err(Error::Os(libc::EAGAIN))
            if (right == Form::Polled || call.is_futile()) && sys::is_always_ready(call.fd) =>
        {
            Err(ON_A_DISK)
        }
        Err(error) => Err(error),
    }
}

/// Moves what can be moved, without a task: EAGAIN if nothing can.
///
/// # Safety
/// As [`Transfer::move_some`].
pub(super) unsafe fn move_at_once<T: Transfer>(fd: c_int, buffers: &[iovec]) -> Result<usize> {
    // SAFETY: as this function's contract says.
    match unsafe { T::move_some(fd, buffers, &mut Form::Unknown) } {
        Err(Error::Os(libc::EAGAIN)) if sys::is_always_ready(fd) => {
            // SAFETY: as above.
            unsafe { T::move_blocking(fd, buffers) }
        }
        result => result,
    }
}

//! The flight recorder.

use std::ffi::c_int;

use libc::size_t;

use super::metrics::Stream;
use super::types::{FILE, mj_scheduler};
use super::{own_scheduler_ref, status};
use crate::engine::inspect;
use crate::engine::scheduler::Scheduler;
use crate::engine::sys::Error;

/// Has a scheduler record what its tasks do: which of them runs from when to when, which one it makes ready
/// or creates, what it waits for afterwards, and when it ends. The last `events` are kept, rounded up to a power
/// of two, of 16 bytes each, from 1024 to 67,108,864; 65,536 are 1 MiB. It begins with the next round of the loop,
/// with nothing; 0 stops it, and what is recorded stays. A turn is an event, and so is a task that becomes
/// ready: that is taken to be at the end of the turn in which it happens. While a scheduler does not record,
/// this costs its tasks nothing. The program `majjen trace` does the same from outside, and shows it.
///
/// With MAJJEN_TRACE=FILE in the environment a new scheduler records 65,536 events, and writes them to FILE at the
/// end of each run, as mj_scheduler_write_trace(); the second scheduler of the process to FILE.2, and so on. A %p in
/// FILE stands for the number of the process. If FILE is a pipe whose reader stands still for 10 s, the rest is not
/// written, which is an ERROR line. A program that has more rights than who runs it, by set-uid or such, takes no
/// notice.
///
/// A child of fork() goes on with a record of its own, which begins as a copy of its parent's. If its parent has had
/// schedulers with MAJJEN_TRACE, it writes no files, and its new schedulers do not record, unless there is a %p in
/// FILE. Does not suspend.
///
/// Returns 0. Errors, with which it goes on as it was:
///   -EINVAL  `scheduler` is NULL, or `events` is too large
///   -EPERM   the scheduler is running on another thread
///   -EBUSY   mj_scheduler_write_trace() is reading what there is, of another size
///   -ENOMEM  out of memory
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_trace(scheduler: *mut mj_scheduler, events: size_t) -> c_int {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { own_scheduler_ref(scheduler, "mj_scheduler_trace") };
    status(scheduler.and_then(|scheduler| scheduler.record(events)))
}

/// Writes what a scheduler has recorded, see mj_scheduler_trace(), to a stream, which stays the caller's: JSON in
/// the format of Chrome's trace viewer, which Perfetto (ui.perfetto.dev) shows too. There is a row for the loop, and
/// one for each slot of tasks, in which one task is shown behind another; times are in microseconds of
/// CLOCK_MONOTONIC. Without a record there are no events in it. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` or `out` is NULL
///   -EPERM   the scheduler is running on another thread
///   -EIO     the stream has not taken all of it
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_write_trace(
    scheduler: *mut mj_scheduler,
    out: *mut FILE,
) -> c_int {
    const NAME: &str = "mj_scheduler_write_trace";
    // SAFETY: as this function's contract says.
    let (scheduler, stream) =
        unsafe { (own_scheduler_ref(scheduler, NAME), Stream::new(out, NAME)) };
    status(scheduler.and_then(|scheduler: &Scheduler| {
        let mut stream = stream.ok_or(Error::InvalidArgument)?;
        inspect::write_trace(scheduler, &mut stream).map_err(|_| Error::Os(libc::EIO))
    }))
}

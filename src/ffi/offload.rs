//! Functions that block, or compute for long, on threads of the library's own.

use std::ffi::{c_int, c_void};
use std::mem::size_of;
use std::ptr::{self, from_ref};

use super::types::{OffloadClassInt, mj_abandon_fn, mj_offload_counts, mj_offload_fn};
use super::{reported, status};
use crate::engine::pool::{self, Class, Work};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

/// Runs `function` with `argument` on a thread of the library, so that it may block or compute for long;
/// other tasks run meanwhile. It is of the class MJ_OFFLOAD_CPU, for functions that compute: see
/// mj_offload_in() for those that wait. As many of a class run at a time as mj_offload_set_limit() says; the
/// next ones wait for a thread, which counts for `timeout_ns`. Threads are made when they are needed, and end
/// after 10 s without work. All signals are blocked in them, except those of faults. If the system does not
/// let the process have any, the function is run by the scheduler's loop, which it blocks; a WARN line says
/// so.
///
/// A program that the function starts, by posix_spawn(3), popen(3) or system(3), inherits that mask: SIGTERM and
/// SIGINT do not end it, and SIGPIPE has no effect. Start it by mj_process_spawn() in a task; or with
/// POSIX_SPAWN_SETSIGMASK and an empty set; or let the function empty its mask around the call, by
/// pthread_sigmask(3).
///
/// With -ETIMEDOUT and -ECANCELED the argument is the library's, and `abandon` is called with it,
/// once: before this call returns if the function has not begun, which it will not then; else by the
/// thread that runs the function, after it. With every other result it is not called. If `abandon` is
/// NULL the call waits until the function has ended, and returns these two only if it had not begun: the
/// argument is the caller's then, and may be on the task's stack. mj_task_wake() has no effect on it.
/// When the scheduler is destroyed before this call has returned, `abandon` is called in the same way,
/// also if the function has ended, then by mj_scheduler_destroy(); if it is NULL, mj_scheduler_destroy()
/// waits until the function has ended.
///
/// The function is in no task: it cannot suspend, but it may mj_post() to schedulers, and run one of its own,
/// unless it is run by the loop since no thread can be had. It may ask mj_offload_canceled(). No exception
/// may leave it. May suspend.
///
/// Returns 0: the function has run, and the argument is the caller's. Errors (it has not run, but for the first
/// three, with which it may run or have run):
///   -ETIMEDOUT  it has not ended within `timeout_ns`
///   -ECANCELED  the task is canceled, or has called mj_task_exit()
///   -EOWNERDEAD  this is a child of fork(), and the function runs in the parent
///   -ENOMEM     out of memory
///   -EINVAL     `function` is NULL
///   -EPERM      not called from a task; this is also logged
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_offload(
    function: mj_offload_fn,
    argument: *mut c_void,
    abandon: mj_abandon_fn,
    timeout_ns: u64,
) -> c_int {
    let class = Class::Cpu as OffloadClassInt;
    // SAFETY: as this function's contract says.
    let ran = unsafe { offload(class, function, argument, abandon, timeout_ns) };
    status(reported("mj_offload", ran))
}

/// mj_offload() for a class of functions. Each class has threads of its own, at most as many as
/// mj_offload_set_limit() says, so that functions of one class do not hold up those of another: give those that
/// wait for a disk or a server MJ_OFFLOAD_FILE. A function that waits for another one of its class needs a
/// limit that has room for both. May suspend.
///
/// Returns 0: the function has run, and the argument is the caller's. Errors:
///   -EINVAL  `function` is NULL, or there is no such class
///   -ETIMEDOUT, -ECANCELED, -EOWNERDEAD, -ENOMEM, -EPERM  as mj_offload(), and the argument goes the same way
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_offload_in(
    class: OffloadClassInt,
    function: mj_offload_fn,
    argument: *mut c_void,
    abandon: mj_abandon_fn,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let ran = unsafe { offload(class, function, argument, abandon, timeout_ns) };
    status(reported("mj_offload_in", ran))
}

/// # Safety
/// As [`mj_offload_in`].
unsafe fn offload(
    class: OffloadClassInt,
    function: mj_offload_fn,
    argument: *mut c_void,
    abandon: mj_abandon_fn,
    timeout_ns: u64,
) -> Result<()> {
    let class = Class::of(class)?;
    let function = function.ok_or(Error::InvalidArgument)?;
    let work = Work { function, argument, abandon };
    // SAFETY: the program's functions, and their argument.
    unsafe { pool::run(class, work, Deadline::after_ns(timeout_ns)) }
}

/// Whether the call of mj_offload() that has this function run does not wait for what it does any more: its
/// task was canceled, its time is over, or its scheduler destroyed. To be asked by the function, so that it can
/// end early. Callable from any thread. Does not suspend.
///
/// Returns true then; false while it is waited for, and outside such a function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_offload_canceled() -> bool {
    pool::is_canceled()
}

/// Sets how many threads a class of functions may have, for the whole process. At first these are as many as
/// there are processors for MJ_OFFLOAD_CPU (but two at the least), 64 for MJ_OFFLOAD_FILE, 32 for
/// MJ_OFFLOAD_DNS. Those that are too many end once they have nothing to run. Callable from any thread. Does
/// not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `threads` is 0, or there is no such class
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_offload_set_limit(class: OffloadClassInt, threads: usize) -> c_int {
    status(Class::of(class).and_then(|class| pool::set_limit(class, threads)))
}

/// Reads what a class of functions does at the moment, in the whole process. `bytes` is
/// sizeof(mj_offload_counts): what the library does not know is 0. Callable from any thread. Does not
/// suspend.
///
/// Returns 0. Errors, with which `counts` is left alone:
///   -EINVAL  `counts` is NULL, or there is no such class
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_offload_get_counts(
    class: OffloadClassInt,
    counts: *mut mj_offload_counts,
    bytes: usize,
) -> c_int {
    if counts.is_null() {
        return Error::InvalidArgument.status();
    }
    let copy = |now: pool::Counts| {
        let known = mj_offload_counts {
            threads: now.threads as u64,
            idle: now.idle as u64,
            queued: now.queued as u64,
            running: now.running as u64,
            ran_in_loop: now.ran_in_loop,
        };
        let of_known = bytes.min(size_of_val(&known));
        // SAFETY: the caller's memory, of `bytes`.
        unsafe {
            counts.cast::<u8>().write_bytes(0, bytes);
            ptr::copy_nonoverlapping(from_ref(&known).cast::<u8>(), counts.cast(), of_known);
        }
    };
    status(Class::of(class).map(pool::counts).map(copy))
}

const _: () = assert!(size_of::<mj_offload_counts>() == 5 * size_of::<u64>());

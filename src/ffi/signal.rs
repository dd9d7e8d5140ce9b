//! Waiting for signals.

use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut, with_exposed_provenance_mut};
use std::slice;

use super::process_types::mj_signal_info;
use super::scheduler::{ended, run};
use super::task::WORDS;
use super::types::{mj_go_fn, mj_scheduler};
use super::{reported, status};
use crate::engine::scheduler::{self, AtSignal, Limit, Scheduler, SignalSet};
use crate::engine::sys::{Error, Result, Signal};
use crate::engine::task::SchedulerRef;
use crate::engine::time::Deadline;

/// Suspends the running task until one of `count` signals comes, for at most `timeout_ns`. If `info` is not NULL it
/// is told what is known of the signal. mj_task_wake() has no effect on it. Signals that are to stop the run of a
/// scheduler of setup_scheduler_with_epoll() stop none while a task of the process waits for them. May suspend.
///
/// The task keeps the signals from its first wait on, also between its waits, until it waits for others, calls
/// mj_signal_release(), or ends. All that time a handler of the library takes them, on whichever thread they come,
/// so no thread needs to block or to unblock them, and system calls of other threads go on (SA_RESTART). (One that
/// all threads have blocked, as they may have been started, comes when one of them no longer does.) One
/// that comes between two waits ends the next one at once, so a loop misses none. As the kernel does with
/// signals that are blocked, one is kept of each number, with what was known of the first; that holds for
/// real-time signals too: to get each of those, with its value, read a signalfd(2).
///
/// Each task that has the signal is told, in each scheduler of the process. A handler of the program is not
/// called meanwhile. When no task has it any more, the disposition is again what it was, unless the program has
/// set another one, and a signal that has come and that no task has been told of is sent to the process again: so
/// a SIGTERM that nobody waits for any more still ends it. In a child of fork(), until it goes on with the run, a
/// signal has the effect that it has without the library.
///
/// Returns the number of the signal; of several that have come the lowest. Errors, with which `info` is left alone:
///   -EINVAL     `count` is 0, or one of them cannot be waited for: SIGKILL, SIGSTOP, those of faults (SIGSEGV,
///               SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), those of the C library (32, 33), or no signal at all
///   -ETIMEDOUT  none has come in time
///   -ECANCELED  the task is canceled and none has come, or it is marked as ended
///   -ENOMEM     out of memory
///   -EPERM      not called from a task; this is also logged
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_signal_wait(
    signals: *const c_int,
    count: usize,
    info: *mut mj_signal_info,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    match reported("mj_signal_wait", unsafe { wait(signals, count, timeout_ns) }) {
        Ok(signal) => {
            if !info.is_null() {
                // SAFETY: the caller's.
                unsafe { info.write(told(&signal)) };
            }
            signal.number
        }
        Err(error) => error.status(),
    }
}

/// # Safety
/// As [`mj_signal_wait`].
unsafe fn wait(signals: *const c_int, count: usize, timeout_ns: u64) -> Result<Signal> {
    if signals.is_null() || count == 0 || count > isize::MAX as usize / size_of::<c_int>() {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: as this function's contract says.
    let signals = unsafe { slice::from_raw_parts(signals, count) };
    let set = SignalSet::of(signals.iter().copied())?;
    scheduler::wait_for_signal(set, Limit::uninterrupted(Deadline::after_ns(timeout_ns)))
}

fn told(signal: &Signal) -> mj_signal_info {
    mj_signal_info {
        signal: signal.number,
        code: signal.code,
        pid: signal.pid,
        uid: signal.uid,
        value: signal.value as c_int,
        pointer: with_exposed_provenance_mut(signal.value as usize),
        reserved: [null_mut(); 4],
    }
}

/// Gives back the signals that the running task has waited for, as its end does: see mj_signal_wait(). For a task
/// that goes on and is not interested any more, as in a second SIGINT, which then kills as usual. Does not suspend.
///
/// Returns 0, also if it has none. Errors:
///   -EPERM  not called from a task; this is also logged
#[unsafe(no_mangle)]
pub extern "C" fn mj_signal_release() -> c_int {
    status(reported("mj_signal_release", scheduler::forgo_signals()))
}

/// mj_run() that SIGINT and SIGTERM end in order, with any scheduler: at the first of them `function`, unless NULL,
/// is called with `argument` in a task of its own, named "signal". It tells the others that they are to end: it
/// closes the listener, so that nobody else comes in. They have `grace_ns` from its return on (MJ_FOREVER: any
/// time, 0: none); those that are left then are canceled, and the run goes on until they have ended. The next
/// signal stops the run with tasks left, as the first one stops mj_run() of setup_scheduler_with_epoll(), and what
/// is said there of signals holds here. A task that waits for such a signal is told too; while one does, the next
/// signal is for it, and stops no run.
///
/// Blocks the thread and does not suspend.
///
/// Returns 0 when no task is left, also if that was after a signal: mj_scheduler_signal() tells, also in `function`.
/// MJ_RUN_STOPPED, MJ_RUN_SIGNAL and errors as mj_run().
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mj_run_until_signal(
    scheduler: *mut mj_scheduler,
    function: mj_go_fn,
    argument: *mut c_void,
    grace_ns: u64,
) -> c_int {
    let end = End { function, argument, grace: Deadline::after_ns(grace_ns) };
    let at_signal = AtSignal { begin: begin_end, data: from_ref(&end).cast_mut().cast() };
    // SAFETY: as this function's contract says; the data outlives the run.
    ended(unsafe { run("mj_run_until_signal", scheduler, Some(at_signal)) })
}

/// What an orderly end is made of.
#[derive(Clone, Copy)]
struct End {
    function: mj_go_fn,
    argument: *mut c_void,
    grace: Deadline,
}

/// # Safety
/// Called by the core, with the scheduler that runs and an `End`.
unsafe fn begin_end(scheduler: SchedulerRef, end: *mut c_void) -> Result<()> {
    // SAFETY: as this function's contract says.
    let (scheduler, end) = unsafe { (Scheduler::of(scheduler), *end.cast::<End>()) };
    let (task, _) = scheduler.spawn_with(end_in_order, end, &WORDS)?;
    task.set_name(b"signal");
    Ok(())
}

/// The body of the task that ends the others.
///
/// # Safety
/// Called by the core, with an `End`.
unsafe extern "C-unwind" fn end_in_order(_scheduler: *mut c_void, state: *mut c_void) {
    // SAFETY: as this function's contract says.
    let End { function, argument, grace } = unsafe { state.cast::<End>().read() };
    if let Some(function) = function {
        // SAFETY: the program's function and the argument that it was given with.
        unsafe { function(argument) };
    }
    let _ = scheduler::end_others(grace); // An error: it is being destroyed.
    let _ = scheduler::exit();
}

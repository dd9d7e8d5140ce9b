//! Creating, running, stopping and looking into a scheduler.

use std::ffi::{c_char, c_int};
use std::ptr::null_mut;

use super::hook_calls::HOOK_CALLS;
use super::types::mj_scheduler;
use super::wait::{mj_wait_epoll, set_wait_function};
use super::{own_scheduler_ref, scheduler_ref, status, text_ref};
use crate::engine::inspect;
use crate::engine::log;
use crate::engine::scheduler::{self, AtSignal, Ended, Scheduler};
use crate::engine::sys::{Error, Result};

/// Makes an empty scheduler with the built-in wait function. Nothing outside it changes: no signal
/// handler, no resource limit, no thread. Callable from any thread. Does not suspend.
///
/// Returns the scheduler, to be released with mj_scheduler_destroy(), or NULL. Errors, in errno:
///   ENOMEM                  out of memory
///   EMFILE, ENFILE, ENOSPC  no descriptors are left for the two that it needs
///   ENOSYS and the like     the process may not use eventfd(2), epoll(7) or CLOCK_MONOTONIC
#[unsafe(no_mangle)]
pub extern "C" fn mj_scheduler_create() -> *mut mj_scheduler {
    into_pointer(Scheduler::create(false))
}

/// Makes a scheduler for an application: as mj_scheduler_create(), with stack overflows reported
/// and signals handled. (Its name is that of docs/guide.md, hence without mj_.) While it runs,
/// SIGINT and SIGTERM make the run return (the same signal again, before the run has returned,
/// kills as usual), and writing to a closed connection gives EPIPE without effect of SIGPIPE on
/// this thread. Each only where the signal's disposition is the default one; all is put back when
/// the run returns. Callable from any thread. Does not suspend.
///
/// No signal is blocked, and programs that a task starts have the default dispositions. SIGPIPE on
/// other threads has its default effect, and so have all three in a child of fork(), until it runs
/// a scheduler itself or goes on with the run.
///
/// Returns the scheduler, or NULL with errno as mj_scheduler_create().
#[unsafe(no_mangle)]
pub extern "C" fn setup_scheduler_with_epoll() -> *mut mj_scheduler {
    let created = Scheduler::create(true);
    if let Ok(scheduler) = created {
        // SAFETY: created just now.
        let scheduler = unsafe { &*scheduler };
        set_wait_function(scheduler, Some(mj_wait_epoll), std::ptr::null_mut());
    }
    into_pointer(created)
}

fn into_pointer(created: crate::engine::sys::Result<*mut Scheduler>) -> *mut mj_scheduler {
    match created {
        Ok(scheduler) => {
            // SAFETY: created just now.
            inspect::trace_if_asked(unsafe { &*scheduler });
            scheduler.cast()
        }
        Err(error) => {
            crate::engine::sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// Names a scheduler, for people: in log lines about it, and as the label `scheduler` of its metrics,
/// also by handles to it: so those of several schedulers are told apart on one page. The name is
/// copied, and cut after 23 bytes or the last character that fits; "" takes it away. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` or `name` is NULL
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_set_name(
    scheduler: *mut mj_scheduler,
    name: *const c_char,
) -> c_int {
    // SAFETY: as this function's contract says.
    let (scheduler, name) =
        unsafe { (own_scheduler_ref(scheduler, "mj_scheduler_set_name"), text_ref(name)) };
    status(scheduler.and_then(|scheduler| {
        scheduler.set_name(name.ok_or(Error::InvalidArgument)?.to_bytes());
        Ok(())
    }))
}

/// Sets whether a stack overflow of a task is reported before it ends the process: by one line on
/// stderr that names the task and its stack size. Off for mj_scheduler_create(), where an overflow is
/// a plain SIGSEGV, since no line can be had without a handler; on for setup_scheduler_with_epoll().
/// It takes a handler for SIGSEGV and an alternate stack for the thread's signals, both only during
/// a run; all other faults, and each SIGSEGV that is sent, go on to the handler that was there
/// before, which runs on the alternate stack then. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL
///   -EBUSY   the scheduler is running
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_set_overflow_report(
    scheduler: *mut mj_scheduler,
    report: bool,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { scheduler_ref(scheduler, "mj_scheduler_set_overflow_report") } {
        Some(scheduler) => status(scheduler.report_overflow(report)),
        None => Error::InvalidArgument.status(),
    }
}

/// Releases a scheduler, the stacks of its remaining tasks, and their `user_state` with free(). The
/// remaining tasks do not run again; descriptors that they hold stay open. First what they have
/// deferred with mj_task_defer() is called, and their task-local values are destroyed, task by task, in
/// no particular order of the tasks. NULL, a scheduler that is running, or one of a cluster is reported
/// in the log and left alone. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_destroy(scheduler: *mut mj_scheduler) {
    // SAFETY: as this function's contract says.
    let Some(alive) = (unsafe { scheduler_ref(scheduler, "mj_scheduler_destroy") }) else { return };
    if alive.is_of_others() {
        log::error(format_args!(
            "mj_scheduler_destroy: scheduler {scheduler:p} is a cluster's, which destroys it \
             when it ends"
        ));
        return;
    }
    // SAFETY: as this function's contract says, and not NULL.
    if unsafe { Scheduler::destroy(scheduler.cast()) } == Err(Error::Busy) {
        log::error(format_args!(
            "mj_scheduler_destroy: scheduler {scheduler:p} is running; stop it first"
        ));
    }
}

/// Runs tasks until none is left but daemons (mj_task_set_daemon()), or the run is stopped, or
/// nothing can wake those that are left, which is an ERROR line. Tasks that are left stay as they
/// are, and a later run goes on with them. A nested run, on this scheduler or another one on the
/// same thread, is reported and returns at once. mj_run() is the same and says how the run ended.
///
/// Blocks the thread and does not suspend. The thread's timer slack (PR_SET_TIMERSLACK in prctl(2))
/// is 1 ns during short waits, so that timers are served in time, and never while tasks run: what
/// they start does not inherit it. The thread is not canceled in a run: a request of
/// pthread_cancel() takes effect once this has returned, at once or at the next cancellation point,
/// as the thread's type says. A task must not enable cancellation; mj_remote_stop() ends a run.
///
/// A thread that ends in the middle, by pthread_exit() in a task, leaves the scheduler running for
/// good: it can be neither run nor destroyed. mj_cluster_create() says what that is in a cluster. A
/// longjmp() out of the run leaves it running, too, and then no other scheduler can run on the thread.
///
/// On another thread than the last one, tasks that have started may still use errno and thread-local
/// variables of the old one, whose addresses compilers keep; a WARN line says so.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mj_scheduler_run(scheduler: *mut mj_scheduler) {
    // SAFETY: as this function's contract says.
    let _ = unsafe { run("mj_scheduler_run", scheduler, None) };
}

/// What mj_run() returns when mj_scheduler_stop() or mj_remote_stop() ended the run and tasks are
/// left.
pub const MJ_RUN_STOPPED: c_int = 1;

/// What mj_run() returns when SIGINT or SIGTERM ended the run of a scheduler that handles them,
/// and tasks are left, also if it was stopped as well. mj_scheduler_signal() tells which signal.
pub const MJ_RUN_SIGNAL: c_int = 2;

/// mj_scheduler_run() with a result: how the run ended. Blocks the thread and does not suspend.
///
/// Returns 0 when no task is left, also if the run was stopped or a signal came as well, or when
/// daemons are that did not end in time; MJ_RUN_STOPPED when mj_scheduler_stop() or
/// mj_remote_stop() ended the run and tasks are left; MJ_RUN_SIGNAL when SIGINT or SIGTERM did,
/// with a scheduler of setup_scheduler_with_epoll(), and tasks are left: mj_scheduler_signal()
/// tells which. To end the tasks that are left in order, mj_scheduler_cancel() them by their ids,
/// and run again; mj_run_until_signal() does it. Errors (also reported in the log):
///   -EDEADLK  nothing can wake the tasks that are left, be they parked or asleep for ever
///   -ENOMEM   no memory for the stacks of the tasks that are left, or to handle signals for one
///             run more
///   -EBUSY    a scheduler is already running on this thread; nothing has run
///   -EPERM    this one is running on another thread; nothing has run
///   -EINVAL   `scheduler` is NULL
///   and, in a child of fork(), as eventfd(2) and epoll_create1(2)
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mj_run(scheduler: *mut mj_scheduler) -> c_int {
    // SAFETY: as this function's contract says.
    ended(unsafe { run("mj_run", scheduler, None) })
}

/// How a run has ended, in C.
pub(super) fn ended(ended: Result<Ended>) -> c_int {
    match ended {
        Ok(Ended::Completed) => 0,
        Ok(Ended::Stopped) => MJ_RUN_STOPPED,
        Ok(Ended::Signal(_)) => MJ_RUN_SIGNAL,
        Err(error) => error.status(),
    }
}

/// Tells which signal of signal(7), SIGINT or SIGTERM, came in the last run: also if the run ended
/// otherwise meanwhile, as when the last task ended, and mj_run() returned something else. Does not
/// suspend.
///
/// Returns SIGINT or SIGTERM, the first one if several came, or 0 when none came, before the first run, and
/// while one is under way that no signal is ending in order, mj_run_until_signal(). Errors:
///   -EINVAL  `scheduler` is NULL
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_signal(scheduler: *mut mj_scheduler) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_signal") } {
        Ok(scheduler) => scheduler.signal(),
        Err(error) => error.status(),
    }
}

/// Runs a scheduler. That it did not is a line in the log; other errors are reported where they are
/// found.
///
/// # Safety
/// As [`scheduler_ref`].
pub(super) unsafe fn run(
    call: &str,
    scheduler: *mut mj_scheduler,
    at_signal: Option<AtSignal>,
) -> Result<Ended> {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { scheduler_ref(scheduler, call) }.ok_or(Error::InvalidArgument)?;
    let result = scheduler::run(scheduler, HOOK_CALLS, at_signal);
    match result {
        Err(Error::Busy) => {
            log::error(format_args!("{call}: a scheduler is running on this thread already"));
        }
        Err(error @ Error::WrongThread) => log::error(format_args!("{call}: {error}")),
        _ => {}
    }
    result
}

/// Ends the current run when the running task next suspends or ends; called from another thread,
/// other tasks may still run for about 50 microseconds. If no run is under way, the next one ends
/// before any task runs. Callable from any thread and from a signal handler, as long as the
/// scheduler is not destroyed meanwhile; mj_scheduler_remote() makes a handle without that
/// condition. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_stop(scheduler: *mut mj_scheduler) -> c_int {
    if scheduler.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: alive by contract. Only what is made for all threads is used.
    let remote = unsafe { &(*scheduler.cast::<Scheduler>()).remote };
    status(remote.stop())
}

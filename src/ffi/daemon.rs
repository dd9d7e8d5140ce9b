//! Tasks that do not keep a run going.

use std::ffi::c_int;

use super::types::mj_scheduler;
use super::{own_scheduler_ref, reported};
use crate::engine::scheduler::running_task;
use crate::engine::sys::Error;

/// Sets whether the running task is a daemon, which at first no task is: one that does not keep a run going,
/// as a heartbeat, a janitor, or a task that accepts. When all other tasks have ended, the daemons are
/// canceled, as by mj_task_cancel(), and the run waits for them to end: 1 s at most, unless
/// mj_scheduler_set_daemon_limit() says otherwise. Those that have not ended by then stay parked, and a WARN
/// line names them; for mj_run() they do not count as left. A task that one of them makes meanwhile, and that
/// is no daemon, keeps the run going as ever. A daemon that sleeps may be about to wake others: while one
/// does, a run whose other tasks wait for each other does not end by deadlock. Does not suspend.
///
/// Returns 0. Errors:
///   -EPERM  outside a task
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_set_daemon(daemon: bool) -> c_int {
    match reported("mj_task_set_daemon", running_task().ok_or(Error::NotInTask)) {
        Ok((scheduler, task)) => {
            scheduler.set_daemon(task, daemon);
            0
        }
        Err(error) => error.status(),
    }
}

/// Sets how long a run waits for daemons to end, when all other tasks have: 1 s unless set, 0 for the
/// round of the loop in which they are told, MJ_FOREVER until they have ended. It is not waited for what
/// nothing can wake. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_set_daemon_limit(
    scheduler: *mut mj_scheduler,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_set_daemon_limit") } {
        Ok(scheduler) => {
            scheduler.set_daemon_limit(timeout_ns);
            0
        }
        Err(error) => error.status(),
    }
}

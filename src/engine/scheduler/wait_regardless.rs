//! The wait of a call that cannot fail, such as pthread_mutex_lock(): its caller does not look whether it has
//! the lock. So neither a cancellation nor the task's deadline ends it, and a task that is marked as ended
//! waits as well: its last destructors may want a lock. libmajjen-hook makes it, and so does the end of a child
//! process.

use super::block::{Limit, park_until};
use super::object::running_task;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{State, Task};
use crate::engine::time::Deadline;

/// While it lives, nothing but a wake-up and the limit ends the task's waits.
struct Regardless<'t> {
    task: &'t Task,
    was_shielded: bool,
    deadline_ns: u64,
    has_ended: bool,
}

impl Regardless<'_> {
    fn begin(task: &Task) -> Regardless<'_> {
        let has_ended = task.is(State::Exited);
        if has_ended {
            task.set_state(State::Runnable);
        }
        Regardless {
            task,
            was_shielded: task.shielded.replace(true),
            deadline_ns: task.deadline_ns.replace(u64::MAX),
            has_ended,
        }
    }
}

impl Drop for Regardless<'_> {
    fn drop(&mut self) {
        self.task.shielded.set(self.was_shielded);
        self.task.deadline_ns.set(self.deadline_ns);
        if self.has_ended {
            self.task.set_state(State::Exited);
        }
    }
}

/// Suspends the running task until it is woken, for at most `timeout_ns`. [`Error::Canceled`] only if its
/// scheduler is being destroyed.
pub fn wait_regardless(timeout_ns: u64) -> Result<()> {
    let limit = Limit::until(Deadline::after_ns(timeout_ns));
    match regardless(|| park_until(limit, Err(Error::TimedOut)))? {
        Err(Error::Interrupted) => Ok(()),
        result => result,
    }
}

/// Makes a call that waits, and that only its own limit, a wake-up and the scheduler's end cut short.
pub fn regardless<T>(call: impl FnOnce() -> T) -> Result<T> {
    let (_, task) = running_task().ok_or(Error::NotInTask)?;
    let _regardless = Regardless::begin(task);
    Ok(call())
}

//! The deadline of a task, which limits each of its waits.
//!
//! A wait ends at its own deadline or at the task's, whichever is earlier. Past the latter a wait is what
//! it is with a limit of nothing: what can be had without waiting is had, and else the task is behind all
//! others that are ready, by a timer that is due, before the call returns [`Error::TimedOut`]. So no
//! loop around a call keeps the thread.
//!
//! What does not count it: a yield, and the wait of a condition for its mutex, which has no timer.

use super::block::Running;
use super::io::MIN_POLL_INTERVAL_NS;
use super::object::{Scheduler, current, running_task};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::Task;
use crate::engine::time::Deadline;

/// No deadline, or one past the end of the clock: the clock never shows this.
pub(super) const NEVER: u64 = u64::MAX;

impl Scheduler {
    /// Makes tasks switch to the loop in time for a timer that is about to be started.
    #[inline(always)]
    fn expect_timer(&self, deadline: Deadline) {
        let clock = &self.time.clock;
        if clock.has_custom() {
            return;
        }
        let in_ns = match deadline {
            Deadline::In(ns) => ns,
            Deadline::At(moment_ns) => moment_ns.saturating_sub(clock.now_ns()),
            Deadline::Never => return,
        };
        if in_ns < MIN_POLL_INTERVAL_NS {
            let due = clock.ticks().wrapping_add(clock.ns_to_ticks(in_ns));
            self.dispatch.yield_by(due, &self.remote);
        }
    }

    /// Converts the deadline of a call to a moment of the clock. Returns when the task's wait ends at the
    /// latest, by that or by the task's own deadline; `None` for never. May call the program's clock.
    #[inline(always)]
    pub fn resolve_deadline(&self, task: &Task, deadline: &mut Deadline) -> Option<u64> {
        let own_ns = task.deadline_ns.get();
        if own_ns == NEVER && *deadline == Deadline::Never {
            return None;
        }
        Some(self.resolve_earlier(own_ns, deadline))
    }

    #[inline]
    fn resolve_earlier(&self, own_ns: u64, deadline: &mut Deadline) -> u64 {
        self.expect_timer(*deadline);
        match deadline.resolve(&self.time.clock) {
            Some(moment_ns) if moment_ns <= own_ns => moment_ns,
            _ => self.bring_forward(own_ns),
        }
    }

    #[cold]
    #[inline(never)]
    fn bring_forward(&self, own_ns: u64) -> u64 {
        self.expect_timer(Deadline::At(own_ns));
        own_ns
    }
}

/// Sets the running task's deadline, `u64::MAX` for none, and returns what it was.
pub fn set_deadline(deadline_ns: u64) -> Result<u64> {
    let (_, task) = running_task().ok_or(Error::NotInTask)?;
    Ok(task.deadline_ns.replace(deadline_ns))
}

/// Whether a task's deadline is past. May call the program's clock.
pub fn is_past_deadline((scheduler, task): Running<'_>) -> bool {
    match task.deadline_ns.get() {
        NEVER => false,
        deadline_ns => deadline_ns <= scheduler.time.clock.now_ns(),
    }
}

/// The time by the clock of the scheduler that runs on this thread; without one, the monotonic clock's.
pub fn now_ns() -> u64 {
    current().map_or_else(sys::monotonic_ns, |scheduler| scheduler.time.clock.now_ns())
}

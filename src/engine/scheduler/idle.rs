//! When no task is ready: how long the loop may wait, and whether anything can still end the wait.

use super::deadline::NEVER;
use super::object::Scheduler;
use crate::engine::log::{self, Counted};
use crate::engine::sys::Error;

impl Scheduler {
    /// Whether there are tasks, or messages of other threads, which may make some.
    pub(super) fn has_work(&self) -> bool {
        self.tasks.alive() > 0 || !self.posts.is_empty() || self.remote.has_messages()
    }

    /// Whether there is nothing to do but wait.
    pub(super) fn is_idle(&self) -> bool {
        let waits =
            if self.posts.is_empty() { self.tasks.alive() > 0 } else { self.posts.is_starved() };
        waits && self.run_queue.is_empty() && self.remote.is_idle()
    }

    /// The timeout of phase 3; `None` if nothing could end the wait.
    pub(super) fn idle_timeout_ns(&self) -> Option<u64> {
        match self.timers.next_deadline_ns() {
            Some(deadline_ns) if deadline_ns != NEVER => {
                Some(deadline_ns.saturating_sub(self.time.clock.now_ns()))
            }
            // One past the end of the clock wakes nobody.
            _ if self.may_be_woken() || self.posts.may_come() => Some(u64::MAX),
            _ => self.waits_for_others().then_some(u64::MAX),
        }
    }

    /// Whether anything but a timer could make a task ready.
    pub(super) fn may_be_woken(&self) -> bool {
        match self.builtin_wait() {
            Some(builtin) => {
                builtin.watches_descriptors() && self.io.reactor.borrow().has_waiters()
            }
            // A program's function may know of events to come.
            None => true,
        }
    }

    /// Whether another thread may make a task ready. Says so once a run, since it may never do so.
    fn waits_for_others(&self) -> bool {
        let may_be = self.remote.has_wakers();
        if may_be && !self.io.has_told_of_others.replace(true) {
            log::warn(format_args!(
                "{}, and nothing on this thread can wake {}: the run waits for other threads, which \
                 have a handle to the scheduler, an end of a channel between threads, or a job",
                Counted(self.tasks.alive(), "task is parked", "tasks are parked"),
                if self.tasks.alive() == 1 { "it" } else { "any of them" }
            ));
        }
        may_be
    }

    #[cold]
    pub(super) fn report_deadlock(&self) -> Error {
        let left = self.tasks.alive();
        if self.tasks.starved.is_empty() {
            log::error(format_args!(
                "deadlock: {}, and no timer, descriptor or wait function can wake {}; the run ends \
                 (a task dump shows what each task waits for)",
                Counted(left, "task is parked", "tasks are parked"),
                if left == 1 { "it" } else { "any of them" }
            ));
            Error::Deadlock
        } else {
            log::error(format_args!(
                "no memory for the stacks of {}, and no other task is left to release one; the \
                 run ends (the next run tries again)",
                Counted(self.tasks.starved.count(), "new task", "new tasks")
            ));
            Error::OutOfMemory
        }
    }
}

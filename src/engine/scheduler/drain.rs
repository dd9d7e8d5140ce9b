//! Turns outside a run: a scheduler that is about to be destroyed lets its tasks end, one at a
//! time.
//!
//! Whoever holds a [`Drain`] stands in for the loop: tasks switch back to it after each turn. Its
//! stack may be the thread's own, or that of a task of another scheduler, whose loop does not get
//! the thread meanwhile.

use std::ffi::c_int;

use super::object::Scheduler;
use super::run::Entered;
use crate::engine::sys;
use crate::engine::task::{Outcome, Task};

/// While it lives, the scheduler counts as running on this thread, in place of the one that does.
pub struct Drain<'s> {
    scheduler: &'s Scheduler,
    errno: c_int,
    _entered: Entered<'s>,
}

impl<'s> Drain<'s> {
    /// The scheduler must not be running.
    pub fn begin(scheduler: &'s Scheduler) -> Drain<'s> {
        let errno = sys::errno();
        let _ = scheduler.remote.enter(); // It succeeds, since no thread runs it.
        let _entered = Entered::enter(scheduler);
        scheduler.dispatch.set_yield_at(0, &scheduler.remote); // Each turn ends here.
        Drain { scheduler, errno, _entered }
    }

    /// Cancels a living task, and gives it one turn. It may end, and its slot be used again.
    pub fn step(&self, task: &Task) {
        self.scheduler.cancel(task);
        if !task.wait.get().is_interruptible() {
            // Cancel leaves that wait alone; whoever would end it does not have a turn.
            self.scheduler.force(task, Outcome::OwnerDied);
        }
        // The other tasks have their turns later, those too that this one has left something for.
        while !self.scheduler.dequeue().is_null() {}
        self.scheduler.run_queue.push(task);
        self.scheduler.dispatch_ready_tasks();
    }
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        sys::set_errno(self.errno);
    }
}

//! Draining a scheduler that is about to be destroyed: its tasks are canceled and end, one at a
//! time.
//!
//! The holder of a [`Drain`] takes the place of the loop: tasks switch back to it after each turn.
//! It may run on the thread's own stack, or in a task of another scheduler, which is blocked
//! meanwhile.

use std::ffi::c_int;
use std::ptr;

use super::hook_library::Attached;
use super::object::Scheduler;
use super::run::Entered;
use crate::engine::sys;
use crate::engine::task::{Outcome, Task};

/// While it lives, this scheduler is the thread's current one.
pub struct Drain<'s> {
    scheduler: &'s Scheduler,
    errno: c_int,
    // Before what it is told of.
    _attached: Option<Attached>,
    _entered: Entered<'s>,
}

impl<'s> Drain<'s> {
    /// The scheduler must not be running.
    pub fn begin(scheduler: &'s Scheduler) -> Drain<'s> {
        let errno = sys::errno();
        let _ = scheduler.remote.enter(); // It succeeds, since no thread runs it.
        let _entered = Entered::enter(scheduler);
        let address = ptr::from_ref(scheduler).cast();
        let _attached = scheduler.hook_library.attach_again(address, &scheduler.current_task);
        scheduler.begin_round(scheduler.time.clock.now(), 0); // Each turn ends here.
        scheduler.prepare_budget(false);
        Drain { scheduler, errno, _attached, _entered }
    }

    /// Cancels a living task, shielded or not, and runs it for one turn. The task may end, and its slot may be
    /// reused.
    pub fn step(&self, task: &Task) {
        task.shielded.set(false);
        self.scheduler.cancel(task);
        task.calls_while_canceled.set(u8::MAX); // It is told whatever it waits for.
        if !task.wait.get().is_interruptible() {
            // Cancel does not interrupt this wait, and the mutex's owner does not run.
            self.scheduler.force(task, Outcome::OwnerDied);
        }
        // The other ready tasks are drained later.
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

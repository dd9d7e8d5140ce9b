//! Turns outside a run: a scheduler that is about to be destroyed lets its tasks end, one at a
//! time.
//!
//! Whoever holds a [`Drive`] stands in for the loop: tasks switch back to it after each turn. Its
//! stack may be the thread's own, or that of a task of another scheduler, whose loop does not get
//! the thread meanwhile.

use std::ffi::c_int;
use std::sync::atomic::Ordering::Release;

use crate::engine::context::stack;
use crate::engine::context::switch;
use crate::engine::scheduler::{self, Scheduler};
use crate::engine::sys;
use crate::engine::task::{Outcome, Task, Waits};

/// While it lives, the scheduler counts as running on this thread, in place of the one that does.
pub struct Drive<'s> {
    scheduler: &'s Scheduler,
    /// The one that was running on this thread; null if none was.
    before: *const Scheduler,
    errno: c_int,
}

impl<'s> Drive<'s> {
    /// The scheduler must not be running.
    pub fn begin(scheduler: &'s Scheduler) -> Drive<'s> {
        if let Some(sanitizer) = &scheduler.sanitizer {
            match scheduler::running_task() {
                Some((_, task)) => {
                    let bytes = task.stack_bytes.get();
                    sanitizer.enter_loop_on(stack::lowest(task.stack.get(), bytes), bytes);
                }
                None => sanitizer.enter_loop(),
            }
        }
        scheduler.thread_words.find();
        scheduler.running.store(true, Release);
        scheduler.next_service.set(0); // Each turn ends here.
        // SAFETY: the thread's own variable, which lives as long as the thread.
        let before = unsafe { &*switch::thread() }.scheduler.replace(scheduler);
        Drive { scheduler, before, errno: sys::errno() }
    }

    /// Cancels a living task, and gives it one turn. It may end, and its slot be used again.
    pub fn turn(&self, task: &Task) {
        // The other tasks have their turns later.
        while !self.scheduler.dequeue().is_null() {}
        self.scheduler.cancel(task);
        if matches!(task.waits.get(), Waits::Relock(_)) {
            // Cancel leaves that wait alone; the mutex's owner will not have a turn to unlock it.
            self.scheduler.ready(task, Outcome::OwnerDied);
        } else if !task.queued.get() {
            self.scheduler.run_queue.push(task);
        }
        self.scheduler.take_turns();
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        // SAFETY: as in `begin`.
        unsafe { &*switch::thread() }.scheduler.set(self.before);
        self.scheduler.running.store(false, Release);
        sys::set_errno(self.errno);
    }
}

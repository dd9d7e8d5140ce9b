//! Park and ready: how tasks come to wait, and how a wait ends.
//!
//! A parked task is in a wait queue, which `Task::wait` names, in the timer heap, in both, or in
//! neither. Most waits end in one of three ways; ARCHITECTURE.md has them all. The object ends it with
//! [`Scheduler::ready`], after it has unlinked the task. A wake-up or a cancel ends it with [`Scheduler::end_wait`], which
//! unlinks the task by the kind of its wait. A deadline ends it with [`Scheduler::expire`], which
//! leaves the task in its wait queue until it runs.

use std::ffi::c_void;
use std::ptr::null;

use super::object::{Scheduler, current};
use crate::engine::measure;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Left, NOT_IN_HEAP, Outcome, State, Task, Wait, WaitQueue};

impl Scheduler {
    /// Starts a task's timer.
    pub fn start_timer(&self, task: &Task, deadline_ns: u64) -> Result<()> {
        self.timers.insert(task, deadline_ns, self.time.serial())?;
        measure::add(&self.metrics.heap_operations, 1);
        Ok(())
    }

    /// Ends a wait: puts the task at the end of the run queue. The caller has unlinked it, and
    /// cleared `Task::wait`.
    pub fn ready(&self, task: &Task, outcome: Outcome) {
        self.cancel_timer(task);
        task.outcome.set(outcome);
        self.make_runnable(task);
    }

    fn make_runnable(&self, task: &Task) {
        task.set_state(State::Runnable);
        if !task.queued.get() {
            self.run_queue.push(task);
        }
    }

    /// Wakes the first task in an object's wait queue. Returns whether there was one.
    pub fn wake_first(&self, waiting: &WaitQueue<Task>, outcome: Outcome) -> bool {
        let first = waiting.pop();
        if let Some(task) = first {
            task.wait.set(Wait::NONE);
            self.ready(task, outcome);
        }
        first.is_some()
    }

    /// Interrupts a task's wait: the object does not end it, but a wake-up, a cancel, or a close.
    #[inline(never)]
    pub fn end_wait(&self, task: &Task, outcome: Outcome) {
        self.cancel_timer(task);
        task.outcome.set(outcome);
        if self.leave(task) == Left::Now {
            self.make_runnable(task);
        }
    }

    /// Takes a task out of its wait queue, if it is in one, with the effects on other waiters that
    /// the kind of the wait has.
    #[inline]
    pub fn leave(&self, task: &Task) -> Left {
        let wait = task.wait.get();
        match wait.kind() {
            Some(kind) if !kind.is_yield => {
                task.wait.set(Wait::NONE);
                // SAFETY: an object that a task has waited for until now is alive, and the task is
                // in its list.
                unsafe { kind.leave(self.as_ref(), wait.object(), task) }
            }
            _ => Left::Now,
        }
    }

    /// A task's deadline has passed. The task becomes ready, but stays in its wait queue until it
    /// runs: if the object serves it before, it has not timed out. The task itself leaves the
    /// queue, in `suspend_parked`.
    pub fn expire(&self, task: &Task) {
        if task.wait.get().expires_at_once() {
            return self.end_wait(task, Outcome::TimedOut);
        }
        task.outcome.set(Outcome::TimedOut);
        self.make_runnable(task);
    }

    /// Ends a wait even if it is not interruptible: a mutex whose owner has ended, or whose
    /// scheduler is being destroyed.
    pub fn force(&self, task: &Task, outcome: Outcome) {
        self.unlink(task);
        self.ready(task, outcome);
    }

    /// Cancels a task's timer, if it has one.
    pub(super) fn cancel_timer(&self, task: &Task) {
        if task.heap_index.get() != NOT_IN_HEAP {
            self.timers.remove(task);
            measure::add(&self.metrics.timer_cancellations, 1);
            measure::add(&self.metrics.heap_operations, 1);
        }
    }

    /// [`leave`](Self::leave) without effects on later waiters.
    pub fn unlink(&self, task: &Task) {
        let wait = task.wait.replace(Wait::NONE);
        if let Some(kind) = wait.kind() {
            // SAFETY: as in `leave`.
            unsafe { kind.unlink(self.as_ref(), wait.object(), task) };
        }
    }

    /// Unlinks all waiters of an object that is about to be destroyed. They stay parked.
    #[cold]
    pub fn forget_object(&self, object: *const c_void) {
        for task in self.tasks.iter() {
            // SAFETY: what a task waits for is alive.
            if unsafe { task.wait.get().concerns(object) } {
                self.unlink(task);
            }
        }
    }

    /// The living task at an address, which may be any.
    pub fn task_at(&self, address: *const Task) -> Result<&Task> {
        let found = self.tasks.find(address);
        found.filter(|task| !task.is(State::Exited)).ok_or(Error::InvalidArgument)
    }

    /// Makes a task ready, whatever it waits for, even if it runs at the moment.
    pub fn enqueue(&self, address: *const Task) -> Result<()> {
        let task = self.task_at(address)?;
        if task.queued.get() {
            task.woken.set(true); // For one whose deadline has passed.
        }
        if !self.wake(task) && !task.queued.get() && task.wait.get().is_ended_by_wake() {
            // It runs, or was dequeued: keep the outcome.
            self.end_wait(task, task.outcome.get());
        }
        Ok(())
    }

    /// Interrupts a task's wait. Returns whether it was waiting.
    pub fn wake(&self, task: &Task) -> bool {
        let waiting = is_waiting(task) && task.wait.get().is_ended_by_wake();
        if waiting {
            self.end_wait(task, Outcome::Interrupted);
        }
        waiting
    }

    /// Cancels a task, whose wait ends unless it is shielded.
    pub fn cancel(&self, task: &Task) {
        if !task.canceled.get() {
            task.calls_while_canceled.set(0);
        }
        task.canceled.set(true);
        if !task.shielded.get() && is_waiting(task) {
            self.end_wait(task, Outcome::Canceled);
        }
    }

    /// Takes the first ready task out of the queue; null if there is none.
    pub fn dequeue(&self) -> *const Task {
        while let Some(task) = self.run_queue.pop() {
            if task.alive.get() {
                // The caller decides when it runs again. If its deadline has passed, it has timed
                // out.
                self.leave(task);
                return task;
            }
            self.tasks.free(task);
        }
        null()
    }
}

/// Whether a task is in an interruptible wait.
fn is_waiting(task: &Task) -> bool {
    task.is_parked() && !task.queued.get() && task.wait.get().is_interruptible()
}

/// The living task at an address, which may be any, if its scheduler runs on this thread.
pub fn own_task<'t>(address: *const Task) -> Result<(&'t Scheduler, &'t Task)> {
    let scheduler = current().ok_or(Error::NotInTask)?;
    Ok((scheduler, scheduler.task_at(address)?))
}

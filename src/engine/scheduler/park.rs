//! Parking and readying: how tasks come to wait, and how a wait ends.
//!
//! A parked task is in a list, which `Task::wait` names, in the timer heap, in both, or in neither.
//! A wait ends in one of three ways. [`Scheduler::ready`] is called by whoever has taken the task out
//! of its list, and has what it waited for; [`Scheduler::end_wait`] by those who interrupt it, and
//! asks the kind of the wait to let the task go. [`Scheduler::expire`] is for the deadline, and
//! leaves the task in its list until its turn comes.

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

    /// Puts a task at the end of the run queue whose wait is over: it is in no list any more, and
    /// `Task::wait` says so.
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

    /// Ends the wait of the first task in an object's list. Returns whether there was one.
    pub fn wake_first(&self, waiting: &WaitQueue<Task>, outcome: Outcome) -> bool {
        let first = waiting.pop();
        if let Some(task) = first {
            task.wait.set(Wait::NONE);
            self.ready(task, outcome);
        }
        first.is_some()
    }

    /// Ends a task's wait from outside: the object has nothing for it.
    #[inline(never)]
    pub fn end_wait(&self, task: &Task, outcome: Outcome) {
        self.cancel_timer(task);
        task.outcome.set(outcome);
        if self.leave(task) == Left::Now {
            self.make_runnable(task);
        }
    }

    /// Takes a task out of the list that it waits in, if it does, with all that follows from it.
    #[inline]
    pub fn leave(&self, task: &Task) -> Left {
        let wait = task.wait.replace(Wait::NONE);
        match wait.kind() {
            // SAFETY: an object that a task has waited for until now is alive, and the task is in
            // its list.
            Some(kind) => unsafe { kind.leave(self.as_ref(), wait.object(), task) },
            None => Left::Now,
        }
    }

    /// The deadline of a task has passed. It is made ready, and stays in its list until its turn
    /// comes: what it waits for may happen before, and then it has not timed out. It leaves the list
    /// itself, see `suspend_parked`.
    pub fn expire(&self, task: &Task) {
        if task.wait.get().expires_at_once() {
            return self.end_wait(task, Outcome::TimedOut);
        }
        task.outcome.set(Outcome::TimedOut);
        self.make_runnable(task);
    }

    /// Ends even a wait that nothing may interrupt: what it waits for will not come, since the owner has
    /// ended or the scheduler is being dropped.
    pub fn force(&self, task: &Task, outcome: Outcome) {
        self.unlink(task);
        self.ready(task, outcome);
    }

    /// Cancels a task's timer, if it has one.
    fn cancel_timer(&self, task: &Task) {
        if task.heap_index.get() != NOT_IN_HEAP {
            self.timers.remove(task);
            measure::add(&self.metrics.timer_cancellations, 1);
            measure::add(&self.metrics.heap_operations, 1);
        }
    }

    /// Takes a task out of the list that it waits in, without an effect on those who wait behind
    /// it.
    pub fn unlink(&self, task: &Task) {
        let wait = task.wait.replace(Wait::NONE);
        if let Some(kind) = wait.kind() {
            // SAFETY: as in `leave`.
            unsafe { kind.unlink(self.as_ref(), wait.object(), task) };
        }
    }

    /// Takes all that wait for an object out of its lists: it is about to be gone. They wait on.
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
        if !self.wake(task) && !task.queued.get() && task.wait.get().is_interruptible() {
            // It runs, or was taken out of the queue: then what ended its wait still holds.
            self.end_wait(task, task.outcome.get());
        }
        Ok(())
    }

    /// Ends a task's wait early. Returns whether it was waiting.
    pub fn wake(&self, task: &Task) -> bool {
        let waiting = is_waiting(task);
        if waiting {
            self.end_wait(task, Outcome::Interrupted);
        }
        waiting
    }

    /// Tells a task to end.
    pub fn cancel(&self, task: &Task) {
        task.canceled.set(true);
        if is_waiting(task) {
            self.end_wait(task, Outcome::Canceled);
        }
    }

    /// Takes the first ready task out of the queue; null if there is none.
    pub fn dequeue(&self) -> *const Task {
        while let Some(task) = self.run_queue.pop() {
            if task.alive.get() {
                // Whoever takes it out says when it goes on; it has timed out if its deadline has
                // passed.
                self.leave(task);
                return task;
            }
            self.tasks.free(task);
        }
        null()
    }
}

/// Whether a task is in a wait that can be ended.
fn is_waiting(task: &Task) -> bool {
    task.is_parked() && !task.queued.get() && task.wait.get().is_interruptible()
}

/// The living task at an address, which may be any, if its scheduler runs on this thread.
pub fn own_task<'t>(address: *const Task) -> Result<(&'t Scheduler, &'t Task)> {
    let scheduler = current().ok_or(Error::NotInTask)?;
    Ok((scheduler, scheduler.task_at(address)?))
}

//! Parking and readying: how tasks come to wait, and how a wait ends.
//!
//! A parked task is in a list, which `Task::waits` names, in the timer heap, in both, or in
//! neither. Whoever ends the wait calls [`Scheduler::ready`], which takes it out of what is left,
//! says how the wait ended, and queues it.

use std::ffi::c_int;
use std::ptr::null;

use crate::error::{Error, Result};
use crate::scheduler::{Scheduler, current};
use crate::task_object::{Outcome, State, Task, Waits};
use crate::timer_heap::NOT_IN_HEAP;
use crate::{log, metrics};

impl Scheduler {
    /// Starts a task's timer.
    pub fn start_timer(&self, task: &Task, deadline_ns: u64) -> Result<()> {
        let serial = self.timer_serial.get();
        self.timers.insert(task, deadline_ns, serial)?;
        self.timer_serial.set(serial + 1);
        metrics::add(&self.metrics.heap_operations, 1);
        Ok(())
    }

    /// Puts a parked task, whose timer and list have been seen to, at the end of the run queue.
    pub fn ready(&self, task: &Task, outcome: Outcome) {
        self.leave_list(task);
        self.cancel_timer(task);
        task.outcome.set(outcome);
        task.set_state(State::Runnable);
        if !task.queued.get() {
            self.run_queue.push(task);
        }
    }

    fn cancel_timer(&self, task: &Task) {
        if task.heap_index.get() != NOT_IN_HEAP {
            self.timers.remove(task);
            metrics::add(&self.metrics.timer_cancellations, 1);
            metrics::add(&self.metrics.heap_operations, 1);
        }
    }

    /// Takes a task out of the list that it waits in, if it does.
    pub fn leave_list(&self, task: &Task) {
        match task.waits.get() {
            Waits::Nothing => {}
            Waits::Fd(fd) => self.reactor.borrow_mut().forget(task, fd),
            Waits::Join(target) => {
                task.waits.set(Waits::Nothing);
                // SAFETY: a task that others wait for is alive: ending wakes them.
                unsafe { (*target).joiners.remove(task) };
            }
        }
    }

    /// Readies all that wait for a task, which has ended.
    pub fn ready_joiners(&self, task: &Task) {
        while let Some(joiner) = task.joiners.pop() {
            joiner.waits.set(Waits::Nothing);
            self.ready(joiner, Outcome::Ready(0));
        }
    }

    /// Readies all that wait for a descriptor, which is about to be closed.
    pub fn close_fd(&self, fd: c_int) {
        self.reactor.borrow_mut().close(fd, |task| self.ready(task, Outcome::Closed));
    }

    /// The living task at an address, which may be any.
    fn task_at(&self, address: *const Task, call: &str) -> Result<&Task> {
        let found = self.slab.borrow().find(address);
        found.filter(|task| !task.is(State::Exited)).ok_or_else(|| {
            log::warn(format_args!("{call}: {address:p} is not a living task of this scheduler"));
            Error::InvalidArgument
        })
    }

    /// Makes a task ready, whatever it waits for, even if it runs at the moment.
    pub fn enqueue(&self, address: *const Task) -> Result<()> {
        let task = self.task_at(address, "enqueue_runnable")?;
        if !task.queued.get() {
            self.ready(task, Outcome::Interrupted);
        }
        Ok(())
    }

    /// Ends a task's wait early. Returns whether it was waiting.
    pub fn wake(&self, task: &Task) -> bool {
        let parked = task.is_parked() && !task.queued.get();
        if parked {
            self.ready(task, Outcome::Interrupted);
        }
        parked
    }

    /// Tells a task to end.
    pub fn cancel(&self, task: &Task) {
        task.canceled.set(true);
        if task.is_parked() && !task.queued.get() {
            self.ready(task, Outcome::Canceled);
        }
    }

    /// Takes the first ready task out of the queue; null if there is none.
    pub fn dequeue(&self) -> *const Task {
        while let Some(task) = self.run_queue.pop() {
            if task.alive.get() {
                return task;
            }
            self.slab.borrow().free(task);
        }
        null()
    }
}

/// The living task at an address, which may be any, if its scheduler runs on this thread.
pub fn own_task<'t>(address: *const Task, call: &str) -> Result<(&'t Scheduler, &'t Task)> {
    let Some(scheduler) = current() else {
        log::warn(format_args!("{call}: no scheduler is running on this thread"));
        return Err(Error::NotInTask);
    };
    Ok((scheduler, scheduler.task_at(address, call)?))
}

//! Parking and readying: how tasks come to wait, and how a wait ends.
//!
//! A parked task is in a list, which `Task::waits` names, in the timer heap, in both, or in
//! neither. Whoever ends the wait calls [`Scheduler::ready`], which takes it out of what is left,
//! says how the wait ended, and queues it.

use std::ffi::{c_int, c_void};
use std::ptr::null;

use crate::engine::log;
use crate::engine::measure;
use crate::engine::scheduler::{Scheduler, current};
use crate::engine::sys::{Error, Result};
use crate::engine::task::NOT_IN_HEAP;
use crate::engine::task::{Outcome, State, Task, Waits};

impl Scheduler {
    /// Starts a task's timer.
    pub fn start_timer(&self, task: &Task, deadline_ns: u64) -> Result<()> {
        let serial = self.timer_serial.get();
        self.timers.insert(task, deadline_ns, serial)?;
        self.timer_serial.set(serial + 1);
        measure::add(&self.metrics.heap_operations, 1);
        Ok(())
    }

    /// Ends a task's wait, and puts it at the end of the run queue; or, if it waits for a
    /// condition, where it gets the mutex.
    pub fn ready(&self, task: &Task, outcome: Outcome) {
        let waited_for = task.waits.get();
        self.leave_list(task);
        self.cancel_timer(task);
        task.outcome.set(outcome);
        if let Waits::Condition(condvar) = waited_for {
            // SAFETY: a condition variable that a task has waited for until now is alive.
            if !unsafe { (*condvar).relock(self, task) } {
                return;
            }
        }
        task.set_state(State::Runnable);
        if !task.queued.get() {
            self.run_queue.push(task);
        }
    }

    /// Cancels a task's timer, if it has one.
    fn cancel_timer(&self, task: &Task) {
        if task.heap_index.get() != NOT_IN_HEAP {
            self.timers.remove(task);
            measure::add(&self.metrics.timer_cancellations, 1);
            measure::add(&self.metrics.heap_operations, 1);
        }
    }

    /// Takes a task out of the list that it waits in, if it does.
    pub fn leave_list(&self, task: &Task) {
        let waited_for = task.waits.get();
        if matches!(waited_for, Waits::Nothing | Waits::Turn(_)) {
            return; // It is in no list; of its turn it takes care itself.
        }
        self.unlink(task);
        if let Waits::Semaphore(semaphore) = waited_for {
            // SAFETY: a semaphore that a task has waited for until now is alive.
            unsafe { (*semaphore).serve(self) };
        }
    }

    /// The same, and has no effect on those who wait behind it.
    pub fn unlink(&self, task: &Task) {
        let waits = task.waits.get();
        if let Waits::Fd(fd) = waits {
            return self.reactor.borrow_mut().forget(task, fd);
        }
        task.waits.set(Waits::Nothing);
        // SAFETY: a task that others wait for is alive: ending wakes them. And so are the other
        // objects: those of C are not destroyed while a task waits for them, those of Rust are
        // borrowed by it. A task's cases are on its stack, or its caller's to keep.
        unsafe {
            match waits {
                Waits::Nothing | Waits::Fd(_) => {}
                Waits::Join(target) => (*target).joiners.remove(task),
                Waits::Mutex(mutex) | Waits::Relock(mutex) => (*mutex).waiters.remove(task),
                Waits::Turn(mutex) => (*mutex).forget_later(),
                Waits::Condition(condvar) => (*condvar).remove(task),
                Waits::Semaphore(semaphore) => (*semaphore).waiters.remove(task),
                Waits::WaitGroup(group) => (*group).waiters.remove(task),
                Waits::Channels(waiting) => (*waiting).leave(),
            }
        }
    }

    /// Takes all that wait for an object out of its lists: it is about to be gone. They wait on.
    #[cold]
    pub fn forget_object(&self, object: *const c_void) {
        let slots = self.slab.borrow().slots();
        for index in 0..slots {
            let Some(task) = self.slab.borrow().at(index) else { continue };
            // SAFETY: what a task waits for is alive.
            if unsafe { task.waits.get().is_for(object) } {
                self.unlink(task);
            }
        }
    }

    /// Readies all that wait for a task, which has ended, or for what it leaves behind.
    pub fn ready_joiners(&self, task: &Task) {
        while let Some(joiner) = task.joiners.pop() {
            joiner.waits.set(Waits::Nothing);
            self.ready(joiner, Outcome::Ready(0));
        }
        if task.locks.get() > 0 {
            self.abandon_locks(task);
        }
    }

    /// Tells those who wait for a mutex that it will never be unlocked: its owner has ended.
    #[cold]
    fn abandon_locks(&self, owner: &Task) {
        let count = owner.locks.get();
        log::error(format_args!("task {owner:p} has ended and left {count} mutexes locked"));
        // Not before: the log callback may lock more, and the slot is the next task's.
        owner.locks.set(0);
        let slots = self.slab.borrow().slots();
        for index in 0..slots {
            let Some(task) = self.slab.borrow().at(index) else { continue };
            if let Waits::Mutex(mutex) | Waits::Relock(mutex) = task.waits.get() {
                // SAFETY: a mutex that a task waits for is alive.
                if unsafe { (*mutex).is_owned_by(owner) } {
                    self.ready(task, Outcome::OwnerDied);
                }
            }
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
        if is_waiting(task) {
            self.ready(task, Outcome::Interrupted);
        } else if !task.queued.get() && !matches!(task.waits.get(), Waits::Relock(_)) {
            // It runs, or was taken out of the queue: then what ended its wait still holds.
            self.ready(task, task.outcome.get());
        }
        Ok(())
    }

    /// Ends a task's wait early. Returns whether it was waiting.
    pub fn wake(&self, task: &Task) -> bool {
        let waiting = is_waiting(task);
        if waiting {
            self.ready(task, Outcome::Interrupted);
        }
        waiting
    }

    /// Tells a task to end.
    pub fn cancel(&self, task: &Task) {
        task.canceled.set(true);
        if is_waiting(task) {
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

/// Whether a task is in a wait that can be ended.
fn is_waiting(task: &Task) -> bool {
    task.is_parked() && !task.queued.get() && !matches!(task.waits.get(), Waits::Relock(_))
}

/// The living task at an address, which may be any, if its scheduler runs on this thread.
pub fn own_task<'t>(address: *const Task, call: &str) -> Result<(&'t Scheduler, &'t Task)> {
    let Some(scheduler) = current() else {
        log::warn(format_args!("{call}: no scheduler is running on this thread"));
        return Err(Error::NotInTask);
    };
    Ok((scheduler, scheduler.task_at(address, call)?))
}

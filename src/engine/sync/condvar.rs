//! The condition variable, over a [`Mutex`].
//!
//! Whatever ends the wait for a condition, the task gets the mutex back before it goes on, and
//! queues for it at once: it is moved from this list to the mutex's without running in between. So
//! a signal is either taken by a task or was there for nobody, and a broadcast does not let a crowd
//! run that would only queue again.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{eq, null};

use super::{Home, Mutex, Object};
use crate::engine::scheduler::Scheduler;
use crate::engine::scheduler::block::suspend_parked;
use crate::engine::sys::KeptErrno;
use crate::engine::sys::{Error, Result};
use crate::engine::task::Waiters;
use crate::engine::task::{Outcome, State, Task, Waits};

const WAIT: &str = "mj_cond_wait";

/// A condition variable.
pub struct Condvar {
    home: Home,
    waiters: Waiters,
    /// The mutex of those who wait, or the last who did.
    mutex: Cell<*const Mutex>,
}

impl Object for Condvar {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        !self.waiters.is_empty()
    }
}

impl Condvar {
    pub const fn new(home: Home) -> Condvar {
        Condvar { home, waiters: Waiters::new(), mutex: Cell::new(null()) }
    }

    /// Unlocks the mutex, waits for a signal, and locks it again. It is locked on return, except
    /// when the error is that it was not, or that its owner has ended.
    pub fn wait(&self, mutex: &Mutex, timeout_ns: u64) -> Result<()> {
        let _errno = KeptErrno::keep();
        let (scheduler, task) = self.home.task(WAIT)?;
        mutex.home().task(WAIT)?;
        let deadline_ns = scheduler.limit_ns(timeout_ns);
        if !mutex.is_owned_by(task) {
            return Err(Error::NotOwner);
        }
        if task.is(State::Exited) {
            return Err(Error::Canceled);
        }
        if !self.waiters.is_empty() && !eq(self.mutex.get(), mutex) {
            return Err(Error::InvalidArgument);
        }
        let refused = if task.canceled.get() {
            Err(Error::Canceled)
        } else if task.queued.get() {
            Err(Error::Interrupted)
        } else {
            deadline_ns.map_or(Ok(()), |deadline_ns| scheduler.start_timer(task, deadline_ns))
        };
        if let Err(error) = refused {
            return Condvar::let_others_have(mutex, scheduler, task).and(Err(error));
        }
        self.mutex.set(mutex);
        self.waiters.push(task);
        task.waits.set(Waits::Condition(self));
        mutex.expect_later();
        mutex.hand_on(scheduler, task);
        suspend_parked((scheduler, task), State::WaitingIo).map(drop)
    }

    /// Lets the others have the mutex, and their turn, so that a loop around a wait that fails at
    /// once does not keep them from what it waits for.
    fn let_others_have(mutex: &Mutex, scheduler: &Scheduler, task: &Task) -> Result<()> {
        mutex.hand_on(scheduler, task);
        task.waits.set(Waits::Turn(mutex));
        mutex.expect_later();
        scheduler.yield_task(task);
        scheduler.unlink(task);
        task.outcome.set(Outcome::Ready(0));
        if mutex.relock(scheduler, task) {
            return if task.outcome.get() == Outcome::OwnerDied {
                Err(Error::OwnerDied)
            } else {
                Ok(())
            };
        }
        suspend_parked((scheduler, task), State::WaitingIo).map(drop)
    }

    /// Whether those who wait will want a mutex, given by its address.
    pub fn is_with(&self, mutex: *const c_void) -> bool {
        self.mutex.get().cast() == mutex
    }

    /// Takes a task out of the list.
    pub fn remove(&self, task: &Task) {
        self.waiters.remove(task);
        // SAFETY: a mutex is alive while a task waits that will want it.
        unsafe { (*self.mutex.get()).forget_later() };
    }

    /// [`Mutex::relock`] for a task that was in the list until now.
    pub fn relock(&self, scheduler: &Scheduler, task: &Task) -> bool {
        // SAFETY: as above; nothing has run since.
        unsafe { (*self.mutex.get()).relock(scheduler, task) }
    }

    /// Ends the longest wait.
    pub fn signal(&self) -> Result<()> {
        if let Some(scheduler) = self.home.visit()? {
            self.wake_first(scheduler);
        }
        Ok(())
    }

    /// Ends all waits, in their order.
    pub fn broadcast(&self) -> Result<()> {
        if let Some(scheduler) = self.home.visit()? {
            while self.wake_first(scheduler) {}
        }
        Ok(())
    }

    fn wake_first(&self, scheduler: &Scheduler) -> bool {
        let first = self.waiters.first();
        if let Some(task) = first {
            scheduler.ready(task, Outcome::Ready(0));
        }
        first.is_some()
    }
}

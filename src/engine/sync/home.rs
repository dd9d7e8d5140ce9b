//! An object's home: the scheduler that it was created for, or whose task uses it first.
//!
//! Objects may outlive their scheduler, so they hold a weak reference to it. When the scheduler has
//! been destroyed, the next scheduler whose task uses the object becomes its home.

use std::cell::Cell;
use std::ptr::eq;

use crate::engine::log;
use crate::engine::scheduler::{Running, Scheduler, current, running_task};
use crate::engine::sys::{Error, Result};
use crate::engine::threads::WeakRemote;

/// An object's weak reference to its scheduler.
pub struct Home {
    /// None before the first use.
    remote: Cell<Option<WeakRemote>>,
    /// How many calls use the object whose tasks have yielded before the call, and are in no wait queue.
    users: Cell<usize>,
}

impl Home {
    /// For an object that no scheduler uses yet.
    pub const fn none() -> Home {
        Home { remote: Cell::new(None), users: Cell::new(0) }
    }

    /// For an object of this scheduler.
    pub fn of(scheduler: &Scheduler) -> Home {
        Home { remote: Cell::new(Some(scheduler.remote.downgrade())), users: Cell::new(0) }
    }

    /// The scheduler, if there is one.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        // SAFETY: only this thread uses the object, and nothing replaces what is in the cell during
        // the look. What it points to is null, or a scheduler that is not destroyed.
        unsafe { (*self.remote.as_ptr()).as_ref()?.scheduler().cast::<Scheduler>().as_ref() }
    }

    /// The running task, for a call that may wait; an error if the task is of another scheduler.
    #[inline]
    pub fn current_task<'t>(&self) -> Result<Running<'t>> {
        let (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
        match self.scheduler() {
            Some(home) if eq(home, scheduler) => {}
            Some(_) => return Err(Error::WrongScheduler),
            None => self.remote.set(Some(scheduler.remote.downgrade())),
        }
        Ok((scheduler, task))
    }

    /// Counts a call that uses the object after it has yielded.
    pub fn add_user(&self) {
        self.users.set(self.users.get() + 1);
    }

    /// Uncounts it.
    pub fn remove_user(&self) {
        self.users.set(self.users.get() - 1);
    }

    pub fn has_users(&self) -> bool {
        self.users.get() > 0
    }

    /// The scheduler, if there is one, for a call that does not wait. Callers outside tasks are
    /// allowed; a task of another scheduler is not, nor another thread while this scheduler runs: that is
    /// a line in the log as well.
    pub fn for_caller(&self) -> Result<Option<&Scheduler>> {
        self.look_for_caller().inspect_err(report)
    }

    /// The scheduler, if there is one, for a destructor that releases something: that may run
    /// anywhere on the scheduler's thread.
    pub fn for_drop(&self) -> Result<Option<&Scheduler>> {
        self.look_for_drop().inspect_err(report)
    }

    /// [`for_caller`](Self::for_caller) without a line: the caller has one that names the call.
    pub fn look_for_caller(&self) -> Result<Option<&Scheduler>> {
        let Some(home) = self.scheduler() else { return Ok(None) };
        match current() {
            Some(scheduler) if eq(scheduler, home) => Ok(Some(home)),
            Some(_) => Err(Error::WrongScheduler),
            None => self.look_for_drop(),
        }
    }

    /// [`for_drop`](Self::for_drop), likewise.
    pub fn look_for_drop(&self) -> Result<Option<&Scheduler>> {
        match self.scheduler() {
            Some(home) if home.remote.runs_elsewhere() => Err(Error::WrongThread),
            home => Ok(home),
        }
    }
}

fn report(error: &Error) {
    if *error == Error::WrongThread {
        log::error(format_args!(
            "a mutex, channel or the like is used on another thread than the one that runs its \
             scheduler: the call is refused"
        ));
    }
}

//! Which scheduler an object belongs to: the one that it was made for, or whose task uses it first.
//!
//! Objects may outlive their scheduler, so they refer to it through what outlives it too. An object
//! whose scheduler is gone belongs to the next one whose task uses it.

use std::cell::Cell;
use std::ptr::eq;

use crate::engine::scheduler::{Running, Scheduler, current, running_task};
use crate::engine::sys::{Error, Result};
use crate::engine::threads::WeakRemote;

/// An object's reference to its scheduler.
pub struct Home {
    /// None before the first use.
    remote: Cell<Option<WeakRemote>>,
}

impl Home {
    /// That of an object that is not used yet.
    pub const fn none() -> Home {
        Home { remote: Cell::new(None) }
    }

    /// That of an object of a scheduler.
    pub fn of(scheduler: &Scheduler) -> Result<Home> {
        if scheduler.remote.runs_elsewhere() {
            return Err(Error::WrongThread);
        }
        Ok(Home { remote: Cell::new(Some(scheduler.remote.downgrade())) })
    }

    /// The scheduler, if there is one.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        // SAFETY: only this thread uses the object, and nothing replaces what is in the cell during
        // the look. What it points to is null, or a scheduler that is not destroyed.
        unsafe { (*self.remote.as_ptr()).as_ref()?.scheduler().cast::<Scheduler>().as_ref() }
    }

    /// The running task, which wants to wait, if it is of this scheduler.
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

    /// The scheduler, if there is one, for a call that does not wait: it may come from outside a
    /// task, but not from another scheduler, nor from another thread while this one runs.
    pub fn for_caller(&self) -> Result<Option<&Scheduler>> {
        let Some(home) = self.scheduler() else { return Ok(None) };
        match current() {
            Some(scheduler) if eq(scheduler, home) => Ok(Some(home)),
            Some(_) => Err(Error::WrongScheduler),
            None => self.for_drop(),
        }
    }

    /// The scheduler, if there is one, for a destructor that gives something back: that may run
    /// anywhere on the scheduler's thread.
    pub fn for_drop(&self) -> Result<Option<&Scheduler>> {
        match self.scheduler() {
            Some(home) if home.remote.runs_elsewhere() => Err(Error::WrongThread),
            home => Ok(home),
        }
    }
}

//! Which scheduler an object belongs to: the one that it was made for, or whose task uses it first.
//!
//! Objects may outlive their scheduler. So they refer to it through a note that they share, in
//! which its destruction is noted. An object whose scheduler is gone belongs to the next one whose
//! task uses it.

use std::cell::Cell;
use std::ptr::{eq, null, null_mut};
use std::sync::atomic::{
    AtomicPtr, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::engine::scheduler;
use crate::engine::scheduler::block::{Running, refuse};
use crate::engine::scheduler::{Scheduler, current};
use crate::engine::sys;
use crate::engine::sys::{Error, Result};

/// An object's part in its scheduler's note, or the scheduler's own.
pub struct Home {
    /// Null before the first use.
    note: Cell<*const Note>,
}

/// Atomic, since objects of a scheduler that is gone may be released on any threads.
struct Note {
    /// Null once it is destroyed.
    scheduler: AtomicPtr<Scheduler>,
    holders: AtomicUsize,
}

impl Home {
    /// That of an object that is not used yet, and of a scheduler without objects.
    pub const fn none() -> Home {
        Home { note: Cell::new(null()) }
    }

    /// That of an object of a scheduler.
    pub fn of(scheduler: &Scheduler) -> Result<Home> {
        if scheduler.runs_elsewhere() {
            return Err(Error::WrongThread);
        }
        let home = Home::none();
        home.move_to(scheduler)?;
        Ok(home)
    }

    fn note(&self) -> Option<&Note> {
        // SAFETY: it lives as long as one holds it.
        unsafe { self.note.get().as_ref() }
    }

    /// Makes this a part of a scheduler's note.
    #[cold]
    fn move_to(&self, scheduler: &Scheduler) -> Result<()> {
        if scheduler.home.note().is_none() {
            let note = sys::allocate::<Note>(1);
            if note.is_null() {
                return Err(Error::OutOfMemory);
            }
            // SAFETY: fresh memory for one.
            unsafe {
                note.write(Note {
                    scheduler: AtomicPtr::new(scheduler.address()),
                    holders: AtomicUsize::new(1),
                });
            }
            scheduler.home.note.set(note);
        }
        self.let_go();
        if let Some(note) = scheduler.home.note() {
            note.holders.fetch_add(1, Relaxed);
            self.note.set(note);
        }
        Ok(())
    }

    fn let_go(&self) {
        let address = self.note.replace(null());
        // SAFETY: held until now.
        let Some(note) = (unsafe { address.as_ref() }) else { return };
        if note.holders.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: from `move_to`, and nobody else holds it.
            unsafe { sys::free(address.cast_mut().cast()) };
        }
    }

    /// The scheduler, if there is one.
    pub fn scheduler(&self) -> Option<&Scheduler> {
        // SAFETY: a scheduler that is not destroyed.
        unsafe { self.note()?.scheduler.load(Acquire).as_ref() }
    }

    /// The running task, which wants to wait, if it is of this scheduler.
    #[inline]
    pub fn task<'t>(&self, call: &str) -> Result<Running<'t>> {
        let Some((scheduler, task)) = scheduler::running_task() else {
            refuse(call);
            return Err(Error::NotInTask);
        };
        match self.scheduler() {
            Some(home) if eq(home, scheduler) => {}
            Some(_) => return Err(Error::WrongScheduler),
            None => self.move_to(scheduler)?,
        }
        Ok((scheduler, task))
    }

    /// The scheduler, if there is one, for a call that does not wait: it may come from outside a
    /// task, but not from another scheduler, nor from another thread while this one runs.
    pub fn visit(&self) -> Result<Option<&Scheduler>> {
        let Some(home) = self.scheduler() else { return Ok(None) };
        match current() {
            Some(scheduler) if eq(scheduler, home) => Ok(Some(home)),
            Some(_) => Err(Error::WrongScheduler),
            None => self.reach(),
        }
    }

    /// The scheduler, if there is one, for a destructor that gives something back: that may run
    /// anywhere on the scheduler's thread.
    pub fn reach(&self) -> Result<Option<&Scheduler>> {
        match self.scheduler() {
            Some(home) if home.runs_elsewhere() => Err(Error::WrongThread),
            home => Ok(home),
        }
    }

    /// Notes that the scheduler is gone. Only by itself.
    pub fn close(&self) {
        if let Some(note) = self.note() {
            note.scheduler.store(null_mut(), Release);
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.let_go();
    }
}

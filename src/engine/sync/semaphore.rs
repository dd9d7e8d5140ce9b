//! The counting semaphore. Who wants several permits waits for all of them at once, and those
//! behind wait for it, or many small requests would keep a large one waiting for ever.

use std::cell::Cell;

use super::{Home, Object};
use crate::engine::scheduler::Scheduler;
use crate::engine::scheduler::block;
use crate::engine::sys::{Error, Result};
use crate::engine::task::Waiters;
use crate::engine::task::{Outcome, Waits};

const ACQUIRE: &str = "mj_semaphore_acquire";

/// A semaphore.
pub struct Semaphore {
    home: Home,
    available: Cell<u32>,
    /// Those who want permits; how many is in `Task::interest`. The first wants more than there
    /// are.
    pub waiters: Waiters,
}

impl Object for Semaphore {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        !self.waiters.is_empty()
    }
}

impl Semaphore {
    pub const fn new(home: Home, permits: u32) -> Semaphore {
        Semaphore { home, available: Cell::new(permits), waiters: Waiters::new() }
    }

    /// Takes permits, once those before it have theirs.
    pub fn acquire(&self, permits: u32, timeout_ns: u64) -> Result<()> {
        self.home.task(ACQUIRE)?;
        if self.take(permits) {
            return Ok(());
        }
        block::wait(ACQUIRE, timeout_ns, |task| {
            if self.take(permits) {
                return Ok(false);
            }
            self.waiters.push(task);
            task.waits.set(Waits::Semaphore(self));
            task.interest.set(permits);
            Ok(true)
        })
        .map(drop)
    }

    /// Takes permits, if there are as many and nobody waits.
    pub fn try_acquire(&self, permits: u32) -> Result<()> {
        self.home.visit()?;
        if self.take(permits) { Ok(()) } else { Err(Error::WouldBlock) }
    }

    fn take(&self, permits: u32) -> bool {
        let left = self.available.get().checked_sub(permits).filter(|_| self.waiters.is_empty());
        if let Some(left) = left {
            self.available.set(left);
        }
        left.is_some()
    }

    /// Adds permits.
    pub fn release(&self, permits: u32) -> Result<()> {
        self.add(self.home.visit()?, permits)
    }

    /// The same, from wherever a destructor runs.
    pub fn give_back(&self, permits: u32) -> Result<()> {
        self.add(self.home.reach()?, permits)
    }

    fn add(&self, scheduler: Option<&Scheduler>, permits: u32) -> Result<()> {
        let sum = self.available.get().checked_add(permits).ok_or(Error::Overflow)?;
        self.available.set(sum);
        if let Some(scheduler) = scheduler {
            self.serve(scheduler);
        }
        Ok(())
    }

    /// How many permits there are to take.
    pub fn available(&self) -> u32 {
        self.available.get()
    }

    /// Gives the first in the list what they want, as far as it goes.
    pub fn serve(&self, scheduler: &Scheduler) {
        while let Some(task) = self.waiters.first() {
            let Some(left) = self.available.get().checked_sub(task.interest.get()) else { return };
            self.available.set(left);
            self.waiters.remove(task);
            task.waits.set(Waits::Nothing);
            scheduler.ready(task, Outcome::Ready(0));
        }
    }
}

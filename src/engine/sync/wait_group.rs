//! The wait group: waits until as many things are done as were added.

use std::cell::Cell;

use super::{Home, Object};
use crate::engine::scheduler::Scheduler;
use crate::engine::scheduler::block;
use crate::engine::sys::{Error, Result};
use crate::engine::task::Waiters;
use crate::engine::task::{Outcome, Waits};

const WAIT: &str = "mj_waitgroup_wait";

/// A wait group.
pub struct WaitGroup {
    home: Home,
    /// How much is still to be done.
    left: Cell<usize>,
    /// None when there is nothing left.
    pub waiters: Waiters,
}

impl Object for WaitGroup {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        !self.waiters.is_empty()
    }
}

impl WaitGroup {
    pub const fn new(home: Home) -> WaitGroup {
        WaitGroup { home, left: Cell::new(0), waiters: Waiters::new() }
    }

    /// Adds to what is to be done.
    pub fn add(&self, count: usize) -> Result<()> {
        self.home.visit()?;
        self.left.set(self.left.get().checked_add(count).ok_or(Error::Overflow)?);
        Ok(())
    }

    /// One thing is done. When it was the last, readies all that wait.
    pub fn done(&self) -> Result<()> {
        self.finish_one(self.home.visit()?)
    }

    /// The same, from wherever a destructor runs.
    pub fn leave(&self) -> Result<()> {
        self.finish_one(self.home.reach()?)
    }

    fn finish_one(&self, scheduler: Option<&Scheduler>) -> Result<()> {
        self.left.set(self.left.get().checked_sub(1).ok_or(Error::InvalidArgument)?);
        if let Some(scheduler) = scheduler
            && self.left.get() == 0
        {
            while let Some(task) = self.waiters.pop() {
                task.waits.set(Waits::Nothing);
                scheduler.ready(task, Outcome::Ready(0));
            }
        }
        Ok(())
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.left.get() == 0
    }

    /// Waits until nothing is left.
    pub fn wait(&self, timeout_ns: u64) -> Result<()> {
        self.home.task(WAIT)?;
        if self.left.get() == 0 {
            return Ok(());
        }
        block::wait(WAIT, timeout_ns, |task| {
            if self.left.get() == 0 {
                return Ok(false);
            }
            self.waiters.push(task);
            task.waits.set(Waits::WaitGroup(self));
            Ok(true)
        })
        .map(drop)
    }
}

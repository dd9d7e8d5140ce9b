//! The wait group: waits until as many things are done as were added.

use std::cell::Cell;

use super::home::Home;
use super::object::Object;
use crate::engine::scheduler::{Limit, Running, Scheduler, wait_listed};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Outcome, SchedulerRef, Task, Wait, WaitKind, WaitQueue};

/// The task is in the wait group's list.
static WAIT_GROUP: WaitKind = WaitKind::new(c"wait group", unlink);

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, group: usize, task: &Task) {
    // SAFETY: a wait group that a task waits for is alive.
    unsafe { (*(group as *const WaitGroup)).waiters.remove(task) };
}

/// A wait group.
pub struct WaitGroup {
    home: Home,
    /// How much is still to be done.
    left: Cell<usize>,
    /// None when there is nothing left.
    pub waiters: WaitQueue<Task>,
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
        WaitGroup { home, left: Cell::new(0), waiters: WaitQueue::new() }
    }

    /// Adds to what is to be done.
    pub fn add(&self, count: usize) -> Result<()> {
        self.home.for_caller()?;
        self.left.set(self.left.get().checked_add(count).ok_or(Error::Overflow)?);
        Ok(())
    }

    /// One thing is done. When it was the last, readies all that wait.
    pub fn done(&self) -> Result<()> {
        self.finish_one(self.home.for_caller()?)
    }

    /// The same, from wherever a destructor runs.
    pub fn leave(&self) -> Result<()> {
        self.finish_one(self.home.for_drop()?)
    }

    fn finish_one(&self, scheduler: Option<&Scheduler>) -> Result<()> {
        self.left.set(self.left.get().checked_sub(1).ok_or(Error::InvalidArgument)?);
        if let Some(scheduler) = scheduler
            && self.left.get() == 0
        {
            while scheduler.wake_first(&self.waiters, Outcome::Ready(0)) {}
        }
        Ok(())
    }

    /// Whether nothing is left.
    pub fn is_done(&self) -> bool {
        self.left.get() == 0
    }

    /// Waits until nothing is left.
    pub fn wait(&self, limit: Limit) -> Result<()> {
        self.home.current_task()?;
        if self.is_done() {
            return Ok(());
        }
        let look = |_: Running<'_>| Ok(self.is_done().then_some(0));
        wait_listed(limit, look, |task| {
            self.waiters.push(task);
            Wait::on(&WAIT_GROUP, self)
        })
        .map(drop)
    }
}

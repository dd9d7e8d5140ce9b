//! The wait group: a counter, and tasks that wait until it is 0.

use std::cell::Cell;
use std::mem::offset_of;

use super::home::Home;
use super::object::Object;
use crate::engine::scheduler::{Limit, Running, Scheduler, wait};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Outcome, SchedulerRef, Task, Wait, WaitKind, WaitQueue};

/// The task is in the wait group's wait queue.
static WAIT_GROUP: WaitKind = WaitKind::new(c"wait group", unlink);

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, group: usize, task: &Task) {
    // SAFETY: a wait group that a task waits for is alive.
    unsafe { (*(group as *const WaitGroup)).waiters.remove(task) };
}

/// A wait group.
#[repr(C)]
pub struct WaitGroup {
    home: Home,
    /// The counter.
    left: Cell<usize>,
    /// Empty while the counter is 0.
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
    /// For debuggers.
    pub const LEFT_OFFSET: usize = offset_of!(WaitGroup, left);

    pub const fn new(home: Home) -> WaitGroup {
        WaitGroup { home, left: Cell::new(0), waiters: WaitQueue::new() }
    }

    /// Adds to the counter.
    pub fn add(&self, count: usize) -> Result<()> {
        self.home.for_caller()?;
        self.left.set(self.left.get().checked_add(count).ok_or(Error::Overflow)?);
        Ok(())
    }

    /// Decrements the counter. At 0 wakes all waiters.
    pub fn done(&self) -> Result<()> {
        self.finish_one(self.home.for_caller()?)
    }

    /// [`done`](Self::done) for a destructor.
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

    /// Whether the counter is 0.
    pub fn is_done(&self) -> bool {
        self.left.get() == 0
    }

    /// Waits until the counter is 0.
    pub fn wait(&self, limit: Limit) -> Result<()> {
        self.begin_call()?;
        let look = |_: Running<'_>| Ok(self.is_done().then_some(0));
        let list = |(_, task): Running<'_>| {
            self.waiters.push(task);
            Ok(Wait::on(&WAIT_GROUP, self))
        };
        wait(limit, look, list).map(drop)
    }
}

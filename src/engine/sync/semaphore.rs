//! The counting semaphore. Who wants several permits waits for all of them at once, and those
//! behind wait for it, or many small requests would keep a large one waiting for ever.

use std::cell::Cell;

use super::home::Home;
use super::object::Object;
use crate::engine::scheduler::{Limit, Running, Scheduler, wait_listed};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Left, Outcome, SchedulerRef, Task, Wait, WaitKind, WaitQueue};

/// The task is in the semaphore's list.
static SEMAPHORE: WaitKind = WaitKind { leave: Some(leave), ..WaitKind::new(c"semaphore", unlink) };

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, semaphore: usize, task: &Task) {
    // SAFETY: a semaphore that a task waits for is alive.
    unsafe { (*(semaphore as *const Semaphore)).waiters.remove(task) };
}

/// Those behind may want less than the one that leaves.
///
/// # Safety
/// As [`WaitKind::leave`].
unsafe fn leave(scheduler: SchedulerRef, semaphore: usize, task: &Task) -> Left {
    // SAFETY: as above, and as this function's contract says.
    let (semaphore, scheduler) =
        unsafe { (&*(semaphore as *const Semaphore), Scheduler::of(scheduler)) };
    semaphore.waiters.remove(task);
    semaphore.serve(scheduler);
    Left::Now
}

/// A semaphore.
pub struct Semaphore {
    home: Home,
    available: Cell<u32>,
    /// Those who want permits; how many is in `Task::interest`. The first wants more than there
    /// are.
    pub waiters: WaitQueue<Task>,
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
        Semaphore { home, available: Cell::new(permits), waiters: WaitQueue::new() }
    }

    /// Takes permits, once those before it have theirs.
    pub fn acquire(&self, permits: u32, limit: Limit) -> Result<()> {
        self.home.current_task()?;
        if self.take(permits) {
            return Ok(());
        }
        let look = |_: Running<'_>| Ok(self.take(permits).then_some(0));
        wait_listed(limit, look, |task| {
            self.waiters.push(task);
            task.interest.set(permits);
            Wait::on(&SEMAPHORE, self)
        })
        .map(drop)
    }

    /// Takes permits, if there are as many and nobody waits.
    pub fn try_acquire(&self, permits: u32) -> Result<()> {
        self.home.for_caller()?;
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
        self.add(self.home.for_caller()?, permits)
    }

    /// The same, from wherever a destructor runs.
    pub fn give_back(&self, permits: u32) -> Result<()> {
        self.add(self.home.for_drop()?, permits)
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
            scheduler.wake_first(&self.waiters, Outcome::Ready(0));
        }
    }
}

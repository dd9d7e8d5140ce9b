//! The counting semaphore. FIFO: a small request waits behind an earlier large one, which many
//! small requests would starve otherwise. A request gets all its permits at once.

use std::cell::Cell;
use std::mem::offset_of;

use super::home::Home;
use super::object::Object;
use crate::engine::scheduler::{Limit, Running, Scheduler, wait};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Left, Outcome, SchedulerRef, Task, Wait, WaitKind, WaitQueue};

/// The task is in the semaphore's wait queue.
static SEMAPHORE: WaitKind = WaitKind { leave: Some(leave), ..WaitKind::new(c"semaphore", unlink) };

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, semaphore: usize, task: &Task) {
    // SAFETY: a semaphore that a task waits for is alive.
    unsafe { (*(semaphore as *const Semaphore)).waiters.remove(task) };
}

/// Later waiters may need fewer permits than the one that leaves.
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
#[repr(C)]
pub struct Semaphore {
    home: Home,
    available: Cell<u32>,
    /// `Task::interest` is the number of permits that a waiter needs. The first waiter needs more
    /// than are available.
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
    /// For debuggers.
    pub const AVAILABLE_OFFSET: usize = offset_of!(Semaphore, available);

    pub const fn new(home: Home, permits: u32) -> Semaphore {
        Semaphore { home, available: Cell::new(permits), waiters: WaitQueue::new() }
    }

    /// Acquires permits, in FIFO order.
    pub fn acquire(&self, permits: u32, limit: Limit) -> Result<()> {
        self.begin_call()?;
        let look = |_: Running<'_>| Ok(self.take(permits).then_some(0));
        let list = |(_, task): Running<'_>| {
            self.waiters.push(task);
            task.interest.set(permits);
            Ok(Wait::on(&SEMAPHORE, self))
        };
        wait(limit, look, list).map(drop)
    }

    /// Acquires permits, if they are available and no task waits.
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

    /// Releases permits.
    pub fn release(&self, permits: u32) -> Result<()> {
        self.add(self.home.for_caller()?, permits)
    }

    /// [`release`](Self::release) for a destructor.
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

    /// The number of available permits.
    pub fn available(&self) -> u32 {
        self.available.get()
    }

    /// Grants permits to waiters in FIFO order, while they suffice.
    pub fn serve(&self, scheduler: &Scheduler) {
        while let Some(task) = self.waiters.first() {
            let Some(left) = self.available.get().checked_sub(task.interest.get()) else { return };
            self.available.set(left);
            scheduler.wake_first(&self.waiters, Outcome::Ready(0));
        }
    }
}

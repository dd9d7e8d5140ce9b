//! The mutex: it belongs to the task that locked it, and is handed to the next one that waits.
//!
//! One that a task leaves locked when it ends stays so: nobody knows what state it protects is in,
//! and in the safe API a leaked guard may still give access. Who waits for it is told.

use std::cell::Cell;

use super::home::Home;
use super::object::Object;
use crate::engine::log;
use crate::engine::scheduler::{Limit, Scheduler, wait_listed};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Outcome, SchedulerRef, Task, Wait, WaitKind, WaitQueue};

/// The task is in the mutex's list.
static LOCK: WaitKind = WaitKind::new(c"mutex", unlink);

/// The same, after a wait for a condition: the task goes on when the mutex is its own, and by
/// nothing else. `Task::outcome` is that of the wait for the condition.
static RELOCK: WaitKind = WaitKind { interruptible: false, ..WaitKind::new(c"mutex", unlink) };

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, mutex: usize, task: &Task) {
    // SAFETY: a mutex that a task waits for is alive.
    unsafe { (*(mutex as *const Mutex)).waiters.remove(task) };
}

/// A mutex.
pub struct Mutex {
    home: Home,
    /// The id of the task that has locked it, 0 if none has.
    owner: Cell<u64>,
    /// Those who want it next. None while it is not locked.
    pub waiters: WaitQueue<Task>,
    /// How many tasks are in the middle of a wait for a condition, and will want it then.
    pending_relocks: Cell<usize>,
}

impl Object for Mutex {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        let owner_lives = self.home.scheduler().is_some_and(|scheduler| {
            self.owner.get() != 0 && scheduler.tasks.find_id(self.owner.get()).is_some()
        });
        owner_lives || !self.waiters.is_empty() || self.pending_relocks.get() > 0
    }
}

impl Mutex {
    pub const fn new(home: Home) -> Mutex {
        Mutex {
            home,
            owner: Cell::new(0),
            waiters: WaitQueue::new(),
            pending_relocks: Cell::new(0),
        }
    }

    /// Locks it for the running task, once those before it are through.
    pub fn lock(&self, limit: Limit) -> Result<()> {
        let (_, task) = self.home.current_task()?;
        if self.try_acquire(task) {
            return Ok(());
        }
        let look = |(scheduler, task): (&Scheduler, &Task)| {
            if self.try_acquire(task) {
                return Ok(Some(0));
            }
            self.check_deadlock(scheduler, task).map(|()| None)
        };
        wait_listed(limit, look, |task| {
            self.waiters.push(task);
            Wait::on(&LOCK, self)
        })
        .map(drop)
    }

    /// Locks it if nobody has.
    pub fn try_lock(&self) -> Result<()> {
        let (scheduler, task) = self.home.current_task()?;
        if self.try_acquire(task) {
            return Ok(());
        }
        self.check_deadlock(scheduler, task)?;
        Err(Error::Busy)
    }

    /// Refuses a wait that would never end.
    fn check_deadlock(&self, scheduler: &Scheduler, task: &Task) -> Result<()> {
        if self.is_owned_by(task) {
            return Err(Error::Deadlock);
        }
        match scheduler.tasks.find_id(self.owner.get()) {
            Some(_) => Ok(()),
            None => Err(Error::OwnerDied),
        }
    }

    /// Unlocks it, if it is the running task's own.
    pub fn unlock(&self) -> Result<()> {
        let (scheduler, task) = self.home.current_task()?;
        if !self.is_owned_by(task) {
            return Err(Error::NotOwner);
        }
        self.unlock_for(scheduler, task);
        Ok(())
    }

    /// Unlocks it, whoever's it is, for a guard that is dropped: the guard proves that it is locked.
    pub fn release(&self) {
        let Ok(home) = self.home.for_drop() else { return };
        let Some(scheduler) = home else { return self.owner.set(0) };
        let owner = scheduler.tasks.find_id(self.owner.get());
        match owner {
            Some(owner) => self.unlock_for(scheduler, owner),
            None => self.hand_off(scheduler),
        }
    }

    pub fn is_owned_by(&self, task: &Task) -> bool {
        self.owner.get() == task.id.get()
    }

    fn try_acquire(&self, task: &Task) -> bool {
        let free = self.owner.get() == 0;
        if free {
            self.acquire(task);
        }
        free
    }

    fn acquire(&self, task: &Task) {
        self.owner.set(task.id.get());
        task.locks.set(task.locks.get().saturating_add(1));
        task.at_end.set(Some(wake_with_owner_died));
    }

    /// Takes it from its owner, and gives it to the next one.
    pub fn unlock_for(&self, scheduler: &Scheduler, owner: &Task) {
        owner.locks.set(owner.locks.get().saturating_sub(1));
        self.hand_off(scheduler);
    }

    fn hand_off(&self, scheduler: &Scheduler) {
        let Some(task) = self.waiters.first() else {
            return self.owner.set(0);
        };
        self.acquire(task);
        let outcome =
            if task.wait.get().is(&RELOCK) { task.outcome.get() } else { Outcome::Ready(0) };
        scheduler.wake_first(&self.waiters, outcome);
    }

    /// A task that waits for a condition will want it.
    pub fn add_pending_relock(&self) {
        self.pending_relocks.set(self.pending_relocks.get() + 1);
    }

    /// It wants it now, or never.
    pub fn remove_pending_relock(&self) {
        self.pending_relocks.set(self.pending_relocks.get() - 1);
    }

    /// Locks it for a task whose wait for a condition is over. Returns whether the task can go on:
    /// if not it waits, and nothing but the mutex ends that.
    pub fn relock(&self, scheduler: &Scheduler, task: &Task) -> bool {
        if self.try_acquire(task) {
            return true;
        }
        if scheduler.tasks.find_id(self.owner.get()).is_none() {
            task.outcome.set(Outcome::OwnerDied);
            return true;
        }
        self.waiters.push(task);
        task.wait.set(Wait::on(&RELOCK, self));
        false
    }
}

/// Tells those who wait for a mutex that it will never be unlocked: its owner has ended.
///
/// # Safety
/// `owner` is a task of the scheduler.
unsafe fn wake_with_owner_died(scheduler: SchedulerRef, owner: &Task) {
    let count = owner.locks.get();
    if count == 0 {
        return;
    }
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    log::error(format_args!("task {owner:p} has ended and left {count} mutexes locked"));
    // Not before: the log callback may lock more, and the slot is the next task's.
    owner.locks.set(0);
    owner.at_end.set(None);
    for task in scheduler.tasks.iter() {
        let wait = task.wait.get();
        if wait.is(&LOCK) || wait.is(&RELOCK) {
            // SAFETY: a mutex that a task waits for is alive.
            let mutex = unsafe { &*(wait.object() as *const Mutex) };
            if mutex.is_owned_by(owner) {
                scheduler.force(task, Outcome::OwnerDied);
            }
        }
    }
}

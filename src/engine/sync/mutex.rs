//! The mutex: owned by the task that locked it, and handed off to the next waiter.
//!
//! A mutex whose owner ends stays locked: the state that it protects may be inconsistent, and in
//! the Rust API a leaked guard may still give access. Its waiters are woken with
//! [`Error::OwnerDied`].

use std::cell::Cell;
use std::mem::offset_of;
use std::ptr::{from_ref, null};

use super::home::Home;
use super::object::Object;
use crate::engine::log::{self, Counted};
use crate::engine::scheduler::{Limit, Running, Scheduler, wait};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Holders, Outcome, SchedulerRef, Task, Wait, WaitKind, WaitQueue};

/// The task is in the mutex's wait queue.
static LOCK: WaitKind = WaitKind { holders: Some(&OWNER), ..WaitKind::new(c"mutex", unlink) };

/// The task relocks after a condition wait: only the mutex ends this wait. `Task::outcome` is the
/// outcome of the condition wait.
static RELOCK: WaitKind =
    WaitKind { interruptible: false, holders: Some(&OWNER), ..WaitKind::new(c"mutex", unlink) };

static OWNER: Holders = Holders { words: "held by", one_suffices: false, next: next_owner };

/// # Safety
/// As [`Holders::next`].
unsafe fn next_owner(scheduler: SchedulerRef, mutex: usize, owners: &mut usize) -> *const Task {
    // SAFETY: a mutex that a task waits for is alive; and as this function's contract says.
    let (mutex, scheduler) = unsafe { (&*(mutex as *const Mutex), Scheduler::of(scheduler)) };
    let find = || scheduler.tasks.find_id(mutex.owner.get());
    Holders::only(owners, || find().map_or(null(), from_ref))
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, mutex: usize, task: &Task) {
    // SAFETY: a mutex that a task waits for is alive.
    unsafe { (*(mutex as *const Mutex)).waiters.remove(task) };
}

/// A mutex.
#[repr(C)]
pub struct Mutex {
    home: Home,
    /// The id of the owner, 0 while it is unlocked.
    owner: Cell<u64>,
    /// Empty while it is unlocked.
    pub waiters: WaitQueue<Task>,
    /// How many tasks are in a condition wait that will relock it.
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
    /// For debuggers.
    pub const OWNER_OFFSET: usize = offset_of!(Mutex, owner);

    pub const fn new(home: Home) -> Mutex {
        Mutex {
            home,
            owner: Cell::new(0),
            waiters: WaitQueue::new(),
            pending_relocks: Cell::new(0),
        }
    }

    /// Locks it for the running task, in FIFO order.
    pub fn lock(&self, limit: Limit) -> Result<()> {
        self.begin_call()?;
        let look = |(scheduler, task): Running<'_>| {
            if self.try_acquire(task) {
                return Ok(Some(0));
            }
            self.check_deadlock(scheduler, task).map(|()| None)
        };
        let list = |(_, task): Running<'_>| {
            self.waiters.push(task);
            Ok(Wait::on(&LOCK, self))
        };
        wait(limit, look, list).map(drop)
    }

    /// Locks it if it is unlocked.
    pub fn try_lock(&self) -> Result<()> {
        let (scheduler, task) = self.home.current_task()?;
        if self.try_acquire(task) {
            return Ok(());
        }
        self.check_deadlock(scheduler, task)?;
        Err(Error::WouldBlock)
    }

    /// An error if a wait would never end: the owner is this task, or has ended.
    fn check_deadlock(&self, scheduler: &Scheduler, task: &Task) -> Result<()> {
        if self.is_owned_by(task) {
            return Err(Error::Deadlock);
        }
        match scheduler.tasks.find_id(self.owner.get()) {
            Some(_) => Ok(()),
            None => Err(Error::OwnerDied),
        }
    }

    /// Unlocks it, if the running task owns it.
    pub fn unlock(&self) -> Result<()> {
        let (scheduler, task) = self.home.current_task()?;
        if !self.is_owned_by(task) {
            return Err(Error::NotOwner);
        }
        self.unlock_for(scheduler, task);
        Ok(())
    }

    /// Unlocks it for whichever task owns it, for a guard that is dropped: the guard proves that it
    /// is locked.
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

    /// Unlocks it for its owner, and hands it off to the next waiter.
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

    /// Counts a condition waiter that will relock it.
    pub fn add_pending_relock(&self) {
        self.pending_relocks.set(self.pending_relocks.get() + 1);
    }

    /// Uncounts it: it relocks now, or never will.
    pub fn remove_pending_relock(&self) {
        self.pending_relocks.set(self.pending_relocks.get() - 1);
    }

    /// Relocks it for a task whose condition wait is over. Returns whether the task is ready; if
    /// not, it waits for the mutex, uninterruptibly.
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

/// The end hook of a task that has locked mutexes: wakes their waiters with [`Error::OwnerDied`].
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
    log::error(format_args!(
        "task {:#x} has ended and left {} locked for good: unlock before a task ends",
        owner.id.get(),
        Counted(count as usize, "mutex", "mutexes")
    ));
    // Only after the line: the log callback may lock more mutexes, and the slot will be reused.
    owner.locks.set(0);
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

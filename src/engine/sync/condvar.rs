//! The condition variable, over a [`Mutex`].
//!
//! Whatever ends the wait, the task relocks the mutex before its call returns: it is moved from
//! this wait queue to the mutex's without running in between (wait morphing). So a signal wakes
//! exactly one waiter, or none if there is none, and a broadcast causes no thundering herd.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::{eq, null};

use super::home::Home;
use super::mutex::Mutex;
use super::object::Object;
use crate::engine::scheduler::{Limit, Scheduler, suspend_parked};
use crate::engine::sys::{ErrnoGuard, Error, Result};
use crate::engine::task::{
    Left, ObjectKind, Outcome, SchedulerRef, State, Task, Wait, WaitKind, WaitQueue,
};

/// The task is in the condition variable's wait queue, and relocks the mutex afterwards.
static CONDITION: WaitKind = WaitKind {
    expires_at_once: true,
    leave: Some(leave),
    concerns,
    ..WaitKind::new(c"condition", unlink)
};

/// The task yields in the middle of a wait, and will relock the mutex, which is the object. It is
/// in no wait queue.
static PENDING_RELOCK: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    is_yield: true,
    ..WaitKind::new(c"its turn", unlink_pending)
};

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, condvar: usize, task: &Task) {
    // SAFETY: a condition variable that a task waits for is alive.
    unsafe { (*(condvar as *const Condvar)).remove(task) };
}

/// # Safety
/// As [`WaitKind::leave`].
unsafe fn leave(scheduler: SchedulerRef, condvar: usize, task: &Task) -> Left {
    // SAFETY: as above, and as this function's contract says.
    let (condvar, scheduler) = unsafe { (&*(condvar as *const Condvar), Scheduler::of(scheduler)) };
    condvar.remove(task);
    // SAFETY: a mutex is alive while a task waits that will relock it; nothing has run since.
    let mutex = unsafe { &*condvar.mutex.get() };
    if mutex.relock(scheduler, task) { Left::Now } else { Left::Later }
}

/// # Safety
/// The condition variable is alive.
unsafe fn concerns(condvar: usize, object: *const c_void) -> bool {
    // SAFETY: as this function's contract says.
    let mutex = unsafe { (*(condvar as *const Condvar)).mutex.get() };
    condvar == object as usize || mutex.cast() == object
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink_pending(_: SchedulerRef, mutex: usize, _: &Task) {
    // SAFETY: as in `leave`.
    unsafe { (*(mutex as *const Mutex)).remove_pending_relock() };
}

/// A condition variable.
#[repr(C)]
pub struct Condvar {
    home: Home,
    waiters: WaitQueue<Task>,
    /// The mutex of the current or latest waiters.
    mutex: Cell<*const Mutex>,
}

impl Object for Condvar {
    fn home(&self) -> &Home {
        &self.home
    }

    fn is_in_use(&self) -> bool {
        !self.waiters.is_empty()
    }
}

impl Condvar {
    /// For debuggers.
    pub const MUTEX_OFFSET: usize = offset_of!(Condvar, mutex);

    pub const fn new(home: Home) -> Condvar {
        Condvar { home, waiters: WaitQueue::new(), mutex: Cell::new(null()) }
    }

    /// Unlocks the mutex, waits for a signal, and relocks the mutex. It is locked on return, except
    /// after [`Error::NotOwner`] and [`Error::OwnerDied`].
    pub fn wait(&self, mutex: &Mutex, mut limit: Limit) -> Result<()> {
        let _errno = ErrnoGuard::save();
        let (scheduler, task) = self.home.current_task()?;
        mutex.home().current_task()?;
        let deadline_ns = scheduler.resolve_deadline(task, &mut limit.deadline);
        if !mutex.is_owned_by(task) {
            return Err(Error::NotOwner);
        }
        if task.is(State::Exited) {
            return Err(Error::Canceled);
        }
        if !self.waiters.is_empty() && !eq(self.mutex.get(), mutex) {
            return Err(Error::InvalidArgument);
        }
        let refused = if task.is_canceled() {
            Err(Error::Canceled)
        } else if task.queued.get() {
            Err(Error::Interrupted)
        } else {
            deadline_ns.map_or(Ok(()), |deadline_ns| scheduler.start_timer(task, deadline_ns))
        };
        if let Err(error) = refused {
            return Condvar::yield_mutex(mutex, scheduler, task).and(Err(error));
        }
        self.mutex.set(mutex);
        self.waiters.push(task);
        task.wait.set(Wait::on(&CONDITION, self));
        mutex.add_pending_relock();
        mutex.unlock_for(scheduler, task);
        suspend_parked((scheduler, task), State::WaitingIo).map(drop)
    }

    /// Unlocks the mutex, yields, and relocks it, so that a loop around a wait that fails at once
    /// does not starve the tasks that would signal.
    fn yield_mutex(mutex: &Mutex, scheduler: &Scheduler, task: &Task) -> Result<()> {
        mutex.unlock_for(scheduler, task);
        task.wait.set(Wait::on(&PENDING_RELOCK, mutex));
        mutex.add_pending_relock();
        scheduler.yield_task(task);
        scheduler.unlink(task);
        task.outcome.set(Outcome::Ready(0));
        if mutex.relock(scheduler, task) {
            return task.outcome.get().result().map(drop);
        }
        suspend_parked((scheduler, task), State::WaitingIo).map(drop)
    }

    /// Unlinks a task from the wait queue.
    fn remove(&self, task: &Task) {
        self.waiters.remove(task);
        // SAFETY: a mutex is alive while a task waits that will relock it.
        unsafe { (*self.mutex.get()).remove_pending_relock() };
    }

    /// Wakes the task that has waited longest.
    pub fn signal(&self) -> Result<()> {
        if let Some(scheduler) = self.home.for_caller()? {
            self.wake_first(scheduler);
        }
        Ok(())
    }

    /// Wakes all waiters, in FIFO order.
    pub fn broadcast(&self) -> Result<()> {
        if let Some(scheduler) = self.home.for_caller()? {
            while self.wake_first(scheduler) {}
        }
        Ok(())
    }

    fn wake_first(&self, scheduler: &Scheduler) -> bool {
        let first = self.waiters.first();
        if let Some(task) = first {
            // Ready once it has relocked the mutex.
            scheduler.end_wait(task, Outcome::Ready(0));
        }
        first.is_some()
    }
}

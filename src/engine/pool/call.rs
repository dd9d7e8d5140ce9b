//! The call: a task has a function run, and waits for it.

use std::cell::Cell;
use std::ptr::NonNull;

use super::class::Class;
use super::job::{CALL, Job, Work};
use super::process::workers_of;
use super::workers::NotBegun;
use crate::engine::scheduler::{Running, Scheduler, running_task, wait_for_begun};
use crate::engine::sys::{self, ErrnoGuard, Error, Result};
use crate::engine::task::{Left, ObjectKind, SchedulerRef, Task, Wait, WaitKind};
use crate::engine::time::Deadline;

/// The task waits for a job.
static JOB: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    leave: Some(leave),
    only_by_cancel: true,
    lost_in_child: true,
    ..WaitKind::new(c"job", unlink)
};

/// The task waits for the function to end, whatever happens to it.
static BEGUN_JOB: WaitKind = WaitKind { interruptible: false, ..JOB };

/// What has become of a function that the call does not wait for any more: in `Task::interest`.
const NOT_BEGUN: u32 = 0;
const OF_THE_POOL: u32 = 1;

/// Runs a function on a thread of the pool; the running task waits meanwhile. A wake-up does not end the
/// wait.
///
/// [`Error::Canceled`] and [`Error::TimedOut`]: the argument is the pool's, and `abandon` is called with
/// it once: it was, on this thread, if the function has not begun, and will not; else a thread of the pool
/// calls it after the function. Without `abandon` these are only returned if the function has not begun.
/// With every other error the function does not run, and `abandon` is not called: but with
/// [`Error::OwnerDied`], in a child of fork(), where the function runs in the parent only.
///
/// # Safety
/// The functions may be called with the argument, on any thread. What it points to stays valid until the
/// function has ended: if there is an `abandon`, until that has been called or this returns otherwise.
pub unsafe fn run(class: Class, work: Work, deadline: Deadline) -> Result<()> {
    let running = running_task().ok_or(Error::NotInTask)?;
    // Who posts it wakes this process.
    running.0.reinit_after_fork()?;
    let going_on = Wait::on(&CALL, &raw const work);
    running.1.wait.set(going_on);
    let has_begun = Cell::new(false);
    let begin = |(scheduler, task): Running<'_>| {
        // Not before: a task that is destroyed before it waits leaves nothing behind.
        let job = Job::allocate((scheduler, task), class, &work)?;
        has_begun.set(true);
        task.interest.set(OF_THE_POOL);
        // SAFETY: made above.
        unsafe {
            job.as_ref().begin(scheduler);
            workers_of(class).add(job);
        }
        Ok(Wait::on(&JOB, job.as_ptr()))
    };
    let result = wait_for_begun(deadline, begin);
    running.1.wait.set(Wait::NONE);
    let is_in_pool = has_begun.get() && running.1.interest.get() == OF_THE_POOL;
    if !is_in_pool && matches!(result, Err(Error::Canceled | Error::TimedOut)) {
        // SAFETY: as this function's contract says; nobody runs the function.
        unsafe { work.abandon() };
    }
    result.map(drop)
}

/// How the task's side leaves a job.
enum Way {
    /// It has left: the function has not begun, and will not.
    NotBegun,
    /// It has left: the rest is the pool's.
    Left,
    /// Not before the function has ended, and the message has come.
    Stays,
}

/// The task wants to leave.
///
/// # Safety
/// The job is alive, since its task waits for it, or did until now.
unsafe fn try_to_leave(scheduler: &Scheduler, job: NonNull<Job>) -> Way {
    // SAFETY: as this function's contract says.
    let this = unsafe { job.as_ref() };
    if !this.is_of_this_process() {
        // A copy, of which nobody else here knows, unless it is in the mailbox.
        this.leave(scheduler);
        if this.forget_poster() {
            // SAFETY: it is not there, and has no thread.
            unsafe { Job::keep(job, scheduler) };
        }
        return Way::Left;
    }
    match workers_of(this.class).withdraw(this) {
        Some(place) => {
            this.leave(scheduler);
            if let NotBegun::Free = place {
                // SAFETY: it was taken out of the queue.
                unsafe { Job::keep(job, scheduler) };
            }
            Way::NotBegun
        }
        None => {
            if !this.try_abandon() {
                return Way::Stays;
            }
            // The job may be gone by now.
            scheduler.message_has_come();
            scheduler.remote.uncount_poster();
            Way::Left
        }
    }
}

/// The task is canceled, or its time is over.
///
/// # Safety
/// As [`WaitKind::leave`].
unsafe fn leave(scheduler: SchedulerRef, job: usize, task: &Task) -> Left {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    let Some(job) = NonNull::new(job as *mut Job) else { return Left::Now };
    // SAFETY: the task waits for it.
    let goes_on = unsafe { job.as_ref() }.goes_on();
    // SAFETY: as above.
    match unsafe { try_to_leave(scheduler, job) } {
        Way::NotBegun => {
            task.interest.set(NOT_BEGUN);
            task.wait.set(goes_on);
        }
        Way::Left => {}
        Way::Stays => {
            task.wait.set(Wait::on(&BEGUN_JOB, job.as_ptr()));
            return Left::Later;
        }
    }
    Left::Now
}

/// The task is not there any more: its scheduler is being destroyed.
///
/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(scheduler: SchedulerRef, job: usize, _: &Task) {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    let Some(job) = NonNull::new(job as *mut Job) else { return };
    // SAFETY: the task waits for it.
    let work = unsafe { job.as_ref() }.work;
    let _errno = ErrnoGuard::save();
    // SAFETY: as above.
    match unsafe { try_to_leave(scheduler, job) } {
        Way::NotBegun => {}
        Way::Left => return,
        Way::Stays => {
            // SAFETY: only the message frees it, on this thread.
            let this = unsafe { job.as_ref() };
            while !this.is_done() {
                sys::sleep_ns(100_000);
            }
            this.leave(scheduler);
        }
    }
    // SAFETY: the function does not run.
    unsafe { work.abandon() };
}

//! Waiting for a descriptor.

use std::cell::Cell;
use std::ffi::c_int;
use std::fmt;

use super::block::{Limit, Running, check_can_block, is_told_now, running, wait};
use super::object::{Scheduler, current};
use crate::engine::io::{EVENTS, FAILURE, READABLE, WRITABLE};
use crate::engine::sys::{self, ErrnoGuard, Error, Result};
use crate::engine::task::{ObjectKind, Outcome, SchedulerRef, State, Task, Wait, WaitKind};
use crate::engine::time::Deadline;
use crate::engine::{log, measure};

/// The task is in the reactor's list for the descriptor.
static DESCRIPTOR: WaitKind =
    WaitKind { object: ObjectKind::Descriptor, ..WaitKind::new(c"fd", unlink) };

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(scheduler: SchedulerRef, fd: usize, task: &Task) {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    scheduler.io.reactor.borrow_mut().remove_waiter(task, fd as c_int);
}

/// Suspends the running task until one of the `events` of a descriptor happens, and returns those
/// that did.
pub fn wait_fd(fd: c_int, events: u32, limit: Limit) -> Result<u32> {
    let _errno = ErrnoGuard::save();
    let events = events & !FAILURE; // Asked for or not, they are told.
    if events & !EVENTS != 0 {
        return Err(Error::InvalidArgument);
    }
    let (scheduler, task) = running()?;
    log::debug(format_args!("Task {task:p} waiting for fd {fd} to become {}", EventNames(events)));
    if limit.deadline == Deadline::In(0) && !scheduler.is_internal(fd) {
        let result = yield_and_poll(fd, events);
        if let Err(error @ Error::Os(_)) = result {
            report_failure(task, fd, error);
        }
        return result;
    }
    let refused = Cell::new(false);
    let list = |(scheduler, task): Running<'_>| {
        let begun = scheduler.begin_wait(task, fd, events);
        refused.set(begun.is_err());
        begun.map(|()| Wait::on_number(&DESCRIPTOR, fd as usize))
    };
    let result = wait(limit, |_| Ok(None), list);
    // The loop may not have polled since the deadline passed, and a canceled task is told what has
    // happened too: poll once more.
    let (result, late) = match result {
        Err(Error::TimedOut) => (scheduler.poll_late(task, fd, events), true),
        Err(Error::Canceled) => {
            let poll = || scheduler.poll_late(task, fd, events);
            (poll_canceled((scheduler, task), fd, poll), false)
        }
        result => (result, false),
    };
    if late {
        measure::add(&scheduler.metrics.io_events, u64::from(result.is_ok()));
    }
    if let Err(error) = result
        && (refused.get()
            || late && error != Error::TimedOut
            || task.outcome.get() == Outcome::Failed(error))
    {
        report_failure(task, fd, error);
    }
    // Yield, so that a loop around the call does not starve other tasks; but not if the program's
    // log callback has just marked this task as ended.
    if refused.get()
        && let Ok((scheduler, task)) = running()
    {
        scheduler.yield_task(task);
    }
    result.map(|happened| happened & (events | FAILURE))
}

#[track_caller]
#[cold]
fn report_failure(task: &Task, fd: c_int, error: Error) {
    log::error(format_args!("task {task:p} cannot wait for fd {fd}: {error}"));
}

/// Yields, so that a loop around the call can be stopped, and polls a descriptor once.
fn yield_and_poll(fd: c_int, events: u32) -> Result<u32> {
    let (scheduler, task) = running()?;
    match check_can_block((scheduler, task)) {
        Ok(()) => scheduler.yield_task(task),
        Err(Error::Canceled) => {} // It has yielded.
        Err(error) => return Err(error),
    }
    let poll = || poll(fd, events);
    if task.is_canceled() { poll_canceled((scheduler, task), fd, poll) } else { poll() }
}

/// Polls a descriptor for a canceled task: an event if there is one, but not for ever.
fn poll_canceled(
    (scheduler, task): Running<'_>,
    fd: c_int,
    poll: impl FnOnce() -> Result<u32>,
) -> Result<u32> {
    if task.is(State::Exited) || scheduler.is_internal(fd) || is_told_now(task) {
        return Err(Error::Canceled);
    }
    poll().map_err(|_| Error::Canceled)
}

/// Polls a descriptor once, without waiting.
fn poll(fd: c_int, events: u32) -> Result<u32> {
    match sys::poll_now(fd, events)? {
        0 => Err(Error::TimedOut),
        happened => Ok(happened),
    }
}

impl Scheduler {
    /// Whether a descriptor is one of the scheduler's own two. A child of fork() may have closed
    /// those and opened others under their numbers.
    fn is_internal(&self, fd: c_int) -> bool {
        let is_internal = || self.io.reactor.borrow().is_internal(fd);
        is_internal()
            && (self.remote.is_of_this_process() || {
                let _ = self.reinit_after_fork(); // If it fails, they are taken for what they were.
                is_internal()
            })
    }

    fn begin_wait(&self, task: &Task, fd: c_int, events: u32) -> Result<()> {
        let begin = || self.io.reactor.borrow_mut().wait(task, fd, events);
        match begin() {
            Err(Error::InvalidArgument) if !self.is_internal(fd) => begin(),
            result => result,
        }
    }

    /// Polls a descriptor after the time limit of a wait for it. Another file may have the number.
    #[cold]
    fn poll_late(&self, task: &Task, fd: c_int, events: u32) -> Result<u32> {
        let happened = poll(fd, events)?;
        if self.remote.is_of_this_process()
            && self.io.reactor.borrow_mut().was_left_behind(task, fd)
        {
            return Err(Error::Os(libc::EBADF));
        }
        Ok(happened)
    }
}

/// Formats the events of a wait.
struct EventNames(u32);

impl fmt::Display for EventNames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 & READABLE != 0, self.0 & WRITABLE != 0) {
            (true, false) => out.write_str("readable"),
            (false, true) => out.write_str("writable"),
            (true, true) => out.write_str("readable or writable"),
            (false, false) => write!(out, "ready (events {:#x})", self.0),
        }
    }
}

/// [`Scheduler::close_fd`] of the scheduler that runs on this thread, if one does.
pub fn close_fd(fd: c_int) -> Result<()> {
    match current() {
        Some(scheduler) => scheduler.close_fd(fd),
        None => sys::close_checked(fd),
    }
}

impl Scheduler {
    /// Wakes the tasks that wait for a descriptor, and closes it. [`Error::Busy`] for the
    /// scheduler's own descriptors.
    pub fn close_fd(&self, fd: c_int) -> Result<()> {
        let owns_epoll_set = self.reinit_after_fork().is_ok();
        if self.is_internal(fd) {
            return Err(Error::Busy);
        }
        let ready = |task: &Task, outcome| self.ready(task, outcome);
        self.io.reactor.borrow_mut().close(fd, owns_epoll_set, &ready);
        sys::close_checked(fd)
    }
}

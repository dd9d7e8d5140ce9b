//! The calls that suspend: yield, sleep, wait for a descriptor, join.
//!
//! All work alike. First comes what may call the program: a log line, and the clock for the time
//! limit. Then [`enter`] finds the running task, or says why it must not wait. The call puts the
//! task where whoever ends the wait will find it: in a list, which `Task::waits` names, in the
//! timer heap, or both. [`park`] suspends it. When it is ready again it is in neither, and
//! `Task::outcome` says how the wait ended.

use std::ffi::c_int;
use std::ptr::{eq, from_ref};

use crate::engine::io::{EVENTS, FAILURE, READABLE, WRITABLE};
use crate::engine::log;
use crate::engine::scheduler::{SERVICE_NS, Scheduler, current, running_task};
use crate::engine::sys;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Outcome, State, Task, Waits};

// The names of the calls, for messages.
const SLEEP: &str = "mj_task_sleep";
const PARK: &str = "mj_task_park";
const WAIT_FD: &str = "mj_task_wait_fd";
const JOIN: &str = "mj_task_join";

/// A time limit that never comes.
pub const FOREVER: u64 = u64::MAX;

/// A task that runs, and its scheduler.
pub type Running<'t> = (&'t Scheduler, &'t Task);

/// The running task, if there is one and it has not ended.
#[inline(always)]
pub fn running<'t>(call: &str) -> Result<Running<'t>> {
    match running_task() {
        Some((_, task)) if task.is(State::Exited) => Err(Error::Canceled),
        Some(running) => Ok(running),
        None => {
            refuse(call);
            Err(Error::NotInTask)
        }
    }
}

#[cold]
pub fn refuse(call: &str) {
    log::warn(format_args!("{call}: {}", Error::NotInTask));
}

/// The running task, if it may wait. A task that is canceled or woken already only lets the others
/// have their turn, so that a loop around the call does not starve them.
fn enter<'t>(call: &str) -> Result<Running<'t>> {
    let (scheduler, task) = running(call)?;
    if task.canceled.get() {
        scheduler.yield_task(task);
        return Err(Error::Canceled);
    }
    if task.queued.get() {
        scheduler.suspend(task);
        return Err(Error::Interrupted);
    }
    Ok((scheduler, task))
}

/// Suspends a task that is in the list that it wants to be in, until it is readied or `deadline_ns`
/// comes. When there is no memory for the timer, the others still get their turn, and a loop around
/// the call can be stopped.
fn park((scheduler, task): Running<'_>, state: State, deadline_ns: Option<u64>) -> Result<u32> {
    if let Some(deadline_ns) = deadline_ns
        && let Err(error) = scheduler.start_timer(task, deadline_ns)
    {
        scheduler.leave_list(task);
        scheduler.yield_task(task);
        return Err(error);
    }
    suspend_parked((scheduler, task), state)
}

/// Suspends a task whose list and timer have been seen to.
pub fn suspend_parked((scheduler, task): Running<'_>, state: State) -> Result<u32> {
    task.set_state(state);
    scheduler.suspend(task);
    match task.outcome.get() {
        Outcome::Ready(events) => Ok(events),
        Outcome::TimedOut => Err(Error::TimedOut),
        Outcome::Interrupted => Err(Error::Interrupted),
        Outcome::Canceled => Err(Error::Canceled),
        Outcome::Closed => Err(Error::Os(libc::EBADF)),
        Outcome::Failed(error) => Err(error),
        Outcome::OwnerDied => Err(Error::OwnerDied),
    }
}

/// What the objects of [`crate::engine::sync`] do when there is something to wait for. `begin` looks
/// once more, since the clock may have called the program: it returns whether it has put the task
/// in a list.
pub fn wait(call: &str, timeout_ns: u64, begin: impl FnOnce(&Task) -> Result<bool>) -> Result<u32> {
    let _errno = sys::KeptErrno::keep();
    let (scheduler, _) = running(call)?;
    let deadline_ns = scheduler.limit_ns(timeout_ns);
    let running = enter(call)?;
    if begin(running.1)? { park(running, State::WaitingIo, deadline_ns) } else { Ok(0) }
}

impl Scheduler {
    /// Lets the others have their turn, so that a loop around the call can be stopped, and looks at
    /// a descriptor without waiting.
    fn yield_and_poll(&self, task: &Task, fd: c_int, events: u32) -> Result<u32> {
        self.yield_task(task);
        if task.canceled.get() { Err(Error::Canceled) } else { sys::poll_now(fd, events) }
    }

    /// Makes the loop come round in time for a timer that is about to be started.
    fn expect_timer(&self, in_ns: u64) {
        if in_ns < SERVICE_NS && !self.clock.has_own() {
            let due = self.clock.ticks().wrapping_add(self.clock.ns_to_ticks(in_ns));
            self.next_service.set(self.next_service.get().min(due));
        }
    }

    /// When a time limit that begins now is over.
    fn deadline_ns(&self, timeout_ns: u64) -> u64 {
        self.expect_timer(timeout_ns);
        self.clock.deadline_now_ns().saturating_add(timeout_ns)
    }

    /// The same for a limit that may be [`FOREVER`].
    pub fn limit_ns(&self, timeout_ns: u64) -> Option<u64> {
        (timeout_ns != FOREVER).then(|| self.deadline_ns(timeout_ns))
    }
}

/// Marks the running task as ended.
pub fn exit() {
    match running_task() {
        Some((_, task)) => task.set_state(State::Exited),
        None => refuse("mj_task_exit"),
    }
}

/// Apart, and `extern "C"`, which does not unwind: a call that may makes each yield keep a frame.
#[cold]
#[inline(never)]
extern "C" fn refuse_yield() {
    refuse("mj_task_yield");
}

/// Lets the other ready tasks run.
#[inline(always)]
pub fn yield_now() -> Result<()> {
    let Some((scheduler, task)) = running_task() else {
        refuse_yield();
        return Err(Error::NotInTask);
    };
    if task.is(State::Exited) {
        return Err(Error::Canceled);
    }
    scheduler.yield_task(task);
    if task.canceled.get() { Err(Error::Canceled) } else { Ok(()) }
}

/// Suspends the running task for at least that long.
pub fn sleep(ns: u64) -> Result<()> {
    let _errno = sys::KeptErrno::keep();
    let (scheduler, _) = running(SLEEP)?;
    let deadline_ns = scheduler.deadline_ns(ns);
    sleep_until_deadline(enter(SLEEP)?, deadline_ns)
}

/// Suspends the running task until its scheduler's clock says so.
pub fn sleep_until(deadline_ns: u64) -> Result<()> {
    let _errno = sys::KeptErrno::keep();
    let (scheduler, _) = running(SLEEP)?;
    scheduler.expect_timer(deadline_ns.saturating_sub(scheduler.clock.deadline_now_ns()));
    sleep_until_deadline(enter(SLEEP)?, deadline_ns)
}

fn sleep_until_deadline(running: Running<'_>, deadline_ns: u64) -> Result<()> {
    match park(running, State::Sleeping, Some(deadline_ns)) {
        Err(Error::TimedOut) => Ok(()),
        Err(error) => {
            if error == Error::OutOfMemory {
                let task = running.1;
                log::error(format_args!("task {task:p} goes on without sleeping: {error}"));
            }
            Err(error)
        }
        Ok(_) => Ok(()),
    }
}

/// Suspends the running task until another one, or a wait function, makes it ready.
pub fn park_until_woken(timeout_ns: u64) -> Result<()> {
    let _errno = sys::KeptErrno::keep();
    let (scheduler, _) = running(PARK)?;
    let deadline_ns = scheduler.limit_ns(timeout_ns);
    match enter(PARK).and_then(|running| park(running, State::Sleeping, deadline_ns)) {
        Ok(_) | Err(Error::Interrupted) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Suspends the running task until one of the `events` of a descriptor happens, and returns those
/// that did; none when the time is over.
pub fn wait_fd(fd: c_int, events: u32, timeout_ns: u64) -> Result<u32> {
    let _errno = sys::KeptErrno::keep();
    let events = events & !FAILURE; // Asked for or not, they are told.
    if events & !EVENTS != 0 {
        return Err(Error::InvalidArgument);
    }
    let (scheduler, task) = running(WAIT_FD)?;
    log::debug(format_args!("Task {task:p} waiting for fd {fd} to become {}", EventNames(events)));
    let deadline_ns = scheduler.limit_ns(timeout_ns);
    let running = enter(WAIT_FD)?;
    if timeout_ns == 0 {
        return scheduler.yield_and_poll(task, fd, events);
    }
    let begun = scheduler.reactor.borrow_mut().wait(task, fd, events);
    if let Err(error) = begun {
        log_failed_wait(task, fd, error);
        // Unless the program's log callback has just marked it as ended.
        if !task.is(State::Exited) {
            scheduler.yield_task(task);
        }
        return Err(error);
    }
    match park(running, State::WaitingIo, deadline_ns) {
        Ok(happened) => Ok(happened & (events | FAILURE)),
        Err(Error::TimedOut) => Ok(0),
        Err(error) => {
            if task.outcome.get() == Outcome::Failed(error) {
                log_failed_wait(task, fd, error);
            }
            Err(error)
        }
    }
}

#[cold]
fn log_failed_wait(task: &Task, fd: c_int, error: Error) {
    log::error(format_args!("task {task:p} cannot wait for fd {fd}: {error}"));
}

/// What is waited for, in words.
struct EventNames(u32);

impl std::fmt::Display for EventNames {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0 & READABLE != 0, self.0 & WRITABLE != 0) {
            (true, false) => out.write_str("readable"),
            (false, true) => out.write_str("writable"),
            (true, true) => out.write_str("readable or writable"),
            (false, false) => write!(out, "ready (events {:#x})", self.0),
        }
    }
}

/// Closes a descriptor, after readying the tasks that wait for it. Not one that the scheduler itself
/// needs.
pub fn close_fd(fd: c_int) -> Result<()> {
    if let Some(scheduler) = current() {
        if scheduler.reactor.borrow().is_own(fd) {
            log::error(format_args!("mj_fd_close: fd {fd} is the scheduler's own"));
            return Err(Error::Busy);
        }
        scheduler.close_fd(fd);
    }
    sys::close_checked(fd)
}

/// Suspends the running task until another one has ended.
pub fn join(id: u64, timeout_ns: u64) -> Result<()> {
    let _errno = sys::KeptErrno::keep();
    let (scheduler, task) = running(JOIN)?;
    let deadline_ns = scheduler.limit_ns(timeout_ns);
    let running = enter(JOIN)?;
    let target = scheduler.slab.borrow().find_id(id).ok_or(Error::NoSuchTask)?;
    if eq(target, task) {
        return Err(Error::Deadlock);
    }
    target.joiners.push(task);
    task.waits.set(Waits::Join(from_ref(target)));
    match park(running, State::WaitingIo, deadline_ns) {
        // It has ended after the time was over, and before it was this task's turn.
        Err(Error::TimedOut) if scheduler.slab.borrow().find_id(id).is_none() => Ok(()),
        result => result.map(drop),
    }
}

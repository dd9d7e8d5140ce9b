//! The calls that suspend: what they share, and yield, sleep and park.
//!
//! All work alike. First comes what may call the program: the clock, for the deadline. Then
//! [`check_can_block`] makes sure that the task may wait. The call puts the task where whoever ends the wait
//! will find it: in a list, which `Task::wait` names, in the timer heap, or both. [`park`] suspends
//! it. When the call returns it is in neither, and `Task::outcome` says how the wait ended.

use super::io::MIN_POLL_INTERVAL_NS;
use super::object::{Scheduler, running_task};
use crate::engine::log;
use crate::engine::sys::{ErrnoGuard, Error, Result};
use crate::engine::task::{Left, Outcome, State, Task, Wait};
use crate::engine::time::Deadline;

/// A task that runs, and its scheduler.
pub type Running<'t> = (&'t Scheduler, &'t Task);

/// How long a call waits.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub deadline: Deadline,
    pub on_wake: OnWake,
}

/// What a wake-up does that is not from what a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWake {
    /// Ends the call, with [`Error::Interrupted`].
    Return,
    /// Nothing: the call goes on waiting.
    Retry,
}

impl Limit {
    /// As C has it: a timeout in nanoseconds, `u64::MAX` for none; a wake-up ends the call.
    pub const fn after_ns(timeout_ns: u64) -> Limit {
        Limit::until(Deadline::after_ns(timeout_ns))
    }

    /// A wake-up ends the call.
    pub const fn until(deadline: Deadline) -> Limit {
        Limit { deadline, on_wake: OnWake::Return }
    }

    /// The call goes on through wake-ups.
    pub const fn uninterrupted(deadline: Deadline) -> Limit {
        Limit { deadline, on_wake: OnWake::Retry }
    }
}

/// The running task, if there is one and it has not ended.
#[inline(always)]
pub fn running<'t>() -> Result<Running<'t>> {
    match running_task() {
        Some((_, task)) if task.is(State::Exited) => Err(Error::Canceled),
        Some(running) => Ok(running),
        None => Err(Error::NotInTask),
    }
}

/// Whether the running task may wait. One that is canceled or woken already only lets the others
/// have their turn, so that a loop around the call does not starve them.
pub(super) fn check_can_block((scheduler, task): Running<'_>) -> Result<()> {
    if task.is(State::Exited) {
        return Err(Error::Canceled);
    }
    if task.canceled.get() {
        scheduler.yield_task(task);
        return Err(Error::Canceled);
    }
    if task.queued.get() {
        scheduler.suspend(task);
        return Err(Error::Interrupted);
    }
    Ok(())
}

/// Suspends a task that is in the list that it wants to be in, until it is readied or `deadline_ns`
/// comes. When there is no memory for the timer, the others still get their turn, and a loop around
/// the call can be stopped.
fn park((scheduler, task): Running<'_>, state: State, deadline_ns: Option<u64>) -> Result<u32> {
    if let Some(deadline_ns) = deadline_ns
        && let Err(error) = scheduler.start_timer(task, deadline_ns)
    {
        scheduler.end_wait(task, Outcome::Failed(error));
        scheduler.suspend(task);
        return Err(error);
    }
    suspend_parked((scheduler, task), state)
}

/// Suspends a task whose list and timer have been seen to.
pub fn suspend_parked((scheduler, task): Running<'_>, state: State) -> Result<u32> {
    loop {
        task.set_state(state);
        scheduler.suspend(task);
        // One whose deadline has passed is still in its list, unless it was served since. Leaving
        // may mean to wait for something else first.
        if task.outcome.get() != Outcome::TimedOut || scheduler.leave(task) == Left::Now {
            return task.outcome.get().result();
        }
    }
}

/// What a call that may have to wait has come to before it waits.
pub enum Attempt {
    /// It need not.
    Done(u32),
    /// The task is in a list, of this.
    Waiting(Wait),
}

/// Waits for an object. `begin` takes what is there, or puts the task in the object's list, without
/// switching or calling the program.
pub fn wait(
    mut limit: Limit,
    mut begin: impl FnMut(Running<'_>) -> Result<Attempt>,
) -> Result<u32> {
    let _errno = ErrnoGuard::save();
    let running = running()?;
    let deadline_ns = running.0.resolve_deadline(&mut limit.deadline);
    let mut once = || {
        check_can_block(running)?;
        match begin(running)? {
            Attempt::Done(result) => Ok(result),
            Attempt::Waiting(wait) => {
                running.1.wait.set(wait);
                park(running, State::WaitingIo, deadline_ns)
            }
        }
    };
    loop {
        match once() {
            Err(Error::Interrupted) if limit.on_wake == OnWake::Retry => {}
            result => return result,
        }
    }
}

/// [`wait`] where beginning is to look, and else to be in a list: `list` puts the task in it, and
/// says which.
pub fn wait_listed(
    limit: Limit,
    look: impl Fn(Running<'_>) -> Result<Option<u32>>,
    list: impl Fn(&Task) -> Wait,
) -> Result<u32> {
    let begin = |running: Running<'_>| match look(running)? {
        Some(result) => Ok(Attempt::Done(result)),
        None => Ok(Attempt::Waiting(list(running.1))),
    };
    wait(limit, begin)
}

impl Scheduler {
    /// Makes the loop come round in time for a timer that is about to be started.
    fn expect_timer(&self, in_ns: u64) {
        if in_ns < MIN_POLL_INTERVAL_NS && !self.time.clock.has_custom() {
            let clock = &self.time.clock;
            let due = clock.ticks().wrapping_add(clock.ns_to_ticks(in_ns));
            self.dispatch.yield_by(due, &self.remote);
        }
    }

    /// The moment of a deadline, if there is one. May call the program's clock.
    pub fn resolve_deadline(&self, deadline: &mut Deadline) -> Option<u64> {
        if let Deadline::In(ns) = *deadline {
            self.expect_timer(ns);
        }
        deadline.resolve(&self.time.clock)
    }
}

/// Marks the running task as ended.
pub fn exit() -> Result<()> {
    let (_, task) = running_task().ok_or(Error::NotInTask)?;
    task.set_state(State::Exited);
    Ok(())
}

/// Lets the other ready tasks run.
#[inline(always)]
pub fn yield_now() -> Result<()> {
    let (scheduler, task) = running()?;
    scheduler.yield_task(task);
    if task.canceled.get() { Err(Error::Canceled) } else { Ok(()) }
}

/// Suspends the running task until a moment.
pub fn sleep(limit: Limit) -> Result<()> {
    match park_until(limit) {
        Err(Error::TimedOut) => Ok(()),
        Err(Error::OutOfMemory) => {
            if let Some((_, task)) = running_task() {
                let error = Error::OutOfMemory;
                log::error(format_args!("task {task:p} goes on without sleeping: {error}"));
            }
            Err(Error::OutOfMemory)
        }
        result => result,
    }
}

/// Suspends the running task until another one, or a wait function, makes it ready.
pub fn park_until_woken(deadline: Deadline) -> Result<()> {
    match park_until(Limit::until(deadline)) {
        Err(Error::Interrupted) => Ok(()),
        // Woken after the deadline, and before it was this task's turn.
        Err(Error::TimedOut) if running_task().is_some_and(|(_, task)| task.woken.get()) => Ok(()),
        result => result,
    }
}

/// Suspends the running task, which is in no list.
fn park_until(mut limit: Limit) -> Result<()> {
    let _errno = ErrnoGuard::save();
    let running = running()?;
    if let Deadline::At(moment_ns) = limit.deadline {
        let clock = &running.0.time.clock;
        running.0.expect_timer(moment_ns.saturating_sub(clock.now_ns()));
    }
    let deadline_ns = running.0.resolve_deadline(&mut limit.deadline);
    loop {
        running.1.woken.set(false);
        match check_can_block(running).and_then(|()| park(running, State::Sleeping, deadline_ns)) {
            Err(Error::Interrupted) if limit.on_wake == OnWake::Retry => {}
            result => return result.map(drop),
        }
    }
}

//! The calls that suspend: what they share, and yield, sleep and park.
//!
//! All work alike. First the deadline is computed, which may call the program's clock: that of the call
//! or that of the task (`deadline.rs`), whichever is earlier. Then
//! [`check_can_block`] checks that the task may block. The call links the task into a wait queue,
//! which `Task::wait` names, into the timer heap, or both. [`park`] suspends it. When the call
//! returns the task is in neither, and `Task::outcome` says how the wait ended.

use std::ptr::{self, from_ref};

use super::object::{Scheduler, running_task};
use crate::engine::log;
use crate::engine::sys::{ErrnoGuard, Error, Result};
use crate::engine::task::{Left, Outcome, State, Task, Wait, probe};
use crate::engine::time::Deadline;

/// The running task and its scheduler.
pub type Running<'t> = (&'t Scheduler, &'t Task);

/// How long a call waits.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub deadline: Deadline,
    pub on_wake: OnWake,
}

/// What `mj_task_wake` and the like do to a call that waits for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWake {
    /// Ends the call, with [`Error::Interrupted`].
    Return,
    /// Nothing: the call waits again.
    Retry,
}

impl Limit {
    /// C's timeouts: nanoseconds, `u64::MAX` for none; a wake-up ends the call.
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

/// An error if the running task must not block, because it is canceled, or has been woken already.
/// It yields first, so that a loop around the call does not starve other tasks.
pub(super) fn check_can_block((scheduler, task): Running<'_>) -> Result<()> {
    if task.is(State::Exited) {
        return Err(Error::Canceled);
    }
    if task.is_canceled() {
        scheduler.yield_task(task);
        return Err(Error::Canceled);
    }
    if task.queued.get() {
        scheduler.suspend(task);
        return Err(Error::Interrupted);
    }
    Ok(())
}

/// Suspends a task that is in its wait queue, until it is made ready or `deadline_ns` passes.
/// Without memory for the timer the task yields, so that a loop around the call can be stopped.
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

/// Suspends a task that is in its wait queue, with its timer started.
pub fn suspend_parked((scheduler, task): Running<'_>, state: State) -> Result<u32> {
    loop {
        task.set_state(state);
        probe::wait_begin(task);
        scheduler.suspend(task);
        probe::wait_end(task);
        if ptr::eq(scheduler.delays.sample(), from_ref(task).cast()) {
            scheduler.end_ready_sample();
        }
        // After a timeout the task is still in its wait queue, unless the object has served it
        // since. To leave may mean another wait first, for a mutex.
        if task.outcome.get() != Outcome::TimedOut || scheduler.leave(task) == Left::Now {
            return task.outcome.get().result();
        }
    }
}

/// Waits for an object, unless that is not necessary. `look` returns what can be had without waiting, be it
/// a result or an error: then nothing else matters, not even that the task is canceled or marked as
/// ended. If it returns `None`, `list` links the task into the wait queue that it returns. Neither
/// suspends nor calls the program.
#[inline]
pub fn wait(
    limit: Limit,
    look: impl Fn(Running<'_>) -> Result<Option<u32>>,
    list: impl Fn(Running<'_>) -> Result<Wait>,
) -> Result<u32> {
    let running = running_task().ok_or(Error::NotInTask)?;
    match look(running)? {
        Some(result) => Ok(result),
        None => wait_listed(running, limit, look, list),
    }
}

/// [`wait`] for what cannot be had at once.
#[inline(never)]
fn wait_listed(
    (scheduler, task): Running<'_>,
    mut limit: Limit,
    look: impl Fn(Running<'_>) -> Result<Option<u32>>,
    list: impl Fn(Running<'_>) -> Result<Wait>,
) -> Result<u32> {
    if task.is(State::Exited) {
        return Err(Error::Canceled);
    }
    let _errno = ErrnoGuard::save();
    let deadline_ns = scheduler.resolve_deadline(task, &mut limit.deadline);
    let once = || {
        // Again, since the program's clock may have changed it, or another task meanwhile.
        if let Some(result) = look((scheduler, task))? {
            return Ok(result);
        }
        check_can_block((scheduler, task))?;
        task.wait.set(list((scheduler, task))?);
        park((scheduler, task), State::WaitingIo, deadline_ns)
    };
    loop {
        match once() {
            Err(Error::Interrupted) if limit.on_wake == OnWake::Retry => {}
            result => return result,
        }
    }
}

/// Waits for what `begin` begins, which it does once nothing else can fail: it says what the task waits
/// for. A wake-up has no effect.
pub fn wait_for_begun(
    mut deadline: Deadline,
    begin: impl FnOnce(Running<'_>) -> Result<Wait>,
) -> Result<u32> {
    let (scheduler, task) = running()?;
    let _errno = ErrnoGuard::save();
    let deadline_ns = scheduler.resolve_deadline(task, &mut deadline);
    loop {
        match check_can_block((scheduler, task)) {
            Err(Error::Interrupted) => {}
            checked => break checked?,
        }
    }
    if let Some(deadline_ns) = deadline_ns {
        scheduler.start_timer(task, deadline_ns).inspect_err(|_| scheduler.yield_task(task))?;
    }
    let wait = begin((scheduler, task)).inspect_err(|_| scheduler.cancel_timer(task))?;
    task.wait.set(wait);
    suspend_parked((scheduler, task), State::WaitingIo)
}

/// Marks the running task as ended.
pub fn exit() -> Result<()> {
    let (_, task) = running_task().ok_or(Error::NotInTask)?;
    task.set_state(State::Exited);
    Ok(())
}

/// Sets whether the running task is told that it is canceled, and returns whether it was. If not, its waits
/// take as long as they take, and it is told in the next one when it may be again.
pub fn set_cancelable(cancelable: bool) -> Result<bool> {
    let (_, task) = running_task().ok_or(Error::NotInTask)?;
    Ok(!task.shielded.replace(!cancelable))
}

/// Whether a canceled task is to be told now, and not given what its wait is for: at the latest every so
/// many times. For waits that have suspended, so that no budget counts them.
pub fn is_cancellation_due((_, task): Running<'_>) -> bool {
    /// As many as a budget has calls.
    const MOST_CALLS: u8 = 64;
    let calls = task.calls_while_canceled.get();
    task.calls_while_canceled.set(if calls < MOST_CALLS { calls + 1 } else { 0 });
    calls >= MOST_CALLS
}

/// Lets the other ready tasks run.
#[inline(always)]
pub fn yield_now() -> Result<()> {
    let (scheduler, task) = running()?;
    scheduler.yield_task(task);
    if task.is_canceled() { Err(Error::Canceled) } else { Ok(()) }
}

/// Suspends the running task until a moment; [`Error::TimedOut`] if its deadline is earlier.
pub fn sleep(limit: Limit) -> Result<()> {
    match park_until(limit, Ok(())) {
        Err(Error::OutOfMemory) => {
            if let Some((_, task)) = running_task() {
                let (id, error) = (task.id.get(), Error::OutOfMemory);
                log::error(format_args!(
                    "task {id:#x} cannot sleep: {error}; it continues at once"
                ));
            }
            Err(Error::OutOfMemory)
        }
        result => result,
    }
}

/// Suspends the running task until another task or a wait function wakes it.
pub fn park_until_woken(deadline: Deadline) -> Result<()> {
    // It has been woken already, which a canceled task is told as well.
    if let running @ (scheduler, task) = running()?
        && task.queued.get()
    {
        task.woken.set(false);
        scheduler.suspend(task);
        let is_told = task.is_canceled() && is_cancellation_due(running);
        return if is_told { Err(Error::Canceled) } else { Ok(()) };
    }
    match park_until(Limit::until(deadline), Err(Error::TimedOut)) {
        Err(Error::Interrupted) => Ok(()),
        // Woken after the deadline, but before the task ran again.
        Err(Error::TimedOut) if running_task().is_some_and(|(_, task)| task.woken.get()) => Ok(()),
        result => result,
    }
}

/// Suspends the running task without a wait queue. Returns `at_limit` when the limit has passed, and
/// [`Error::TimedOut`] when the task's deadline has, which is earlier.
pub(super) fn park_until(mut limit: Limit, at_limit: Result<()>) -> Result<()> {
    let _errno = ErrnoGuard::save();
    let running = running()?;
    let deadline_ns = running.0.resolve_deadline(running.1, &mut limit.deadline);
    loop {
        running.1.woken.set(false);
        match check_can_block(running).and_then(|()| park(running, State::Sleeping, deadline_ns)) {
            Err(Error::Interrupted) if limit.on_wake == OnWake::Retry => {}
            Err(Error::TimedOut) if deadline_ns == limit.deadline.moment_ns() => return at_limit,
            result => return result.map(drop),
        }
    }
}

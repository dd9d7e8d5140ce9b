//! Waiting for signals.

use std::ptr::NonNull;

use super::block::{Limit, Running, running, wait};
use super::interests::{AtSignal, Caught, Interest, SignalSet, Told};
use super::object::{Scheduler, current, running_task};
use super::spend::yield_spent;
use crate::engine::log;
use crate::engine::process::catch::take_left;
use crate::engine::sys::{ErrnoGuard, Error, Result, Signal};
use crate::engine::task::{Left, ObjectKind, Outcome, SchedulerRef, Task, Wait, WaitKind};
use crate::engine::threads::Message;

/// The task waits for the signals of its interest.
static SIGNAL: WaitKind =
    WaitKind { object: ObjectKind::Hidden, ..WaitKind::new(c"signal", unlink) };

/// What the stand-in of an interest waits for.
static END_OF_TASK: WaitKind =
    WaitKind { leave: Some(end_with_task), ..WaitKind::new(c"end of task", stay) };

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, interest: usize, _: &Task) {
    // SAFETY: an interest that a task waits for is alive.
    unsafe { &*(interest as *const Interest) }.stop_waiting();
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn stay(_: SchedulerRef, _: usize, _: &Task) {}

/// # Safety
/// As [`WaitKind::leave`].
unsafe fn end_with_task(scheduler: SchedulerRef, interest: usize, _: &Task) -> Left {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    if let Some(caught) = scheduler.signals.caught() {
        // SAFETY: alive while its node is in the list of the task.
        caught.end(unsafe { &*(interest as *const Interest) }, scheduler);
    }
    Left::Later // The stand-in is not to run.
}

/// The loop has found the message: signals have arrived.
///
/// # Safety
/// The message of the arrivals of a [`Caught`].
unsafe fn arrive(message: NonNull<Message>) {
    // SAFETY: as this function's contract says; it is alive, since its scheduler is.
    let caught = unsafe { message.cast::<Caught>().as_ref() };
    if let Some(scheduler) = current() {
        caught.arrive(scheduler);
    }
}

/// The scheduler is being destroyed, which ends the interests.
///
/// # Safety
/// As [`arrive`].
unsafe fn forget(_: NonNull<Message>) {}

impl Told for Scheduler {
    fn ready(&self, task: &Task) {
        Scheduler::ready(self, task, Outcome::Ready(0));
    }

    fn end_run(&self, signal: i32) {
        let Some(AtSignal { begin, data }) = self.options.at_signal.take() else { return };
        self.options.signal.set(signal);
        // SAFETY: the data is for the function until the run has ended.
        if let Err(error) = unsafe { begin(self.as_ref(), data) } {
            log::error(format_args!(
                "the run is stopped, since it cannot be ended in order: {error}"
            ));
            let _ = self.remote.stop();
        }
    }
}

impl Scheduler {
    /// Has the next one of some signals end the run that begins.
    pub(super) fn end_run_at(&self, signals: u64, at_signal: AtSignal) -> Result<()> {
        let message = Message::new(arrive, forget);
        self.signals.prepare(&self.remote, message)?.begin_run(signals)?;
        self.options.at_signal.set(Some(at_signal));
        Ok(())
    }

    /// The run has ended.
    pub(super) fn forget_end_of_run(&self) {
        self.options.at_signal.set(None);
        if let Some(caught) = self.signals.caught() {
            caught.end_run(self);
        }
    }
}

/// Suspends the running task until one of the signals has come.
pub fn wait_for_signal(set: SignalSet, mut limit: Limit) -> Result<Signal> {
    let (scheduler, task) = running()?;
    if scheduler.spend(task) {
        yield_spent((scheduler, task), Wait::NONE)?;
    }
    let _errno = ErrnoGuard::save();
    scheduler.reinit_after_fork()?; // From now on the handler tells a child of fork(), too.
    // The program's clock may itself call what ends an interest.
    limit.deadline.resolve(&scheduler.time.clock);
    let caught = scheduler.signals.prepare(&scheduler.remote, Message::new(arrive, forget))?;
    let interest = caught.interest_of(task, set, &END_OF_TASK, scheduler)?;
    let look = |(_, task): Running<'_>| {
        caught.deliver(scheduler);
        let interest = Interest::of(task, &END_OF_TASK).ok_or(Error::Interrupted)?;
        Ok(interest.has_signals().then_some(0))
    };
    let list = |_: Running<'_>| {
        interest.begin_to_wait();
        Ok(Wait::on(&SIGNAL, interest))
    };
    let waited = wait(limit, look, list);
    // One that has come at the last moment is given, too.
    caught.deliver(scheduler);
    let signal = Interest::of(task, &END_OF_TASK)
        .and_then(Interest::take)
        .ok_or(waited.err().unwrap_or(Error::Interrupted))?;
    take_left(signal.number);
    Ok(signal)
}

/// Ends the running task's interest in signals.
pub fn forgo_signals() -> Result<()> {
    let (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
    if let (Some(caught), Some(interest)) =
        (scheduler.signals.caught(), Interest::of(task, &END_OF_TASK))
    {
        let _errno = ErrnoGuard::save();
        interest.leave_task(task);
        caught.end(interest, scheduler);
    }
    Ok(())
}

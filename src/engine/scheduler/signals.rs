//! Waiting for signals.

use std::ptr::NonNull;

use super::block::{Limit, Running, running, wait};
use super::interests::{AtCall, AtSignal, Inlet, Interest, Told};
use super::object::{Scheduler, current, running_task};
use super::signal_set::SignalSet;
use super::spend::yield_spent;
use crate::engine::log;
use crate::engine::process::catch::take_left;
use crate::engine::sys::{ErrnoGuard, Error, Result, Signal};
use crate::engine::task::{Left, ObjectKind, Outcome, SchedulerRef, Task, Wait, WaitKind};
use crate::engine::threads::Message;

/// The task waits for the signals of its interest.
static SIGNAL: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    only_by_cancel: true,
    ..WaitKind::new(c"signal", unlink)
};

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
/// The message of an [`Inlet`].
unsafe fn arrive(message: NonNull<Message>) {
    // SAFETY: as this function's contract says; it is alive, since its scheduler is.
    let inlet = unsafe { message.cast::<Inlet>().as_ref() };
    if let Some(scheduler) = current() {
        inlet.arrive(scheduler);
        // Here, where nothing is in the middle of anything: it may call the program.
        if let (Some(signal), Some(function)) =
            (inlet.caught().take_for_loop(), scheduler.options.at_call.get())
        {
            // SAFETY: the scheduler that runs here.
            unsafe { function(scheduler.as_ref(), signal) };
        }
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

fn message() -> Message {
    Message::new(arrive, forget)
}

impl Scheduler {
    /// In a child of fork() that goes on with the run.
    pub(super) fn forget_signals_of_parent(&self) -> Result<()> {
        self.signals.caught().map_or(Ok(()), |caught| caught.begin_in_child(message()))
    }

    /// Has the next one of some signals end the run that begins.
    pub(super) fn end_run_at(&self, signals: u64, at_signal: AtSignal) -> Result<()> {
        self.signals.prepare(&self.remote, message())?.begin_run(signals)?;
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

    /// Has a function called by the loop, with the signal, whenever one of these has come; also the next time
    /// that the scheduler runs. `None`: no more.
    pub fn call_at_signal(&self, signals: Option<SignalSet>, function: AtCall) -> Result<()> {
        let caught = match self.signals.caught() {
            None if signals.is_none() => return Ok(()),
            _ => {
                self.reinit_after_fork()?; // As in a wait.
                self.signals.prepare(&self.remote, message())?
            }
        };
        // Who has asked is not to meet what the signal did before, because this came in between.
        caught.deliver(self);
        caught.tell_loop(signals)?;
        caught.take_for_loop();
        self.options.at_call.set(Some(function));
        Ok(())
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
    let caught = scheduler.signals.prepare(&scheduler.remote, message())?;
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
    let arrival = Interest::of(task, &END_OF_TASK)
        .and_then(Interest::take)
        .ok_or(waited.err().unwrap_or(Error::Interrupted))?;
    take_left(&arrival);
    Ok(arrival.signal)
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

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use super::super::interests::{Interest, Nobody, Signals};
    use super::super::signal_set::SignalSet;
    use super::{END_OF_TASK, message};
    use crate::engine::process::catch::take_left;
    use crate::engine::sys::{self, Action, FaultInfo, SIGCONT, SIGWINCH, Signal};
    use crate::engine::task::Task;
    use crate::engine::threads::{Arrival, Remote};

    static COUNTED: AtomicU64 = AtomicU64::new(0);

    extern "C" fn counts(_: i32, _: *mut FaultInfo, _: *mut c_void) {
        COUNTED.fetch_add(1, SeqCst);
    }

    #[test]
    fn a_signal_that_comes_while_an_earlier_one_is_taken_is_left() {
        let before = Action::now(SIGWINCH).unwrap();
        assert!(Action::catching(counts, true, &before).set(SIGWINCH));
        let (remote, signals, task) = (Remote::new().unwrap(), Signals::new(), Task::default());
        let caught = signals.prepare(&remote, message()).unwrap();
        let set = SignalSet::of([SIGWINCH]).unwrap();
        for round in 1..=3 {
            let interest = caught.interest_of(&task, set, &END_OF_TASK, &Nobody).unwrap();
            sys::raise(SIGWINCH);
            caught.deliver(&Nobody);
            sys::raise(SIGWINCH);
            if round == 2 {
                caught.deliver(&Nobody); // Now they coalesce.
            }
            let taken = interest.take().unwrap();
            assert!(take_left(&taken));
            interest.leave_task(&task);
            caught.end(interest, &Nobody);
            // Another thread may be the one that gets it.
            let sent = [1, 1, 2][round - 1];
            (0..5000)
                .take_while(|_| COUNTED.load(SeqCst) < sent)
                .for_each(|_| sys::sleep_ns(1_000_000));
            assert_eq!(COUNTED.load(SeqCst), sent, "in round {round}");
        }
        remote.close();
        drop(signals);
        assert!(before.set(SIGWINCH));
    }

    /// A thread of the parent was between its two steps: nobody posts the message in the child.
    #[test]
    fn a_child_is_told_though_its_parent_was_about_to_be() {
        let (remote, signals, task) = (Remote::new().unwrap(), Signals::new(), Task::default());
        let caught = signals.prepare(&remote, message()).unwrap();
        let set = SignalSet::of([SIGCONT]).unwrap();
        let interest = caught.interest_of(&task, set, &END_OF_TASK, &Nobody).unwrap();
        let signal = Signal { number: SIGCONT, ..Signal::NONE };
        caught.arrivals().add(&Arrival { signal, ordinal: 1 }, || ());
        // In a child, and in a child of that, which has a message in the mailbox.
        let is_told = || {
            caught.begin_in_child(message()).unwrap();
            remote.renew_wake_up_fd().unwrap();
            remote.adopt();
            caught.deliver(&Nobody);
            assert!(!interest.has_signals(), "it is the parent's");
            sys::raise(SIGCONT);
            caught.deliver(&Nobody);
            remote.has_messages()
                && interest.take().is_some_and(|taken| taken.signal.number == SIGCONT)
        };
        let code = sys::in_a_child(true, || {
            let child = is_told();
            let grandchild = sys::in_a_child(true, || i32::from(is_told()));
            i32::from(child && grandchild == 1)
        });
        assert_eq!(code, 1);
        interest.leave_task(&task);
        caught.end(interest, &Nobody);
        assert!(Interest::of(&task, &END_OF_TASK).is_none());
        remote.close();
    }
}

//! How the calls of the safe API suspend, and how a task that is canceled, or whose time is over, is
//! unwound.

use std::any::Any;
use std::panic::resume_unwind;
use std::thread;

use super::record::Record;
use super::task::timeout::{Elapsed, is_over};
use crate::engine::log;
use crate::engine::scheduler::{self, running_task};
use crate::engine::sys::{Error, Result};

/// What unwinds the stack of a task that is canceled: the payload that
/// [`catch_unwind`](std::panic::catch_unwind) returns then. Who catches panics lets it go on once it
/// has cleaned up, by [`resume_if_canceled`]; else the task is unwound again when it suspends next.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::panic::catch_unwind;
///
/// let scheduler = Scheduler::new()?;
/// let waits = scheduler.spawn(|| match catch_unwind(|| task::park(None)) {
///     Err(payload) => payload.is::<task::Canceled>(),
///     Ok(_) => false,
/// });
/// let task = waits.task().clone();
/// scheduler.spawn(move || task.cancel());
/// scheduler.run()?;
/// assert!(waits.join()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Canceled(()); // Only `raise` makes one.

/// Lets a cancellation go on that [`catch_unwind`](std::panic::catch_unwind) has caught, or the end of
/// a [`timeout`](super::task::timeout()), and returns what is neither: for code that reports panics
/// and goes on.
///
/// ```
/// use majjen::{JoinError, Scheduler, task};
/// use std::panic::catch_unwind;
///
/// let scheduler = Scheduler::new()?;
/// let serves = scheduler.spawn(|| {
///     loop {
///         let request = || task::park(None).unwrap();
///         let panic = catch_unwind(request).map_err(task::resume_if_canceled);
///         assert!(panic.is_ok(), "a request has failed");
///     }
/// });
/// scheduler.spawn(move || {
///     serves.cancel();
///     assert!(matches!(serves.join(), Err(JoinError::Canceled)));
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub fn resume_if_canceled(payload: Box<dyn Any + Send>) -> Box<dyn Any + Send> {
    if payload.is::<Canceled>() || payload.is::<Elapsed>() {
        resume_unwind(payload)
    } else {
        payload
    }
}

/// After so many refusals, a task whose scheduler is being dropped gets no further.
const REFUSALS: u32 = 1000;

/// Every call of the safe API that may suspend goes through here. `call` calls the core. When it
/// says that the task is canceled, and the task is a Rust task, this does not return: it unwinds; nor when
/// it says that its time is over, and so is that of a `task::timeout` around it.
pub fn suspending<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(running) = running_task() else {
        return Err(Error::NotInTask);
    };
    let record = Record::of(running.1);
    // The standard library counts panics by the thread. When a scheduler is dropped by a panic, that
    // of the thread hides whether the task is unwinding too. It may be, by a panic of its own; to
    // raise a cancellation in a destructor then would end the process.
    if thread::panicking() {
        refuse(record);
        return Err(Error::Unwinding);
    }
    match (call(), record) {
        (Err(Error::Canceled), Some(record)) if CAN_UNWIND && record.frames.get() == 0 => {
            raise(Canceled(()))
        }
        (Err(Error::TimedOut), Some(record)) if CAN_UNWIND && is_over(record, running) => {
            raise(Elapsed::new())
        }
        (result, _) => result,
    }
}

/// [`suspending`] for a call that need not suspend. Where nothing can, outside a task and while unwinding,
/// `attempt` is what does without: when that says [`Error::WouldBlock`], this returns why nothing can.
#[inline]
pub fn suspending_or<T>(
    attempt: impl FnOnce() -> Result<T>,
    call: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if running_task().is_none() || thread::panicking() {
        match attempt() {
            Err(Error::WouldBlock) => {}
            result => return result,
        }
    }
    suspending(call)
}

/// In a program that is built with `panic = "abort"` nothing can be unwound.
pub const CAN_UNWIND: bool = cfg!(panic = "unwind");

/// Begins to unwind the running task. It calls no panic hook, as nothing is wrong.
fn raise(why: impl Any + Send) -> ! {
    resume_unwind(Box::new(why))
}

#[cold]
fn refuse(record: Option<&Record>) {
    let before = record.map_or(0, |record| record.refusals.replace(record.refusals.get() + 1));
    if before == 0 {
        log::warn(format_args!(
            "a destructor cannot suspend while a panic or a cancellation unwinds the stack: its \
             call has returned an error"
        ));
    }
    if before > REFUSALS && record.is_some_and(|record| record.shared.closing.get()) {
        // It does not leave off. Whoever drops the scheduler counts its turns, and gives it up.
        let _ = scheduler::yield_now();
    }
}

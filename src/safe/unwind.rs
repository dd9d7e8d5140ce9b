//! How the calls of the safe API suspend, and how a task that is canceled is unwound.

use std::panic::resume_unwind;

use super::record::Record;
use crate::error::{Error, Result};
use crate::scheduler::running_task;
use crate::{log, suspend};

/// What a cancelation carries up a task's stack. Private, so that only [`raise`] makes one.
pub struct Cancelation(());

/// After so many refusals, a task whose scheduler is being dropped gets no further.
const REFUSALS: u32 = 1000;

/// Every call of the safe API that may suspend goes through here. `call` calls the core. When it
/// says that the task is canceled, and the task is a Rust task, this does not return: it unwinds.
pub fn suspending<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some((_, task)) = running_task() else {
        return Err(Error::NotInTask);
    };
    let record = Record::of(task);
    if is_unwinding(record) {
        refuse(record);
        return Err(Error::Unwinding);
    }
    match (call(), record) {
        (Err(Error::Canceled), Some(record)) if CAN_UNWIND && record.shields.get() == 0 => {
            raise(record)
        }
        (result, _) => result,
    }
}

/// In a program that is built with `panic = "abort"` nothing can be unwound.
pub const CAN_UNWIND: bool = cfg!(panic = "unwind");

/// Begins to unwind the running task. It calls no panic hook, as nothing is wrong.
fn raise(record: &Record) -> ! {
    record.raised.set(true);
    resume_unwind(Box::new(Cancelation(())))
}

/// Whether the running task is in a destructor that unwinding runs.
///
/// The standard library counts by the thread. When a scheduler is dropped while its thread unwinds,
/// the count says nothing of the task; but there each task begins by being raised, and whether it
/// has caught that cannot be known.
fn is_unwinding(record: Option<&Record>) -> bool {
    let certain = |record: &Record| !record.shared.dropped_in_panic.get() || record.raised.get();
    std::thread::panicking() && record.is_none_or(certain)
}

#[cold]
fn refuse(record: Option<&Record>) {
    let before = record.map_or(0, |record| record.refusals.replace(record.refusals.get() + 1));
    if before == 0 {
        log::warn(format_args!(
            "a destructor has called something that suspends, while a panic or a cancelation \
             unwinds the stack: the call has returned an error"
        ));
    }
    if before > REFUSALS && record.is_some_and(|record| record.shared.closing.get()) {
        // It does not leave off. Whoever drops the scheduler counts its turns, and gives it up.
        let _ = suspend::yield_now();
    }
}

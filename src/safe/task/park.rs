//! Waiting to be woken.

use std::cell::Cell;
use std::time::Duration;

#[cfg(doc)] // for links
use super::handle::Task;
use crate::engine::scheduler::{self, running_task};
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::Result;
use crate::safe::record::Record;
use crate::safe::time::limit;
use crate::safe::unwind::{suspending, suspending_or};

/// Suspends the running task until somebody calls [`Task::wake`] for it, no longer than the limit, which
/// may be `None`. Returns at once if that has happened since the last time. May also return for no
/// reason, so what is waited for is looked at again:
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::time::Duration;
/// use std::{cell::Cell, rc::Rc};
///
/// let scheduler = Scheduler::new()?;
/// let ready = Rc::new(Cell::new(false));
/// let seen = ready.clone();
/// let waiting = scheduler.spawn(move || {
///     while !seen.get() {
///         task::park(Duration::from_secs(10)).unwrap();
///     }
/// });
/// scheduler.spawn(move || {
///     ready.set(true);
///     waiting.task().wake();
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::TimedOut`], and those of [`sleep`](super::sleep).
pub fn park(timeout: impl Into<Option<Duration>>) -> Result<()> {
    let timeout = timeout.into();
    let park = || scheduler::park_until_woken(limit(timeout).deadline);
    let record = running_task().and_then(|(_, task)| Record::of(task));
    let Some(record) = record else {
        return suspending(park);
    };
    // Before the wake-up is taken, which a task that is unwound now would lose.
    suspending_or(|| Ok(()), scheduler::spend)?;
    if record.woken.take() {
        return Ok(());
    }
    let _parked = Flag::set(&record.parked);
    let result = suspending(park);
    if record.woken.take() { Ok(()) } else { result }
}

/// A cell that is true while this lives.
struct Flag<'c>(&'c Cell<bool>);

impl<'c> Flag<'c> {
    fn set(cell: &'c Cell<bool>) -> Flag<'c> {
        cell.set(true);
        Flag(cell)
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

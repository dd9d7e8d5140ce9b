//! The deadline of a task.

use crate::engine::scheduler;
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::Result;
use crate::safe::time::Instant;

/// Limits all waits of the running task, from now on: at the deadline a wait ends, and past it each call that
/// would have to wait returns [`Error::TimedOut`] once the other ready tasks have had their turn, whatever
/// limit of its own it has; sleeps too. What can be had without waiting is had as before, and a yield is no
/// wait. `None`, as at first, is no deadline. Returns what was set before, to put it back.
///
/// It is for tasks that handle errors. [`timeout`](super::timeout()) limits one part of a task, and needs none
/// to be propagated. Tasks that the task spawns have no deadline,
/// but those of a [`scope`](super::scope()) or a [`JoinSet`](super::JoinSet) have the one of the task.
///
/// ```
/// use majjen::{Error, Instant, Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let request = scheduler.spawn(|| {
///     task::set_deadline(Instant::now() + Duration::from_millis(5))?;
///     let answer = task::park(Duration::from_secs(3600)).and_then(|()| task::park(None));
///     task::set_deadline(None)?; // Cleaning up may take longer.
///     task::sleep(Duration::from_millis(1))?;
///     answer
/// });
/// scheduler.run()?;
/// assert_eq!(request.join()?, Err(Error::TimedOut));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`].
pub fn set_deadline(deadline: impl Into<Option<Instant>>) -> Result<Option<Instant>> {
    let deadline_ns = deadline.into().map_or(u64::MAX, Instant::as_ns);
    scheduler::set_deadline(deadline_ns).map(Instant::from_deadline)
}

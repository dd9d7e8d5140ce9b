//! Waiting for any of many descriptors.

use crate::engine::scheduler::{Limit, running_task, spend, wait_for_any};
use crate::engine::sys::{self, Error, Result, pollfd};

/// poll(2), but that it suspends the task: the number of entries that are ready, more than 0.
pub fn poll(polls: &mut [pollfd], mut limit: Limit) -> Result<usize> {
    let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
    spend()?;
    loop {
        let ready = sys::poll_ready(polls)?;
        if ready > 0 {
            return Ok(ready);
        }
        limit.deadline.resolve(&scheduler.time.clock); // For all waits of the call.
        let waited = wait_for_any(polls, limit);
        if let Err(error) = waited {
            // What is ready now is told, though the time is over, or the task is canceled.
            return match sys::poll_ready(polls)? {
                0 => Err(error),
                ready => Ok(ready),
            };
        }
    }
}

//! The orderly end of a run at a signal: its tasks are told by a function of the program, and those that are left
//! when their time is over are canceled.

use std::ptr::eq;

use super::block::{Limit, running, set_cancelable};
use super::join::join;
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

/// Waits until the other tasks have ended, but for daemons, for `grace` at most; then cancels those that are left, and those that
/// they have made when they have ended. A cancellation of the running task has no effect meanwhile.
pub fn end_others(mut grace: Deadline) -> Result<()> {
    let (scheduler, task) = running()?;
    set_cancelable(false)?;
    grace.resolve(&scheduler.time.clock);
    let others = || scheduler.tasks.iter().filter(|other| !eq(*other, task) && !other.daemon.get());
    let mut is_over = false;
    while others().next().is_some() {
        for other in others() {
            if is_over {
                scheduler.cancel(other); // It may have been made since.
            }
            match join(other.id.get(), Limit::uninterrupted(grace)) {
                Ok(()) | Err(Error::NoSuchTask) => {}
                Err(Error::TimedOut) if !is_over => {
                    (is_over, grace) = (true, Deadline::Never);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if is_over {
            others().for_each(|other| scheduler.cancel(other));
        }
    }
    Ok(())
}

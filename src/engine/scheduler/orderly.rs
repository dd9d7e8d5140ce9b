//! The orderly end of a run at a signal: its tasks are told by a function of the program, and those that are left
//! when their time is over are canceled.

use std::ptr::eq;

use super::block::{Limit, set_cancelable};
use super::deadline::{NEVER, set_deadline};
use super::join::join;
use super::object::running_task;
use crate::engine::sys::{Error, Result};
use crate::engine::task::State;
use crate::engine::time::Deadline;

/// Waits until the other tasks have ended, but for daemons, for `grace` at most; then cancels those that are
/// left, and those that they have made when they have ended. Neither a cancellation of the running task, nor
/// its end, nor its deadline has an effect meanwhile: what the program's function has called ends with it. The
/// want of memory cuts the grace short.
pub fn end_others(mut grace: Deadline) -> Result<()> {
    let (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
    task.set_state(State::Runnable);
    set_cancelable(false)?;
    set_deadline(NEVER)?;
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
                Err(Error::TimedOut | Error::OutOfMemory) if !is_over => {
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

//! Waiting for any of many descriptors.

use crate::engine::scheduler::{
    Limit, is_cancellation_due, running_task, wait_for_any, yield_spent,
};
use crate::engine::sys::{self, ErrnoGuard, Error, Result, pollfd};
use crate::engine::task::Wait;
use crate::engine::threads::Ownership;

/// poll(2), but that it suspends the task: the number of entries that are ready, more than 0. One that
/// the library has closed meanwhile is, with POLLNVAL.
pub fn poll(polls: &mut [pollfd], mut limit: Limit) -> Result<usize> {
    let running @ (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
    let _errno = ErrnoGuard::save();
    if scheduler.spend(task) {
        let (yielded, closed) = suspend(polls, |_| yield_spent(running, Wait::NONE));
        yielded?;
        if closed > 0 {
            return Ok(closed);
        }
    }
    loop {
        let ready = sys::poll_ready(polls)?;
        if ready > 0 {
            return Ok(ready);
        }
        limit.deadline.resolve(&scheduler.time.clock); // For all waits of the call.
        let (waited, closed) =
            suspend(polls, |polls| wait_for_any(polls, limit, || polls.iter().any(is_closed)));
        if closed > 0 {
            return Ok(closed);
        }
        if waited == Err(Error::InvalidArgument) {
            return Err(Error::Busy); // One is the scheduler's own.
        }
        if let Err(error) = waited {
            if error == Error::Canceled && is_cancellation_due(running) {
                return Err(error);
            }
            // What is ready now is told, though the time is over, or the task is canceled.
            return match sys::poll_ready(polls)? {
                0 => Err(error),
                ready => Ok(ready),
            };
        }
    }
}

/// Suspends, and marks the entries that the library has closed meanwhile: their numbers may be other
/// files' by now. Returns how many.
fn suspend(
    polls: &mut [pollfd],
    suspend: impl FnOnce(&[pollfd]) -> Result<()>,
) -> (Result<()>, usize) {
    for poll in &mut *polls {
        poll.revents = closes(poll);
    }
    let result = suspend(polls);
    let mut closed = 0;
    for poll in polls {
        let is_closed = is_closed(poll);
        poll.revents = if is_closed { sys::NOT_OPEN as i16 } else { 0 };
        closed += usize::from(is_closed);
    }
    (result, closed)
}

/// How often the number of an entry was closed. The low bits are enough: they are the same after so many
/// closes of one number only.
fn closes(poll: &pollfd) -> i16 {
    Ownership::closes(poll.fd) as i16
}

/// Whether it was closed since `revents` was set to its [`closes`].
fn is_closed(poll: &pollfd) -> bool {
    poll.revents != closes(poll)
}

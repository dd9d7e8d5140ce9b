//! Running a future in a task.

use std::pin::pin;
use std::task::{Context, Poll};

use super::handle::current;
use super::park::park;
use crate::engine::scheduler;
use crate::engine::sys::{Error, Result};
use crate::engine::threads::Remote;

/// Runs a future to its end, and suspends the running task while the future is not ready. For futures that
/// need no runtime of their own: channels between threads, what combines such futures. This library is no
/// executor: a future of tokio, say, finds no tokio here.
///
/// The future is dropped when the task is canceled, or its time is over, and unwound from here.
///
/// While it waits, the run does not end by [`Error::Deadlock`], since another thread may wake it.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let waits = scheduler.spawn(|| task::block_on(async { std::future::ready(1).await + 1 }));
/// scheduler.run()?;
/// assert_eq!(waits.join()?, Ok(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`] outside a task, and in one that C code has created; and those of
/// [`sleep`](super::sleep).
pub fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let task = current().ok_or(Error::NotInTask)?;
    let waker = task.waker();
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(output);
        }
        let _expected = Expected::begin();
        // It may return for no reason, and the future is asked again then.
        park(None)?;
    }
}

/// While it lives, other threads may wake a task of the running scheduler.
struct Expected(Option<Remote>);

impl Expected {
    fn begin() -> Expected {
        let remote = scheduler::current().map(|here| here.remote.clone());
        remote.iter().for_each(Remote::add_waker);
        Expected(remote)
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.iter().for_each(Remote::remove_waker);
    }
}

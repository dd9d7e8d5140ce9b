//! Asking a scheduler to stop, from other threads.

use std::fmt;

use crate::engine::sys::Result;
use crate::engine::threads::Remote;

/// Makes a scheduler's run return, from any thread and from signal handlers. It may outlive the
/// scheduler, and says then that it is gone. While there is one, a descriptor stays open.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let stop = scheduler.stop_handle();
/// let parked = scheduler.spawn(|| task::sleep(std::time::Duration::from_secs(3600)));
/// let other = std::thread::spawn(move || stop.stop());
/// scheduler.run()?; // Returns within the hour.
/// assert!(!parked.is_finished());
/// # other.join().unwrap();
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Clone)]
pub struct StopHandle {
    remote: Remote,
}

impl StopHandle {
    pub(super) fn new(remote: &Remote) -> StopHandle {
        StopHandle { remote: remote.clone() }
    }

    /// Makes the run that is under way return as soon as the running task suspends or ends; or the
    /// next run, if none is under way. From another thread it takes up to 50 us of tasks that only yield.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.spawn(|| ());
    /// scheduler.stop_handle().stop()?;
    /// scheduler.run()?; // Returns at once, and the next run does not.
    /// assert_eq!(scheduler.metrics().current_tasks, 1);
    /// scheduler.run()?;
    /// assert_eq!(scheduler.metrics().current_tasks, 0);
    /// let stop = scheduler.stop_handle();
    /// drop(scheduler);
    /// assert_eq!(stop.stop(), Err(majjen::Error::Disconnected));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Disconnected`](crate::Error::Disconnected) when the scheduler is gone.
    pub fn stop(&self) -> Result<()> {
        self.remote.stop()
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StopHandle").finish_non_exhaustive()
    }
}

//! Asking a scheduler to stop, from other threads.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::threads::StopFlag;

/// Makes a scheduler's run return, from any thread, and also after the scheduler is gone, when it
/// does nothing. Not for signal handlers: see
/// [`Builder::handle_signals`](crate::Builder::handle_signals).
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
    /// `None` once the scheduler is gone.
    flag: Arc<Mutex<Option<Flag>>>,
}

/// The stop flag of a scheduler that is alive.
struct Flag(*const StopFlag);

// SAFETY: a stop flag is made for all threads; `StopHandle` sees to it that it is alive.
unsafe impl Send for Flag {}

impl StopHandle {
    /// The flag must stay where it is until [`disconnect`](Self::disconnect).
    pub(super) fn new(flag: &StopFlag) -> StopHandle {
        StopHandle { flag: Arc::new(Mutex::new(Some(Flag(flag)))) }
    }

    /// Makes the run that is under way return as soon as the running task suspends or ends; or the
    /// next run, if none is under way.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.spawn(|| ());
    /// scheduler.stop_handle().stop();
    /// scheduler.run()?; // Returns at once, and the next run does not.
    /// assert_eq!(scheduler.metrics().tasks_alive, 1);
    /// scheduler.run()?;
    /// assert_eq!(scheduler.metrics().tasks_alive, 0);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn stop(&self) {
        let flag = self.flag.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Flag(flag)) = *flag {
            // SAFETY: alive until `disconnect`, which waits for the lock.
            unsafe { &*flag }.raise();
        }
    }

    /// Lets all handles to the flag do nothing from now on.
    pub(super) fn disconnect(&self) {
        *self.flag.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for StopHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StopHandle").finish_non_exhaustive()
    }
}

//! Reports of turns that are too long.

use std::time::Duration;

use super::scheduler::Scheduler;
use crate::engine::sys::Result;
use crate::engine::watchdog;

/// Chooses the real-time signal by which [`Scheduler::report_long_turns`] sees the stack of a turn, for
/// the whole process; `None`, as at first, for any whose disposition is the default one. If the one
/// that is chosen has a handler of the program, that stays, and reports have no stacks.
///
/// ```
/// majjen::set_long_turn_signal(None)?;
/// assert_eq!(majjen::set_long_turn_signal(Some(9)), Err(majjen::Error::InvalidArgument));
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) when it is no real-time signal;
/// [`Error::Busy`](crate::Error::Busy) while a scheduler that reports long turns runs.
pub fn set_long_turn_signal(signal: Option<i32>) -> Result<()> {
    watchdog::set_signal(signal.unwrap_or(0))
}

impl Scheduler {
    /// Has each turn reported that lasts longer, while it lasts, and once, as
    /// [`Builder::report_long_turns`](crate::Builder::report_long_turns) says; `None` for none. A task
    /// can set it while the scheduler runs.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.report_long_turns(Some(Duration::from_millis(10)));
    /// scheduler.spawn(|| std::thread::sleep(Duration::from_millis(50))); // A WARN line.
    /// scheduler.run()?;
    /// assert!(scheduler.metrics().long_turns <= 1);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn report_long_turns(&self, longer_than: Option<Duration>) {
        self.core().report_long_turns(longer_than.map_or(0, limit_ns));
    }
}

/// A limit of zero is one, too.
fn limit_ns(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1)
}

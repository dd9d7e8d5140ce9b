//! The condition variable.

use std::fmt;
use std::time::Duration;

use super::{MutexGuard, Owned};
use crate::engine::scheduler::{self, Limit, running_task};
use crate::engine::sync::{self, Home};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;
use crate::safe::time::to_ns;
use crate::safe::unwind::suspending;

/// Waits until another task has changed what a [`Mutex`](super::Mutex) protects, and says so.
///
/// ```
/// use majjen::Scheduler;
/// use majjen::sync::{Condvar, Mutex};
/// use std::rc::Rc;
///
/// let scheduler = Scheduler::new()?;
/// let queue = Rc::new((Mutex::new(Vec::new()), Condvar::new()));
/// let (mutex, filled) = (queue.clone(), queue.clone());
/// let taken = scheduler.spawn(move || {
///     let guard = mutex.0.lock()?;
///     mutex.1.wait_while(guard, |queue| queue.is_empty()).map(|mut queue| queue.pop())
/// });
/// scheduler.spawn(move || {
///     filled.0.lock()?.push("a job");
///     filled.1.notify_one()
/// });
/// scheduler.run()?;
/// assert_eq!(taken.join()??, Some("a job"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::sync::Condvar::new());
/// ```
pub struct Condvar {
    core: Owned<sync::Condvar>,
}

impl Condvar {
    /// One that nobody waits for.
    ///
    /// ```
    /// assert_eq!(majjen::sync::Condvar::new().notify_one(), Ok(())); // Nobody hears it.
    /// ```
    pub const fn new() -> Condvar {
        Condvar { core: Owned(sync::Condvar::new(Home::none())) }
    }

    /// Unlocks the mutex, waits to be notified, and locks it again. May also return for no reason.
    /// A task that is canceled is unwound when it has the mutex again, and so unlocks it.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::{Condvar, Mutex}};
    /// use std::rc::Rc;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let state = Rc::new((Mutex::new(false), Condvar::new()));
    /// let own = state.clone();
    /// scheduler.spawn(move || {
    ///     let mut ready = own.0.lock()?;
    ///     while !*ready {
    ///         ready = own.1.wait(ready)?;
    ///     }
    ///     Ok::<(), majjen::Error>(())
    /// });
    /// scheduler.spawn(move || {
    ///     *state.0.lock()? = true;
    ///     state.1.notify_all()
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// The guard is dropped then. [`Error::TimedOut`] past a deadline of the task, also in
    /// [`wait_timeout`](Self::wait_timeout), [`Error::NotOwner`] when it is not this task that has locked the
    /// mutex, [`Error::InvalidArgument`] when tasks wait with another mutex, [`Error::OwnerDied`]
    /// as [`Mutex::lock`](super::Mutex::lock), and [those of the module](super#errors).
    pub fn wait<'m, T: ?Sized>(&self, guard: MutexGuard<'m, T>) -> Result<MutexGuard<'m, T>> {
        self.wait_within(guard, Deadline::Never).map(|(guard, _)| guard)
    }

    /// [`wait`](Self::wait), while a condition holds.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::{Condvar, Mutex}};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let (mutex, condvar) = (Mutex::new(3), Condvar::new());
    ///     let guard = condvar.wait_while(mutex.lock().unwrap(), |number| *number < 3);
    ///     assert_eq!(*guard.unwrap(), 3);
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_while<'m, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'m, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'m, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// [`wait`](Self::wait), no longer than the timeout; the result says whether that has passed.
    /// Locking the mutex again may take longer.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::{Condvar, Mutex}};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let (mutex, condvar) = (Mutex::new(1), Condvar::new());
    ///     let guard = mutex.lock().unwrap();
    ///     let (guard, result) = condvar.wait_timeout(guard, Duration::from_millis(1)).unwrap();
    ///     assert!(result.timed_out() && *guard == 1);
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout<'m, T: ?Sized>(
        &self,
        guard: MutexGuard<'m, T>,
        timeout: Duration,
    ) -> Result<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        self.wait_within(guard, Deadline::In(to_ns(timeout)))
    }

    fn wait_within<'m, T: ?Sized>(
        &self,
        guard: MutexGuard<'m, T>,
        deadline: Deadline,
    ) -> Result<(MutexGuard<'m, T>, WaitTimeoutResult)> {
        let mutex = guard.mutex;
        let mut guard = Some(guard);
        let waited = suspending(|| {
            let waited = self.core.wait(&mutex.core, Limit::until(deadline));
            // The one error with which another task's guard may be there.
            if waited == Err(Error::OwnerDied)
                && let Some(guard) = guard.take()
            {
                guard.disown();
            }
            waited
        });
        match (waited, guard) {
            (Ok(()) | Err(Error::Interrupted), Some(guard)) => {
                Ok((guard, WaitTimeoutResult(false)))
            }
            // Past the task's deadline it is an error, so that a loop around the wait ends.
            (Err(Error::TimedOut), Some(guard))
                if !running_task().is_some_and(scheduler::is_past_deadline) =>
            {
                Ok((guard, WaitTimeoutResult(true)))
            }
            (waited, _) => Err(waited.err().unwrap_or(Error::OwnerDied)),
        }
    }

    /// Ends the wait of the task that has waited longest, if one waits; it goes on once it has the
    /// mutex. Does not suspend.
    ///
    /// ```
    /// majjen::sync::Condvar::new().notify_one()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WrongScheduler`] in a task of another scheduler.
    pub fn notify_one(&self) -> Result<()> {
        self.core.signal()
    }

    /// [`notify_one`](Self::notify_one) for all that wait.
    ///
    /// ```
    /// majjen::sync::Condvar::new().notify_all()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`notify_one`](Self::notify_one).
    pub fn notify_all(&self) -> Result<()> {
        self.core.broadcast()
    }
}

/// Whether [`Condvar::wait_timeout`] has timed out.
///
/// ```
/// use majjen::{Scheduler, sync::{Condvar, Mutex}};
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let pair = Rc::new((Mutex::new(()), Condvar::new()));
/// let own = pair.clone();
/// let timed_out = scheduler.spawn(move || {
///     let (_guard, result) = own.1.wait_timeout(own.0.lock()?, Duration::from_secs(3600))?;
///     Ok::<bool, majjen::Error>(result.timed_out())
/// });
/// scheduler.spawn(move || pair.1.notify_one());
/// scheduler.run()?;
/// assert!(!timed_out.join()??);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the wait has ended because the timeout had passed.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::{Condvar, Mutex}};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let (mutex, condvar) = (Mutex::new(()), Condvar::new());
    ///     let waited = condvar.wait_timeout(mutex.lock().unwrap(), Duration::ZERO);
    ///     assert!(waited.unwrap().1.timed_out());
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Condvar").finish_non_exhaustive()
    }
}

//! The semaphore, and permits.

use std::fmt;
use std::mem::forget;
use std::time::Duration;

use super::Owned;
use crate::engine::sync::{self, Home};
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::Result;
use crate::safe::time::limit;
use crate::safe::unwind::suspending_or;

/// A number of permits to do something: how many tasks at a time, for example.
///
/// ```
/// use majjen::{Scheduler, sync::Semaphore, task};
/// use std::{cell::Cell, rc::Rc};
///
/// let scheduler = Scheduler::new()?;
/// let (slots, busy) = (Rc::new(Semaphore::new(2)), Rc::new(Cell::new(0)));
/// for _ in 0..10 {
///     let (slots, busy) = (slots.clone(), busy.clone());
///     scheduler.spawn(move || {
///         let _permit = slots.acquire(1)?;
///         busy.set(busy.get() + 1);
///         assert!(busy.get() <= 2);
///         task::yield_now()?;
///         busy.set(busy.get() - 1);
///         Ok::<(), majjen::Error>(())
///     });
/// }
/// scheduler.run()?;
/// assert_eq!(slots.available(), 2);
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::sync::Semaphore::new(1));
/// ```
pub struct Semaphore {
    core: Owned<sync::Semaphore>,
}

impl Semaphore {
    /// A semaphore with so many permits.
    ///
    /// ```
    /// assert_eq!(majjen::sync::Semaphore::new(3).available(), 3);
    /// ```
    pub const fn new(permits: u32) -> Semaphore {
        Semaphore { core: Owned(sync::Semaphore::new(Home::none(), permits)) }
    }

    /// Takes permits, all at once, when there are as many, and those who were before this task have
    /// theirs, however few it wants itself.
    ///
    /// ```
    /// let semaphore = majjen::sync::Semaphore::new(3);
    /// let permits = semaphore.acquire(2)?; // Need not wait, so it works outside a task.
    /// assert_eq!(semaphore.available(), 1);
    /// drop(permits);
    /// assert_eq!(semaphore.available(), 3);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [Those of the module](super#errors).
    pub fn acquire(&self, permits: u32) -> Result<Permits<'_>> {
        self.acquire_within(permits, None)
    }

    /// [`acquire`](Self::acquire), and waits no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, sync::Semaphore};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let semaphore = Semaphore::new(1);
    ///     let late = semaphore.acquire_timeout(2, Duration::from_millis(1));
    ///     assert_eq!(late.err(), Some(Error::TimedOut));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and [those of the module](super#errors).
    pub fn acquire_timeout(&self, permits: u32, timeout: Duration) -> Result<Permits<'_>> {
        self.acquire_within(permits, Some(timeout))
    }

    fn acquire_within(&self, permits: u32, timeout: Option<Duration>) -> Result<Permits<'_>> {
        let attempt = || self.core.try_acquire(permits);
        suspending_or(attempt, || self.core.acquire(permits, limit(timeout)))?;
        Ok(Permits { semaphore: self, count: permits })
    }

    /// Takes permits, if there are as many and nobody waits. Does not suspend.
    ///
    /// ```
    /// use majjen::{Error, sync::Semaphore};
    ///
    /// assert_eq!(Semaphore::new(1).try_acquire(2).err(), Some(Error::WouldBlock));
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`], and [`Error::WrongScheduler`] in a task of another scheduler.
    pub fn try_acquire(&self, permits: u32) -> Result<Permits<'_>> {
        self.core.try_acquire(permits)?;
        Ok(Permits { semaphore: self, count: permits })
    }

    /// Adds permits. Does not suspend.
    ///
    /// ```
    /// let semaphore = majjen::sync::Semaphore::new(0);
    /// semaphore.release(2)?;
    /// assert_eq!(semaphore.available(), 2);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overflow`], and [`Error::WrongScheduler`] in a task of another scheduler.
    pub fn release(&self, permits: u32) -> Result<()> {
        self.core.release(permits)
    }

    /// How many permits there are to take.
    ///
    /// ```
    /// assert_eq!(majjen::sync::Semaphore::new(4).available(), 4);
    /// ```
    pub fn available(&self) -> u32 {
        self.core.available()
    }
}

/// Permits that were taken; given back when dropped, wherever that is.
///
/// ```
/// let semaphore = majjen::sync::Semaphore::new(2);
/// {
///     let _permits = semaphore.try_acquire(2)?;
///     assert_eq!(semaphore.available(), 0);
/// }
/// assert_eq!(semaphore.available(), 2);
/// # Ok::<(), majjen::Error>(())
/// ```
#[must_use = "they are given back when dropped"]
pub struct Permits<'s> {
    semaphore: &'s Semaphore,
    count: u32,
}

impl Permits<'_> {
    /// Keeps them: they are not given back, unless by [`Semaphore::release`].
    ///
    /// ```
    /// let semaphore = majjen::sync::Semaphore::new(2);
    /// semaphore.try_acquire(1)?.keep();
    /// assert_eq!(semaphore.available(), 1);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn keep(self) {
        forget(self);
    }
}

impl Drop for Permits<'_> {
    fn drop(&mut self) {
        // Refused only if others have added so many that these do not fit any more.
        let _ = self.semaphore.core.give_back(self.count);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Semaphore").field("available", &self.available()).finish()
    }
}

impl fmt::Debug for Permits<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Permits").field("count", &self.count).finish()
    }
}

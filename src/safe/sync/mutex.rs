//! The mutex, and its guard.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::forget;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::Owned;
use crate::engine::scheduler::running_task;
use crate::engine::sync::{self, Home};
use crate::engine::sys::{Error, Result};
use crate::safe::time::limit;
use crate::safe::unwind::suspending_or;

/// A value that one task at a time has, also while it is suspended.
///
/// ```
/// use majjen::sync::Mutex;
/// use majjen::{Scheduler, task};
/// use std::rc::Rc;
///
/// let scheduler = Scheduler::new()?;
/// let total = Rc::new(Mutex::new(0));
/// for _ in 0..10 {
///     let total = total.clone();
///     scheduler.spawn(move || {
///         let mut total = total.lock()?;
///         let before = *total;
///         task::yield_now()?; // Others run, and wait for the mutex.
///         *total = before + 1;
///         Ok::<(), majjen::Error>(())
///     });
/// }
/// scheduler.run()?;
/// assert_eq!(Rc::into_inner(total).unwrap().into_inner(), 10);
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// There is no poisoning: a task that panics or is canceled unlocks what it has locked, like one
/// that returns, and its panic is told by [`JoinHandle::join`](crate::JoinHandle::join). What must
/// not be seen half done is put right by a destructor.
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::sync::Mutex::new(0));
/// ```
pub struct Mutex<T: ?Sized> {
    pub(super) core: Owned<sync::Mutex>,
    value: UnsafeCell<T>,
}

impl<T> Mutex<T> {
    /// A mutex that nobody has locked.
    ///
    /// ```
    /// thread_local!(static NAMES: majjen::sync::Mutex<Vec<String>> =
    ///     const { majjen::sync::Mutex::new(Vec::new()) });
    /// ```
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { core: Owned(sync::Mutex::new(Home::none())), value: UnsafeCell::new(value) }
    }

    /// The value.
    ///
    /// ```
    /// assert_eq!(majjen::sync::Mutex::new(5).into_inner(), 5);
    /// ```
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks it, once those before this task are through.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, sync::Mutex};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let task = scheduler.spawn(|| {
    ///     let mutex = Mutex::new(1);
    ///     let mut guard = mutex.lock().unwrap();
    ///     *guard += 1;
    ///     assert_eq!(mutex.lock().unwrap_err(), Error::Deadlock);
    ///     *guard
    /// });
    /// scheduler.run()?;
    /// assert_eq!(task.join()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Deadlock`] when the task has locked it itself, [`Error::OwnerDied`] when a task has
    /// that ended, or ends meanwhile, and left the guard somewhere, and [those of the
    /// module](super#errors).
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.lock_within(None)
    }

    /// [`lock`](Self::lock), and waits no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, sync::Mutex, task};
    /// use std::{rc::Rc, time::Duration};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let mutex = Rc::new(Mutex::new(()));
    /// let own = mutex.clone();
    /// scheduler.spawn(move || {
    ///     let _guard = own.lock().unwrap();
    ///     task::sleep(Duration::from_millis(20))
    /// });
    /// scheduler.spawn(move || {
    ///     let late = mutex.lock_timeout(Duration::from_millis(1));
    ///     assert_eq!(late.unwrap_err(), Error::TimedOut);
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and those of [`lock`](Self::lock).
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.lock_within(Some(timeout))
    }

    fn lock_within(&self, timeout: Option<Duration>) -> Result<MutexGuard<'_, T>> {
        let attempt = || self.try_lock().map(MutexGuard::disown);
        suspending_or(attempt, || self.core.lock(limit(timeout)))?;
        Ok(MutexGuard { mutex: self })
    }

    /// Locks it if nobody has. Does not suspend.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, sync::Mutex};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| assert_eq!(*Mutex::new(7).try_lock().unwrap(), 7));
    /// scheduler.run()?;
    /// assert_eq!(Mutex::new(7).try_lock().unwrap_err(), Error::NotInTask);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when another task has, and those of [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>> {
        if running_task().is_none() {
            return Err(Error::NotInTask);
        }
        self.core.try_lock()?;
        Ok(MutexGuard { mutex: self })
    }

    /// The value, for who has the mutex for himself.
    ///
    /// ```
    /// let mut mutex = majjen::sync::Mutex::new(1);
    /// *mutex.get_mut() += 1;
    /// assert_eq!(mutex.into_inner(), 2);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

/// A locked mutex: gives access to the value, and unlocks it when dropped, wherever that is. Whoever
/// waits has it then, and goes on when its turn comes.
///
/// One that is leaked, by [`forget`] for example, leaves the mutex locked until its task ends: who waits
/// for it then gets [`Error::OwnerDied`]. Until then the task counts as in a critical section, so its
/// calls that need not wait never suspend, however many it makes. One that goes on for long calls
/// [`yield_now`](crate::task::yield_now), which does.
///
/// ```
/// use majjen::{Scheduler, sync::Mutex};
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| {
///     let mutex = Mutex::new(String::new());
///     let mut guard = mutex.lock().unwrap();
///     guard.push_str("locked");
///     drop(guard);
///     assert_eq!(*mutex.lock().unwrap(), "locked");
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
#[must_use = "it unlocks the mutex when dropped"]
pub struct MutexGuard<'m, T: ?Sized> {
    pub(super) mutex: &'m Mutex<T>,
}

impl<T: ?Sized> MutexGuard<'_, T> {
    /// Lets go of it without unlocking the mutex.
    pub(super) fn disown(self) {
        forget(self);
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: there is one guard at a time, and this borrows it.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.core.release();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, out)
    }
}

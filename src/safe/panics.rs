//! Panics of the program's code, which end here.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A panic that has ended a task, in [`JoinError::Panicked`](crate::JoinError::Panicked).
///
/// ```
/// use majjen::{JoinError, Scheduler};
///
/// let scheduler = Scheduler::new()?;
/// let fails = scheduler.spawn(|| if true { panic!("on purpose") });
/// scheduler.run()?;
/// let Err(JoinError::Panicked(panic)) = fails.join() else { panic!("it has not panicked") };
/// assert_eq!(panic.message(), "on purpose");
/// assert!(panic.into_payload().is::<&str>());
/// # Ok::<(), majjen::Error>(())
/// ```
pub struct Panic {
    payload: Box<dyn Any + Send>,
}

// SAFETY: what is shared gives the message only, which is of a type that may be shared. The payload, which
// may be of any type, is for who owns this.
unsafe impl Sync for Panic {}

impl Panic {
    pub(super) fn new(payload: Box<dyn Any + Send>) -> Panic {
        Panic { payload }
    }

    /// What it said, if it was in words.
    ///
    /// ```
    /// # let scheduler = majjen::Scheduler::new()?;
    /// let fails = scheduler.spawn(|| std::panic::panic_any(7));
    /// scheduler.run()?;
    /// let Err(majjen::JoinError::Panicked(panic)) = fails.join() else { unreachable!() };
    /// assert_eq!(panic.message(), "(no message)");
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn message(&self) -> &str {
        panic_message(&*self.payload)
    }

    /// What the task has panicked with.
    ///
    /// ```
    /// # let scheduler = majjen::Scheduler::new()?;
    /// let fails = scheduler.spawn(|| std::panic::panic_any(7));
    /// scheduler.run()?;
    /// let Err(majjen::JoinError::Panicked(panic)) = fails.join() else { unreachable!() };
    /// assert_eq!(panic.into_payload().downcast_ref(), Some(&7));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload
    }

    /// Lets the panic go on here. The panic hook, which has told of it, is not called again.
    ///
    /// ```
    /// # let scheduler = majjen::Scheduler::new()?;
    /// let fails = scheduler.spawn(|| if true { panic!("on purpose") });
    /// scheduler.run()?;
    /// let Err(majjen::JoinError::Panicked(panic)) = fails.join() else { unreachable!() };
    /// let joins = scheduler.spawn(|| panic.resume());
    /// scheduler.run()?;
    /// assert!(matches!(joins.join(), Err(majjen::JoinError::Panicked(_))));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn resume(self) -> ! {
        resume_unwind(self.payload)
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Panic").field(&self.message()).finish()
    }
}

/// What a panic says, if it says it in words.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

/// Drops a value of the program. A panic of its destructor ends here; the panic hook has told of
/// it.
pub fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        forget_payload(payload);
    }
}

/// Lets a panic's payload go without running its destructor, which could panic again.
pub fn forget_payload(payload: Box<dyn Any + Send>) {
    std::mem::forget(payload);
}

//! The wait group, and its members.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::Owned;
use crate::engine::sync::{self, Home};
use crate::engine::sys::{Error, Result};
use crate::safe::time::limit;
use crate::safe::unwind::suspending_or;

/// Waits until a number of things are done.
///
/// ```
/// use majjen::{Scheduler, sync::WaitGroup, task};
/// use std::rc::Rc;
///
/// let scheduler = Scheduler::new()?;
/// let group = Rc::new(WaitGroup::new());
/// for _ in 0..3 {
///     let member = group.member()?;
///     scheduler.spawn(move || {
///         let _member = member; // Done when dropped, also if the task is canceled.
///         task::yield_now()
///     });
/// }
/// let all = scheduler.spawn(move || group.wait());
/// scheduler.run()?;
/// assert_eq!(all.join()?, Ok(()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::sync::WaitGroup::new());
/// ```
pub struct WaitGroup {
    core: Owned<sync::WaitGroup>,
}

impl WaitGroup {
    /// A group with nothing to be done.
    ///
    /// ```
    /// assert_eq!(majjen::sync::WaitGroup::new().wait(), Ok(()));
    /// ```
    pub const fn new() -> WaitGroup {
        WaitGroup { core: Owned(sync::WaitGroup::new(Home::none())) }
    }

    /// Adds to what is to be done, best before the tasks that will do it are spawned.
    ///
    /// ```
    /// use majjen::{Error, sync::WaitGroup};
    ///
    /// let group = WaitGroup::new();
    /// group.add(2)?;
    /// group.done()?;
    /// assert_eq!(group.wait(), Err(Error::NotInTask)); // It would have to wait.
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overflow`](crate::Error::Overflow), and
    /// [`Error::WrongScheduler`](crate::Error::WrongScheduler) in a task of another scheduler.
    pub fn add(&self, count: usize) -> Result<()> {
        self.core.add(count)
    }

    /// One thing is done. Does not suspend.
    ///
    /// ```
    /// use majjen::{Error, sync::WaitGroup};
    ///
    /// assert_eq!(WaitGroup::new().done(), Err(Error::InvalidArgument)); // There was nothing to do.
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) when nothing is to be done, and
    /// [`Error::WrongScheduler`](crate::Error::WrongScheduler) in a task of another scheduler.
    pub fn done(&self) -> Result<()> {
        self.core.done()
    }

    /// Adds one thing, which is done when the member is dropped, wherever that is.
    ///
    /// ```
    /// use majjen::sync::WaitGroup;
    /// use std::rc::Rc;
    ///
    /// let group = Rc::new(WaitGroup::new());
    /// drop(group.member()?);
    /// assert_eq!(group.wait(), Ok(()));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn member(self: &Rc<Self>) -> Result<Member> {
        self.add(1)?;
        Ok(Member { group: self.clone() })
    }

    /// Waits until nothing is left to be done.
    ///
    /// ```
    /// use majjen::{Scheduler, sync::WaitGroup};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| assert_eq!(WaitGroup::new().wait(), Ok(())));
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [Those of the module](super#errors).
    pub fn wait(&self) -> Result<()> {
        self.wait_within(None)
    }

    /// [`wait`](Self::wait), no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, sync::WaitGroup};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let group = WaitGroup::new();
    ///     group.add(1).unwrap();
    ///     assert_eq!(group.wait_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`](crate::Error::TimedOut), and [those of the module](super#errors).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_within(Some(timeout))
    }

    fn wait_within(&self, timeout: Option<Duration>) -> Result<()> {
        let attempt = || if self.core.is_done() { Ok(()) } else { Err(Error::WouldBlock) };
        suspending_or(attempt, || self.core.wait(limit(timeout)))
    }
}

impl Default for WaitGroup {
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

/// One thing that a [`WaitGroup`] waits for: done when this is dropped.
///
/// ```
/// use majjen::sync::{Member, WaitGroup};
/// use std::rc::Rc;
///
/// let group = Rc::new(WaitGroup::new());
/// let members: Vec<Member> = (0..3).map(|_| group.member()).collect::<Result<_, _>>()?;
/// drop(members);
/// assert_eq!(group.wait(), Ok(()));
/// # Ok::<(), majjen::Error>(())
/// ```
#[must_use = "it is done when dropped"]
pub struct Member {
    group: Rc<WaitGroup>,
}

impl Drop for Member {
    fn drop(&mut self) {
        // Refused only if somebody has said `done` for it.
        let _ = self.group.core.leave();
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WaitGroup").finish_non_exhaustive()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Member").finish_non_exhaustive()
    }
}

//! A set of tasks whose results are taken in the order in which they end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::handle::Task;
use super::spawn::Options;
use crate::engine::scheduler::running_task;
use crate::engine::sync::{Group, Home, Semaphore};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;
use crate::safe::group::{Membership, SharedGroup};
use crate::safe::join::{JoinError, Outcome, Sink, job};
use crate::safe::record::{Place, Record};
use crate::safe::sync::Owned;
use crate::safe::time::{limit, to_ns};
use crate::safe::unwind::{suspending, suspending_or};

/// Tasks that belong together, as many as are spawned: their results come in the order in which they
/// end, a limit says how many there are at a time, and all are canceled together: by
/// [`cancel_all`](Self::cancel_all), by [`end`](Self::end), which waits for them, and when the set is
/// dropped. It is what a group is in C. Tasks that borrow are those of a [`scope`](super::scope()).
///
/// ```
/// use majjen::{Scheduler, task::JoinSet};
///
/// let scheduler = Scheduler::new()?;
/// let sum = scheduler.spawn(|| {
///     let mut squares = JoinSet::with_limit(2);
///     for n in 1..=4 {
///         squares.spawn(move || n * n); // Waits until there are less than two.
///     }
///     let mut sum = 0;
///     while let Some(square) = squares.join_next() {
///         sum += square.unwrap();
///     }
///     sum
/// });
/// scheduler.run()?;
/// assert_eq!(sum.join()?, 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::task::JoinSet::<()>::new());
/// ```
pub struct JoinSet<T> {
    inner: Rc<Inner<T>>,
}

/// What the tasks share with the set.
struct Inner<T> {
    group: SharedGroup,
    /// Borrowed to move one in or out, in which nothing of the program runs.
    results: RefCell<VecDeque<Outcome<T>>>,
    /// A permit for each result.
    available: Owned<Semaphore>,
}

impl<T> Sink<T> for Inner<T> {
    fn put(&self, outcome: Outcome<T>) {
        self.results.borrow_mut().push_back(outcome);
        // It does not fail: there are fewer results than permits can be.
        let _ = self.available.give_back(1);
    }
}

impl<T> JoinSet<T> {
    /// A set of any number of tasks.
    ///
    /// ```
    /// assert!(majjen::task::JoinSet::<()>::new().join_next().is_none());
    /// ```
    pub fn new() -> JoinSet<T> {
        JoinSet::with_limit(0)
    }

    /// A set of so many tasks at a time; 0 for any number.
    ///
    /// ```
    /// use majjen::{Scheduler, task::JoinSet};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let set = JoinSet::with_limit(1);
    ///     let first = set.spawn(|| ());
    ///     set.spawn(|| ());
    ///     assert!(first.is_finished()); // Before the other one was added.
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn with_limit(limit: usize) -> JoinSet<T> {
        JoinSet {
            inner: Rc::new(Inner {
                group: Rc::new(Owned(Group::new(Home::none(), limit))),
                results: RefCell::default(),
                available: Owned(Semaphore::new(Home::none(), 0)),
            }),
        }
    }

    /// Adds a task to the scheduler of the running one. If there are as many as the limit says, waits
    /// until one of them has ended. That a task cannot be started is its result.
    ///
    /// ```
    /// use majjen::{Error, JoinError, task::JoinSet};
    ///
    /// let mut set = JoinSet::new();
    /// set.spawn(|| ());
    /// assert!(matches!(set.join_next(), Some(Err(JoinError::Failed(Error::NotInTask)))));
    /// ```
    pub fn spawn(&self, body: impl FnOnce() -> T + 'static) -> Task
    where
        T: 'static,
    {
        self.add(body, None).unwrap_or_else(|error| {
            self.inner.put(Err(JoinError::of_refusal(error)));
            Task::none()
        })
    }

    /// [`spawn`](Self::spawn), waiting no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let one = task::JoinSet::with_limit(1);
    ///     one.spawn(|| task::park(None));
    ///     let other = one.spawn_timeout(|| Ok(()), Duration::from_millis(1));
    ///     assert_eq!(other.unwrap_err(), Error::TimedOut);
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Disconnected`] when the tasks have been canceled, and those of
    /// [`Builder::spawn`](super::Builder::spawn).
    pub fn spawn_timeout(
        &self,
        body: impl FnOnce() -> T + 'static,
        timeout: Duration,
    ) -> Result<Task>
    where
        T: 'static,
    {
        self.add(body, Some(timeout))
    }

    fn add(&self, body: impl FnOnce() -> T + 'static, timeout: Option<Duration>) -> Result<Task>
    where
        T: 'static,
    {
        let group = &self.inner.group;
        let record = running_task().and_then(|(_, task)| Record::of(task));
        let shared = record.ok_or(Error::NotInTask)?.shared.clone();
        suspending(|| group.take_place(limit(timeout)))?;
        let membership = Some(Membership::new(group.clone()));
        let job = job(self.inner.clone(), body);
        Options::default().start(&shared, job, Place { depth: 0, membership })
    }

    /// Waits until a task has ended, and returns its result. `None` if there is no task, nor a result
    /// that was not taken. Outside a task it does not wait.
    ///
    /// ```
    /// use majjen::{JoinError, Scheduler, task::JoinSet};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let mut set = JoinSet::new();
    ///     set.spawn(|| if true { panic!("on purpose") });
    ///     set.spawn(|| ());
    ///     assert!(matches!(set.join_next(), Some(Err(JoinError::Panicked(_)))));
    ///     assert!(matches!(set.join_next(), Some(Ok(()))));
    ///     assert!(set.join_next().is_none());
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`JoinHandle::join`](crate::JoinHandle::join).
    pub fn join_next(&mut self) -> Option<std::result::Result<T, JoinError>> {
        self.next_within(None)
    }

    /// [`join_next`](Self::join_next), no longer than the timeout: [`JoinError::Failed`] with
    /// [`Error::TimedOut`] when no task has ended by then.
    ///
    /// ```
    /// use majjen::{Error, JoinError, Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let mut set = task::JoinSet::new();
    ///     set.spawn(|| task::park(None));
    ///     let next = set.join_next_timeout(Duration::from_millis(1));
    ///     assert!(matches!(next, Some(Err(JoinError::Failed(Error::TimedOut)))));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// That, and those of [`join_next`](Self::join_next).
    pub fn join_next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Option<std::result::Result<T, JoinError>> {
        self.next_within(Some(timeout))
    }

    /// The result of a task that has ended, if there is one that was not taken. Does not wait.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let mut set = task::JoinSet::new();
    ///     set.spawn(|| 42);
    ///     assert!(set.try_join_next().is_none()); // It has not run yet.
    ///     set.wait().unwrap();
    ///     assert!(matches!(set.try_join_next(), Some(Ok(42))));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`join_next`](Self::join_next).
    pub fn try_join_next(&mut self) -> Option<std::result::Result<T, JoinError>> {
        match self.inner.available.try_acquire(1) {
            Ok(()) => self.inner.results.borrow_mut().pop_front(),
            Err(Error::WouldBlock) => None,
            Err(error) => Some(Err(JoinError::Failed(error))),
        }
    }

    fn next_within(&mut self, timeout: Option<Duration>) -> Option<Outcome<T>> {
        if self.is_empty() {
            return None;
        }
        let available = &self.inner.available;
        let waited =
            suspending_or(|| available.try_acquire(1), || available.acquire(1, limit(timeout)));
        match waited {
            Ok(()) => self.inner.results.borrow_mut().pop_front(),
            Err(error) => Some(Err(JoinError::Failed(error))),
        }
    }

    /// How many tasks there are, and results that were not taken.
    ///
    /// ```
    /// assert_eq!(majjen::task::JoinSet::<()>::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.inner.group.count() + self.inner.results.borrow().len()
    }

    /// Whether [`join_next`](Self::join_next) has nothing to return any more.
    ///
    /// ```
    /// assert!(majjen::task::JoinSet::<()>::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until all tasks have ended, and leaves their results for [`join_next`](Self::join_next).
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let set = task::JoinSet::new();
    ///     let (one, other) = (set.spawn(|| ()), set.spawn(|| task::yield_now().unwrap()));
    ///     set.wait().unwrap();
    ///     assert!(one.is_finished() && other.is_finished());
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [Those of the module `sync`](crate::sync#errors), and [`Error::Deadlock`] in one of the tasks.
    pub fn wait(&self) -> Result<()> {
        self.wait_within(None)
    }

    /// [`wait`](Self::wait), no longer than the timeout.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let set = task::JoinSet::new();
    ///     set.spawn(|| task::park(None));
    ///     assert_eq!(set.wait_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`], and those of [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_within(Some(timeout))
    }

    fn wait_within(&self, timeout: Option<Duration>) -> Result<()> {
        let group = &self.inner.group;
        let attempt = || if group.count() == 0 { Ok(()) } else { Err(Error::WouldBlock) };
        suspending_or(attempt, || group.wait(limit(timeout)))
    }

    /// Tells all tasks to end, as [`JoinHandle::cancel`](crate::JoinHandle::cancel) does, and lets no
    /// other one start, for good: what is spawned is canceled at once.
    ///
    /// ```
    /// use majjen::{JoinError, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let mut set = task::JoinSet::new();
    ///     set.spawn(|| task::park(None));
    ///     set.cancel_all();
    ///     set.spawn(|| Ok(()));
    ///     for _ in 0..2 {
    ///         assert!(matches!(set.join_next(), Some(Err(JoinError::Canceled))));
    ///     }
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn cancel_all(&self) {
        self.inner.group.abandon();
    }

    /// Lets no other task start, waits at most that long until all have ended, cancels those that are
    /// left, and waits for them as long as it takes. A cancellation of the running task does not cut it
    /// short: it is unwound when it suspends next. Afterwards none of the tasks exists.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| {
    ///     let set = task::JoinSet::new();
    ///     let quick = set.spawn(|| task::sleep(Duration::from_millis(1)));
    ///     let slow = set.spawn(|| task::sleep(Duration::from_secs(3600)));
    ///     set.end(Duration::from_millis(20)).unwrap();
    ///     assert!(quick.is_finished() && slow.is_finished());
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Deadlock`] in one of the tasks, [`Error::NotInTask`] and
    /// [`Error::WrongScheduler`]; and [`Error::Unwinding`] in a destructor that a panic runs, where it
    /// cancels them without waiting.
    pub fn end(&self, grace: Duration) -> Result<()> {
        let group = &self.inner.group;
        let attempt = || {
            if group.count() == 0 || thread::panicking() {
                group.abandon();
            }
            if group.count() == 0 { Ok(()) } else { Err(Error::WouldBlock) }
        };
        suspending_or(attempt, || group.end(Deadline::In(to_ns(grace))))
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> JoinSet<T> {
        JoinSet::new()
    }
}

/// Cancels the tasks, and does not wait for them.
impl<T> Drop for JoinSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl<T> fmt::Debug for JoinSet<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("JoinSet").field("len", &self.len()).finish()
    }
}

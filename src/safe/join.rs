//! Waiting for a task to end, and what became of it.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::panics::{Panic, drop_quietly};
use super::record::Job;
use super::task::handle::Task;
use super::time::limit;
use super::unwind::{Canceled, suspending, suspending_or};
use crate::engine::sys::{Error, Result};
use crate::engine::{log, scheduler};

/// Why there is no result of a task.
///
/// ```
/// use majjen::{JoinError, Scheduler};
///
/// let scheduler = Scheduler::new()?;
/// let fails = scheduler.spawn(|| if true { panic!("on purpose") });
/// scheduler.run()?;
/// match fails.join() {
///     Err(JoinError::Panicked(panic)) => assert_eq!(panic.message(), "on purpose"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), majjen::Error>(())
/// ```
#[non_exhaustive]
pub enum JoinError {
    /// It panicked.
    Panicked(Panic),
    /// It was canceled, or dropped with its scheduler, before it could end by itself.
    Canceled,
    /// It could not be started or waited for.
    Failed(Error),
}

impl fmt::Debug for JoinError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => {
                out.debug_tuple("Panicked").field(&panic.message()).finish()
            }
            JoinError::Canceled => out.write_str("Canceled"),
            JoinError::Failed(error) => out.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Panicked(panic) => {
                write!(out, "the task has panicked: {}", panic.message())
            }
            JoinError::Canceled => out.write_str("the task was canceled"),
            JoinError::Failed(error) => write!(out, "cannot join the task: {error}"),
        }
    }
}

impl std::error::Error for JoinError {}

impl JoinError {
    /// Why a group has not taken a task. One that is closed would have canceled it.
    pub(super) fn of_refusal(error: Error) -> JoinError {
        match error {
            Error::Disconnected => JoinError::Canceled,
            error => JoinError::Failed(error),
        }
    }
}

/// Without what the panic said.
impl From<JoinError> for Error {
    fn from(error: JoinError) -> Error {
        match error {
            JoinError::Panicked(_) => Error::Panicked,
            JoinError::Canceled => Error::Canceled,
            JoinError::Failed(error) => error,
        }
    }
}

/// With the kind that the [`Error`] in it has; it can be had again by
/// [`get_ref`](std::io::Error::get_ref).
impl From<JoinError> for std::io::Error {
    fn from(error: JoinError) -> std::io::Error {
        match error {
            JoinError::Failed(error) => error.into(),
            JoinError::Canceled => Error::Canceled.into(),
            error => std::io::Error::other(error),
        }
    }
}

pub type Outcome<T> = std::result::Result<T, JoinError>;

/// Where a task leaves its result, which is shared with who takes it.
pub trait Sink<T> {
    fn put(&self, outcome: Outcome<T>);
}

/// The place for the result of one task. Shared by the job and the handle.
struct Packet<T> {
    /// Until the handle takes it.
    outcome: Cell<Option<Outcome<T>>>,
    /// Whether there was one.
    filled: Cell<bool>,
}

impl<T> Packet<T> {
    fn new() -> Rc<Packet<T>> {
        Rc::new(Packet { outcome: Cell::new(None), filled: Cell::new(false) })
    }
}

impl<T> Sink<T> for Packet<T> {
    fn put(&self, outcome: Outcome<T>) {
        self.outcome.set(Some(outcome));
        self.filled.set(true);
    }
}

/// The right to a task's result. Dropping it lets the task go on by itself.
///
/// ```
/// use majjen::{JoinError, Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let adds = scheduler.spawn(|| 2 + 2);
/// let fails = scheduler.spawn(|| if true { panic!("on purpose") });
/// let both = scheduler.spawn(move || (adds.join(), fails.join()));
/// scheduler.run()?;
/// let (sum, failure) = both.join()?;
/// assert_eq!(sum?, 4);
/// assert!(matches!(failure, Err(JoinError::Panicked(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::Scheduler::new().unwrap().spawn(|| ()));
/// ```
pub struct JoinHandle<T> {
    task: Task,
    packet: Rc<Packet<T>>,
}

/// A handle's packet, and the job that fills it.
pub struct Pair<T> {
    packet: Rc<Packet<T>>,
}

impl<T> Pair<T> {
    pub fn new<'a>(body: impl FnOnce() -> T + 'a) -> (Pair<T>, Job<'a>)
    where
        T: 'a,
    {
        let packet = Packet::new();
        let job = job(packet.clone(), body);
        (Pair { packet }, job)
    }

    pub fn into_handle(self, task: Task) -> JoinHandle<T> {
        JoinHandle { task, packet: self.packet }
    }
}

/// The job that runs a closure, and puts what becomes of it into a sink.
pub fn job<'a, T, S: Sink<T> + 'a>(sink: Rc<S>, body: impl FnOnce() -> T + 'a) -> Job<'a> {
    Box::new(move |canceled| {
        // What the closure owns may be left in any state by a panic; it is dropped here, and seen
        // by others only through what is theirs as well, as with threads.
        let result = catch_unwind(AssertUnwindSafe(move || {
            if canceled { Err(JoinError::Canceled) } else { Ok(body()) }
        }));
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(payload) if payload.is::<Canceled>() => Err(JoinError::Canceled),
            Err(payload) => Err(JoinError::Panicked(Panic::new(payload))),
        };
        if Rc::strong_count(&sink) == 1
            && let Err(JoinError::Panicked(panic)) = &outcome
        {
            log::error(format_args!(
                "a task without a handle to join it has panicked: {}",
                panic.message()
            ));
        }
        sink.put(outcome);
        drop_quietly(sink); // With the outcome, if nobody is left to take it.
    })
}

impl<T> JoinHandle<T> {
    /// A handle to a task that could not be started.
    pub(super) fn failed(error: Error) -> JoinHandle<T> {
        JoinHandle::refused(JoinError::Failed(error))
    }

    pub(super) fn refused(error: JoinError) -> JoinHandle<T> {
        let packet = Packet::new();
        packet.put(Err(error));
        JoinHandle { task: Task::none(), packet }
    }

    /// Waits until the task has ended, and returns its result. Outside a task it does not wait: it
    /// is for after [`Scheduler::run`](crate::Scheduler::run).
    ///
    /// ```
    /// use majjen::Scheduler;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let one = scheduler.spawn(|| 1);
    /// let two = scheduler.spawn(move || one.join().map(|one| one + 1));
    /// scheduler.run()?;
    /// assert_eq!(two.join()??, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`JoinError::Panicked`] and [`JoinError::Canceled`] as they say. [`JoinError::Failed`] with
    /// [`Error::NotInTask`] outside a task when this one has not ended, [`Error::Deadlock`] when it
    /// is the caller itself, [`Error::WrongScheduler`] when it is one of another scheduler,
    /// [`Error::NoSuchTask`] when it was given up; and what starting the task has failed with.
    pub fn join(self) -> std::result::Result<T, JoinError> {
        self.join_by_ref()
    }

    pub(super) fn join_by_ref(&self) -> std::result::Result<T, JoinError> {
        self.wait().map_err(JoinError::Failed)?;
        // There is none if the task was given up, since it would not unwind.
        self.packet.outcome.take().unwrap_or(Err(JoinError::Failed(Error::NoSuchTask)))
    }

    /// Waits until the task has ended, and leaves the result for [`join`](Self::join).
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let one = scheduler.spawn(|| 1);
    /// let two = scheduler.spawn(move || one.wait().map(|()| one.is_finished()));
    /// scheduler.run()?;
    /// assert_eq!(two.join()?, Ok(true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`join`](Self::join), without what the task itself has ended with.
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
    /// let slow = scheduler.spawn(|| task::sleep(Duration::from_secs(3600)));
    /// scheduler.spawn(move || {
    ///     assert_eq!(slow.wait_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    ///     slow.cancel();
    ///     slow.join().unwrap_err();
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
        if self.is_finished() {
            return suspending_or(|| Ok(()), scheduler::spend);
        }
        suspending(|| scheduler::join(self.task.id_here()?, limit(timeout)))
    }

    /// Whether the task has ended, so that [`join`](Self::join) does not wait.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let handle = scheduler.spawn(|| ());
    /// assert!(!handle.is_finished());
    /// scheduler.run()?;
    /// assert!(handle.is_finished());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.packet.filled.get()
    }

    /// Tells the task to end. If it has begun, the call that suspends it unwinds its stack, now or
    /// when it suspends next, so that its destructors run; else it does not begin. A task that
    /// catches the unwinding gets it again with each call that suspends.
    ///
    /// A task that has ended, or whose scheduler is gone, is left alone.
    ///
    /// ```
    /// use majjen::{JoinError, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let waits = scheduler.spawn(|| task::park(None));
    /// let result = scheduler.spawn(move || {
    ///     waits.cancel();
    ///     waits.join()
    /// });
    /// scheduler.run()?;
    /// assert!(matches!(result.join()?, Err(JoinError::Canceled)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) {
        self.task.cancel();
    }

    /// A handle that cancels the task when it is dropped, as when the task that has it is unwound.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let child = scheduler.spawn(|| {
    ///     let ticks = task::spawn(|| task::sleep(Duration::from_secs(3600))).cancel_on_drop();
    ///     assert!(!ticks.is_finished());
    ///     ticks.task().clone()
    /// });
    /// scheduler.run()?; // Does not take an hour.
    /// assert!(child.join()?.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_on_drop(self) -> CancelOnDrop<T> {
        CancelOnDrop { handle: self }
    }

    /// The task itself.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let handle = scheduler.spawn(|| task::current().map(|task| task.id()));
    /// let id = handle.task().id();
    /// scheduler.run()?;
    /// assert_eq!(handle.join()?, Some(id));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn task(&self) -> &Task {
        &self.task
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("JoinHandle")
            .field("task", &self.task)
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

/// A [`JoinHandle`] that cancels its task when it is dropped: see
/// [`JoinHandle::cancel_on_drop`].
#[must_use = "the task is canceled when it is dropped"]
pub struct CancelOnDrop<T> {
    handle: JoinHandle<T>,
}

impl<T> CancelOnDrop<T> {
    /// As [`JoinHandle::join`]. A caller that is unwound meanwhile cancels the task.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let one = scheduler.spawn(|| 1).cancel_on_drop();
    /// let two = scheduler.spawn(move || one.join().map(|one| one + 1));
    /// scheduler.run()?;
    /// assert_eq!(two.join()??, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`JoinHandle::join`].
    pub fn join(self) -> std::result::Result<T, JoinError> {
        self.handle.join_by_ref()
    }
}

impl<T> Deref for CancelOnDrop<T> {
    type Target = JoinHandle<T>;

    fn deref(&self) -> &JoinHandle<T> {
        &self.handle
    }
}

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.handle.cancel();
    }
}

impl<T> fmt::Debug for CancelOnDrop<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("CancelOnDrop").field(&self.handle).finish()
    }
}

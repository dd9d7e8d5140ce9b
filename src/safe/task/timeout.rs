//! Time limits for a part of a task.
//!
//! A call of [`timeout`] brings the task's deadline forward, by which the core ends its waits, and notes in
//! the task's record the moment from which on such a wait unwinds. That is the earliest one of the calls that
//! it is in, down to the last `no_unwind`; so the innermost of them whose moment is no later than those
//! around it catches.

use std::cmp::{max, min};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::engine::scheduler::{Running, running_task};
use crate::engine::sys::Error;
use crate::engine::task::Task;
use crate::safe::record::Record;
use crate::safe::time::Instant;

/// Runs a function, and gives it up when it has to wait past the limit: its call that waits does not return,
/// but unwinds the stack to here, so that destructors run. The limit does not interrupt what does not wait,
/// and a value that the function returns is returned, however late that is.
///
/// Calls of it may be nested. When the limit of an outer one passes, it is that which returns. A panic and a
/// [cancellation](super#cancellation) of the task pass through it.
///
/// ```
/// use majjen::{Scheduler, sync::channel, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let (sender, receiver) = channel(10);
/// let sum = scheduler.spawn(move || {
///     sender.send(1).unwrap();
///     sender.send(2).unwrap();
///     let mut sum = 0;
///     let all = task::timeout(Duration::from_millis(5), || {
///         for number in &receiver {
///             sum += number; // The third one never comes.
///         }
///     });
///     assert!(all.is_err());
///     sum
/// });
/// scheduler.run()?;
/// assert_eq!(sum.join()?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Where the task cannot be unwound, the call that waits past the limit returns [`Error::TimedOut`] instead,
/// and it is up to the function to return: in [`no_unwind`](super::no_unwind) inside the limit, in a task that
/// C code has created, and in programs that are built with `panic = "abort"`. Around code that C calls there
/// is to be a [`no_unwind`](super::no_unwind), as everywhere. In a [`shield`](super::shield) inside the limit
/// calls wait as long as they have to; the next one after it is over. Outside a task there is nothing to
/// limit.
///
/// What the function changes may be left half changed, as by a panic that is caught.
///
/// # Errors
/// [`Elapsed`], when the limit has passed.
pub fn timeout<T>(limit: Duration, body: impl FnOnce() -> T) -> Result<T, Elapsed> {
    timeout_at(Instant::now() + limit, body)
}

/// [`timeout`] with the moment at which the limit passes.
///
/// ```
/// use majjen::{Instant, Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let halves = scheduler.spawn(|| {
///     let deadline = Instant::now() + Duration::from_millis(5); // For both together.
///     let first = task::timeout_at(deadline, || task::sleep(Duration::from_millis(1)).is_ok());
///     let second = task::timeout_at(deadline, || task::sleep(Duration::from_secs(3600)));
///     (first.is_ok(), second.is_err())
/// });
/// scheduler.run()?;
/// assert_eq!(halves.join()?, (true, true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`timeout`].
pub fn timeout_at<T>(deadline: impl Into<Instant>, body: impl FnOnce() -> T) -> Result<T, Elapsed> {
    let Some((_, task)) = running_task() else {
        return Ok(body());
    };
    let limits = Limits::set(task, deadline.into().as_ns());
    // What the closure borrows may be left in any state, which the documentation says.
    let result = catch_unwind(AssertUnwindSafe(body));
    let catches = limits.catches;
    drop(limits);
    result.or_else(|payload| {
        if catches && payload.is::<Elapsed>() {
            Err(Elapsed::new())
        } else {
            resume_unwind(payload)
        }
    })
}

/// Puts back the limits of a task as they were before a call of `timeout` when it is dropped.
struct Limits<'t> {
    task: &'t Task,
    /// In a Rust task: no other is unwound.
    record: Option<&'t Record>,
    deadline_ns: u64,
    unwinds_at_ns: u64,
    /// Whether its own limit is the first that passes, of those to whose calls a wait may unwind.
    catches: bool,
}

impl Limits<'_> {
    fn set(task: &Task, limit_ns: u64) -> Limits<'_> {
        let record = Record::of(task);
        let unwinds_at_ns = record.map_or(u64::MAX, |record| record.unwinds_at_ns.get());
        if let Some(record) = record {
            record.unwinds_at_ns.set(min(unwinds_at_ns, limit_ns));
        }
        let deadline_ns = task.deadline_ns.get();
        task.deadline_ns.set(min(deadline_ns, limit_ns));
        Limits { task, record, deadline_ns, unwinds_at_ns, catches: limit_ns <= unwinds_at_ns }
    }
}

impl Drop for Limits<'_> {
    fn drop(&mut self) {
        self.task.deadline_ns.set(self.deadline_ns);
        if let Some(record) = self.record {
            record.unwinds_at_ns.set(self.unwinds_at_ns);
        }
    }
}

/// Whether a wait of a task that has timed out unwinds it to a call of [`timeout`]: that is over, and so is the
/// task's deadline, which the task may have set to another moment since.
pub(in crate::safe) fn is_over(record: &Record, (scheduler, task): Running<'_>) -> bool {
    let over_at_ns = max(record.unwinds_at_ns.get(), task.deadline_ns.get());
    over_at_ns != u64::MAX && over_at_ns <= scheduler.time.clock.now_ns()
}

/// Says that the limit of a [`timeout`] has passed. It is also what unwinding carries up the stack until then.
///
/// ```
/// use majjen::{Error, Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let late = scheduler.spawn(|| -> Result<(), Error> {
///     task::timeout(Duration::from_millis(1), || task::park(None))??;
///     Ok(())
/// });
/// scheduler.run()?;
/// assert_eq!(late.join()?, Err(Error::TimedOut));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(());

impl Elapsed {
    pub(in crate::safe) fn new() -> Elapsed {
        Elapsed(())
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the time limit has passed")
    }
}

impl std::error::Error for Elapsed {}

/// [`Error::TimedOut`].
impl From<Elapsed> for Error {
    fn from(_: Elapsed) -> Error {
        Error::TimedOut
    }
}

/// Of the kind [`TimedOut`](std::io::ErrorKind::TimedOut).
impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> std::io::Error {
        Error::TimedOut.into()
    }
}

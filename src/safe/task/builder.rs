//! Adding tasks that have names and stack sizes of their own.

use super::spawn::Options;
use crate::engine::scheduler::running_task;
use crate::engine::sys::{Error, Result};
use crate::safe::join::JoinHandle;
use crate::safe::record::Record;
use crate::safe::scheduler::Scheduler;

/// What a new task is to have.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let deep = task::Builder::new().name("deep").stack_size(1 << 20);
/// let name = deep.spawn_on(&scheduler, || task::current().and_then(|task| task.name()))?;
/// scheduler.run()?;
/// assert_eq!(name.join()?.as_deref(), Some("deep"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    daemon: bool,
}

impl Builder {
    /// A task without a name, with the scheduler's stack size.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let handle = task::Builder::new().spawn_on(&scheduler, || ())?;
    /// assert_eq!(handle.task().name(), None);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task, for lists of tasks and for the debugger. Cut after 23 bytes.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// task::Builder::new().name("worker").spawn_on(&scheduler, || ())?;
    /// assert!(scheduler.dump().contains("worker"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The size of its stack, in bytes; rounded up as by
    /// [`majjen::Builder::stack_size`](crate::Builder::stack_size). A function in C whose variables are larger
    /// than the guard below the stack can step over it, however large the stack is: see
    /// [`guard_size`](crate::Builder::guard_size).
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let deep = task::Builder::new().stack_size(4 << 20).spawn_on(&scheduler, || {
    ///     std::hint::black_box(&mut [0_u8; 3 << 20]).len()
    /// })?;
    /// scheduler.run()?;
    /// assert_eq!(deep.join()?, 3 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Whether the task is a daemon, which does not keep a run going: a heartbeat, a janitor, a task that
    /// accepts. When all other tasks have ended, the daemons are canceled, and the run waits for them to end:
    /// as long as [`daemon_limit`](crate::Builder::daemon_limit) says. Those that have not by then stay as
    /// they are, and a WARN line in the log names them.
    ///
    /// ```
    /// use majjen::{Ended, Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let heartbeat = task::Builder::new().daemon(true).spawn_on(&scheduler, || -> () {
    ///     loop {
    ///         task::sleep(Duration::from_secs(1)).unwrap(); // Unwinds it at the end.
    ///     }
    /// })?;
    /// scheduler.spawn(|| task::sleep(Duration::from_millis(1)));
    /// assert_eq!(scheduler.run()?, Ended::Completed);
    /// assert!(heartbeat.is_finished());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Builder {
        self.daemon = daemon;
        self
    }

    /// Adds the task to the scheduler of the running one.
    ///
    /// ```
    /// use majjen::{Error, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let parent = scheduler.spawn(|| {
    ///     let too_small = task::Builder::new().stack_size(1).spawn(|| ());
    ///     (too_small.map(drop), task::Builder::new().name("child").spawn(|| 5))
    /// });
    /// scheduler.run()?;
    /// let (too_small, child) = parent.join()?;
    /// assert_eq!(too_small, Err(Error::InvalidArgument));
    /// assert_eq!(child?.join()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotInTask`] outside a task that was spawned from Rust,
    /// [`Error::InvalidArgument`] for a stack size under 16 KiB or over 1 GiB,
    /// [`Error::Canceled`] when the scheduler is being dropped, and [`Error::OutOfMemory`].
    pub fn spawn<T: 'static>(self, body: impl FnOnce() -> T + 'static) -> Result<JoinHandle<T>> {
        let shared = running_task()
            .and_then(|(_, task)| Record::of(task))
            .map(|record| record.shared.clone())
            .ok_or(Error::NotInTask)?;
        self.options().spawn(&shared, body)
    }

    /// Adds the task to a scheduler.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let handle = task::Builder::new().name("first").spawn_on(&scheduler, || 5)?;
    /// scheduler.run()?;
    /// assert_eq!(handle.join()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn spawn_on<T: 'static>(
        self,
        scheduler: &Scheduler,
        body: impl FnOnce() -> T + 'static,
    ) -> Result<JoinHandle<T>> {
        self.options().spawn(scheduler.shared(), body)
    }

    pub(super) fn options(&self) -> Options<'_> {
        Options { name: self.name.as_deref(), stack_size: self.stack_size, daemon: self.daemon }
    }
}

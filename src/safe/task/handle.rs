//! A handle to a task.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::ptr::null;
use std::rc::Rc;

use super::waker;
use crate::engine::context::stack;
use crate::engine::scheduler::{self, running_task};
use crate::engine::sys::{Error, Result, until_nul};
use crate::safe::record::{Record, wake};
use crate::safe::shared::Shared;

/// A handle to a task, which may have ended. It keeps nothing alive. Handles to one task are equal, so it
/// can be a key:
///
/// ```
/// use std::collections::HashMap;
///
/// let scheduler = majjen::Scheduler::new()?;
/// let handle = scheduler.spawn(|| ());
/// let names = HashMap::from([(handle.task().clone(), "the first one")]);
/// assert_eq!(names[handle.task()], "the first one");
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::task::current());
/// ```
#[derive(Clone)]
pub struct Task {
    /// `None` for a task that was never started.
    pub(in crate::safe) shared: Option<Rc<Shared>>,
    pub(in crate::safe) id: u64,
}

impl Task {
    pub(in crate::safe) fn none() -> Task {
        Task { shared: None, id: 0 }
    }

    /// Its number, which no other task of its scheduler has, before or after; 0 if it could not be
    /// started.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let (one, other) = (scheduler.spawn(|| ()), scheduler.spawn(|| ()));
    /// assert_ne!(one.task().id(), other.task().id());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name, as far as it fits: 23 bytes. `None` if it has none, or has ended.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let worker = task::Builder::new().name("worker").spawn_on(&scheduler, || ())?;
    /// assert_eq!(worker.task().name().as_deref(), Some("worker"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn name(&self) -> Option<String> {
        let (_, task) = self.shared.as_ref()?.task(self.id)?;
        let name = task.name.get();
        let name = until_nul(&name);
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    }

    /// Ends the task's call of [`park`](super::park), or makes its next one return at once. Does nothing to a
    /// task that waits for something else, or has ended.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let parked = scheduler.spawn(|| task::park(None));
    /// let task = parked.task().clone();
    /// scheduler.spawn(move || task.wake());
    /// scheduler.run()?;
    /// assert_eq!(parked.join()?, Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wake(&self) {
        if let Some((core, task)) = self.shared.as_ref().and_then(|shared| shared.task(self.id)) {
            wake(core, task);
        }
    }

    /// A waker that does what [`wake`](Self::wake) does, from any thread: for futures, and for whatever else
    /// tells by one that something is ready. It keeps a descriptor open. When the task or its scheduler is
    /// gone, it does nothing.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let remote = scheduler.remote(); // Else nothing could wake the task, to the scheduler's knowledge.
    /// let parked = scheduler.spawn(|| task::park(None));
    /// let waker = parked.task().waker();
    /// std::thread::spawn(move || {
    ///     std::thread::sleep(Duration::from_millis(1));
    ///     waker.wake();
    /// });
    /// scheduler.run()?;
    /// assert_eq!(parked.join()?, Ok(()));
    /// # drop(remote);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn waker(&self) -> std::task::Waker {
        let core = self.shared.as_ref().and_then(|shared| shared.core());
        core.map_or_else(|| std::task::Waker::noop().clone(), |core| waker::of(core, self.id))
    }

    /// As [`JoinHandle::cancel`](crate::JoinHandle::cancel).
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let ends_itself = scheduler.spawn(|| {
    ///     task::current().unwrap().cancel();
    ///     task::yield_now() // Does not return.
    /// });
    /// scheduler.run()?;
    /// assert!(ends_itself.join().is_err());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn cancel(&self) {
        if let Some((core, task)) = self.shared.as_ref().and_then(|shared| shared.task(self.id)) {
            core.cancel(task);
        }
    }

    /// Sets whether the task is a daemon: [`Builder::daemon`](super::Builder::daemon). Does nothing to one that
    /// has ended.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let waits = scheduler.spawn(|| task::park(None));
    /// waits.task().set_daemon(true);
    /// scheduler.run()?; // Cancels it at once.
    /// assert!(waits.join().is_err());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn set_daemon(&self, daemon: bool) {
        if let Some((core, task)) = self.shared.as_ref().and_then(|shared| shared.task(self.id)) {
            core.set_daemon(task, daemon);
        }
    }

    /// Whether the task has ended, or was given up with its scheduler.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let task = scheduler.spawn(|| ()).task().clone();
    /// assert!(!task.is_finished());
    /// scheduler.run()?;
    /// assert!(task.is_finished());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.task(self.id).is_none())
    }

    /// How deep the task's stack was used at most, in bytes, to size stacks by: by this task or
    /// one that had the stack before. 0 before the first turn and after the end.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let used = scheduler.spawn(|| {
    ///     std::hint::black_box(&mut [1_u8; 20_000]);
    ///     task::current().unwrap().stack_used()
    /// });
    /// scheduler.run()?;
    /// assert!(used.join()? > 20_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stack_used(&self) -> usize {
        self.shared
            .as_ref()
            .and_then(|shared| shared.task(self.id))
            .map_or(0, |(_, task)| stack::high_water_bytes(task.stack.get(), task.stack_bytes()))
    }

    /// Where the task's stack is, as a range of addresses; it grows down. Nothing before the task's
    /// first turn, and after its end.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let is_there = scheduler.spawn(|| {
    ///     let variable = 1;
    ///     let bounds = task::current().unwrap().stack_bounds().unwrap();
    ///     bounds.contains(&(&raw const variable).addr())
    /// });
    /// assert_eq!(is_there.task().stack_bounds(), None);
    /// scheduler.run()?;
    /// assert!(is_there.join()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stack_bounds(&self) -> Option<Range<usize>> {
        let (_, task) = self.shared.as_ref().and_then(|shared| shared.task(self.id))?;
        let (lowest, bytes) = task.stack_bounds()?;
        Some(lowest.addr()..lowest.addr() + bytes)
    }

    /// Its number, if its scheduler is the one that runs on this thread.
    pub(in crate::safe) fn id_here(&self) -> Result<u64> {
        let own = self.shared.as_ref().and_then(|shared| shared.core()).ok_or(Error::NoSuchTask)?;
        match scheduler::current() {
            Some(here) if std::ptr::eq(own, here) => Ok(self.id),
            _ if self.is_finished() => Err(Error::NoSuchTask),
            _ => Err(Error::WrongScheduler),
        }
    }
}

impl Task {
    /// What tells tasks apart: the scheduler, by its address, and the number.
    fn identity(&self) -> (*const Shared, u64) {
        (self.shared.as_ref().map_or(null(), Rc::as_ptr), self.id)
    }
}

/// Whether both are the same task. Tasks that could not be started are taken for one.
impl PartialEq for Task {
    fn eq(&self, other: &Task) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Task {}

impl Hash for Task {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        out.debug_struct("Task").field("id", &self.id).field("name", &name).finish()
    }
}

/// The running task. `None` outside a task, and in one that C code has created.
///
/// ```
/// assert!(majjen::task::current().is_none());
/// ```
pub fn current() -> Option<Task> {
    let (_, task) = running_task()?;
    let shared = Record::of(task)?.shared.clone();
    Some(Task { shared: Some(shared), id: task.id.get() })
}

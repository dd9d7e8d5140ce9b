//! What a task can do, and handles to tasks.
//!
//! The calls that suspend let other tasks run until what they wait for has happened. They can be
//! used in every task of the thread, also in one that C code has created; outside a task
//! they return [`Error::NotInTask`].
//!
//! # Cancelation
//!
//! A task that is told to end, by [`JoinHandle::cancel`] or because its scheduler is dropped, is
//! unwound from the call that suspends it: the call does not return, and destructors run, as if it
//! had panicked, but without the panic's message. So code that must be undone is undone by a
//! destructor. Destructors cannot suspend: their calls return [`Error::Unwinding`].
//!
//! Unwinding cannot pass functions that C has called. The process ends if one is left so, as
//! by any panic. Rust code that C calls in the middle of a task, and that suspends, uses
//! [`shield`].
//!
//! Where a panic drops the scheduler, its tasks are unwound too, but what they do then cannot
//! suspend, whether it is a destructor or not. A destructor that, while it runs because of
//! unwinding, goes on calling what suspends is given up with its stack when the scheduler is
//! dropped. To the standard library its thread is panicking from then on, so nothing can suspend or
//! run on that thread any more.
//!
//! # Thread-locals
//!
//! A task may suspend inside [`LocalKey::with`](std::thread::LocalKey::with). But a thread-local's
//! initializer must not suspend: another task could use the thread-local meanwhile, and when the
//! initializer is done, the standard library replaces the value under that task. Nor must its
//! destructor: when a task calls [`std::process::exit`], destructors of thread-locals run on its
//! stack, and if one suspends, tasks go on that have borrowed thread-locals which are gone. The
//! standard library knows of one stack for each thread, and nothing tells this library of either,
//! so these two are undefined behavior that no call refuses.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use super::join::{JoinHandle, Pair};
use super::record::{Record, run};
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::time::{Instant, limit, to_ns};
use super::unwind::suspending;
use crate::engine::context::stack;
use crate::engine::scheduler::{self, Limit, READABLE, WRITABLE, running_task};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

/// Suspends the running task for at least that long.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::time::{Duration, Instant};
///
/// let scheduler = Scheduler::new()?;
/// let began = Instant::now();
/// scheduler.spawn(|| task::sleep(Duration::from_millis(5)));
/// scheduler.spawn(|| task::sleep(Duration::from_millis(5))); // At the same time.
/// scheduler.run()?;
/// assert!(began.elapsed() >= Duration::from_millis(5));
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`], [`Error::Unwinding`], and [`Error::OutOfMemory`] for the timer: the call
/// then returns at once.
pub fn sleep(duration: Duration) -> Result<()> {
    sleep_for(Deadline::In(to_ns(duration)))
}

/// Suspends the running task until a moment has come.
///
/// ```
/// use majjen::{Instant, Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let moment = Instant::now() + Duration::from_millis(2);
/// scheduler.spawn(move || task::sleep_until(moment));
/// scheduler.run()?;
/// assert!(Instant::now() >= moment);
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// As [`sleep`].
pub fn sleep_until(deadline: Instant) -> Result<()> {
    sleep_for(Deadline::At(deadline.as_ns()))
}

fn sleep_for(deadline: Deadline) -> Result<()> {
    suspending(|| scheduler::sleep(Limit::uninterrupted(deadline)))
}

/// Lets all other tasks that are ready have their turn.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::{cell::Cell, rc::Rc};
///
/// let scheduler = Scheduler::new()?;
/// let seen = Rc::new(Cell::new(false));
/// let other = seen.clone();
/// scheduler.spawn(move || {
///     task::yield_now().unwrap();
///     assert!(seen.get());
/// });
/// scheduler.spawn(move || other.set(true));
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`] and [`Error::Unwinding`].
pub fn yield_now() -> Result<()> {
    suspending(scheduler::yield_now)
}

/// Suspends the running task until somebody calls [`Task::wake`] for it, or the timeout is over.
/// Returns at once if that has happened since the last time. May also return for no reason, so what
/// is waited for is looked at again:
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::{cell::Cell, rc::Rc};
///
/// let scheduler = Scheduler::new()?;
/// let ready = Rc::new(Cell::new(false));
/// let seen = ready.clone();
/// let waiting = scheduler.spawn(move || {
///     while !seen.get() {
///         task::park(None).unwrap();
///     }
/// });
/// scheduler.spawn(move || {
///     ready.set(true);
///     waiting.task().wake();
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::TimedOut`], and those of [`sleep`].
pub fn park(timeout: impl Into<Option<Duration>>) -> Result<()> {
    let park = || scheduler::park_until_woken(limit(timeout.into()).deadline);
    let record = running_task().and_then(|(_, task)| Record::of(task));
    let Some(record) = record else {
        return suspending(park);
    };
    if record.woken.take() {
        return Ok(());
    }
    let _parked = Flag::set(&record.parked);
    let result = suspending(park);
    if record.woken.take() { Ok(()) } else { result }
}

/// Suspends the running task until a descriptor can be read, a connection accepted from it, or its
/// other end is closed; or until the timeout is over.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::io::{Read, Write};
///
/// let scheduler = Scheduler::new()?;
/// let (mut reader, mut writer) = std::io::pipe()?;
/// let got = scheduler.spawn(move || {
///     task::wait_readable(&reader, None)?;
///     let mut byte = [0];
///     reader.read_exact(&mut byte).map(|()| byte[0])
/// });
/// scheduler.spawn(move || writer.write_all(b"x"));
/// scheduler.run()?;
/// assert_eq!(got.join()??, b'x');
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::TimedOut`]; [`Error::Os`] when the descriptor cannot be waited for; and those of
/// [`sleep`].
pub fn wait_readable(fd: impl AsFd, timeout: impl Into<Option<Duration>>) -> Result<()> {
    wait_fd(fd.as_fd().as_raw_fd(), READABLE, limit(timeout.into()))
}

/// Suspends the running task until a descriptor can be written, or its other end is closed; or
/// until the timeout is over.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::{io::Write, time::Duration};
///
/// let scheduler = Scheduler::new()?;
/// let (_reader, mut writer) = std::io::pipe()?;
/// let sent = scheduler.spawn(move || {
///     task::wait_writable(&writer, Duration::from_secs(1))?;
///     writer.write(b"x").map_err(Box::<dyn std::error::Error>::from)
/// });
/// scheduler.run()?;
/// assert_eq!(sent.join()??, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`wait_readable`].
pub fn wait_writable(fd: impl AsFd, timeout: impl Into<Option<Duration>>) -> Result<()> {
    wait_fd(fd.as_fd().as_raw_fd(), WRITABLE, limit(timeout.into()))
}

pub(super) fn wait_fd(fd: RawFd, events: u32, limit: Limit) -> Result<()> {
    suspending(|| scheduler::wait_fd(fd, events, limit)).map(drop)
}

/// Runs a function in which the running task is not unwound: if the task is canceled, calls that
/// suspend return [`Error::Canceled`]. For Rust code that C calls, and for work that is to be
/// finished first.
///
/// ```
/// use majjen::{Error, Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let finishes = scheduler.spawn(|| {
///     task::shield(|| {
///         assert_eq!(task::park(None), Err(Error::Canceled));
///         println!("not unwound");
///     });
///     task::yield_now() // Unwound here.
/// });
/// scheduler.spawn(move || finishes.cancel());
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub fn shield<T>(body: impl FnOnce() -> T) -> T {
    let Some(record) = running_task().and_then(|(_, task)| Record::of(task)) else {
        return body(); // Such a task is never unwound.
    };
    record.shields.set(record.shields.get() + 1);
    let _shield = Shield(record);
    body()
}

/// Lets the task be unwound again when it is dropped.
struct Shield<'r>(&'r Record);

impl Drop for Shield<'_> {
    fn drop(&mut self) {
        self.0.shields.set(self.0.shields.get() - 1);
    }
}

/// A cell that is true while this lives.
struct Flag<'c>(&'c std::cell::Cell<bool>);

impl<'c> Flag<'c> {
    fn set(cell: &'c std::cell::Cell<bool>) -> Flag<'c> {
        cell.set(true);
        Flag(cell)
    }
}

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Adds a task to the scheduler of the running one. It begins when its turn comes, not inside this
/// call.
///
/// Never fails by itself: when the task cannot be started, [`JoinHandle::join`] says why.
/// [`Builder::spawn`] says it at once.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let parent = scheduler.spawn(|| {
///     let children: Vec<_> = (0..10).map(|n| task::spawn(move || n * n)).collect();
///     children.into_iter().map(|child| child.join().unwrap()).sum::<i32>()
/// });
/// scheduler.run()?;
/// assert_eq!(parent.join()?, 285);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    Builder::new().spawn(body).unwrap_or_else(JoinHandle::failed)
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

/// A handle to a task, which may have ended. It keeps nothing alive.
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::task::current());
/// ```
#[derive(Clone)]
pub struct Task {
    /// `None` for a task that was never started.
    shared: Option<Rc<Shared>>,
    id: u64,
}

impl Task {
    pub(super) fn none() -> Task {
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
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    }

    /// Ends the task's call of [`park`], or makes its next one return at once. Does nothing to a
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
        let Some((core, task)) = self.shared.as_ref().and_then(|shared| shared.task(self.id))
        else {
            return;
        };
        let Some(record) = Record::of(task) else {
            return;
        };
        record.woken.set(true);
        if record.parked.get() {
            // It may not have suspended yet: its clock, which it asks before, can come here. Fails
            // for a task that has ended, which has no record.
            let _ = core.enqueue(task);
        }
    }

    /// As [`JoinHandle::cancel`].
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
        self.shared.as_ref().and_then(|shared| shared.task(self.id)).map_or(0, |(_, task)| {
            stack::high_water_bytes(task.stack.get(), task.stack_bytes.get())
        })
    }

    /// Whether its scheduler is the one that runs on this thread.
    pub(super) fn is_here(&self) -> bool {
        let core = self.shared.as_ref().and_then(|shared| shared.core());
        core.zip(scheduler::current()).is_some_and(|(own, here)| std::ptr::eq(own, here))
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        out.debug_struct("Task").field("id", &self.id).field("name", &name).finish()
    }
}

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

    /// The size of its stack, in bytes; rounded up to whole pages.
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
        self.spawn_in(shared, body)
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
        self.spawn_in(scheduler.shared().clone(), body)
    }

    fn spawn_in<T: 'static>(
        self,
        shared: Rc<Shared>,
        body: impl FnOnce() -> T + 'static,
    ) -> Result<JoinHandle<T>> {
        let stack_size = self.stack_size.map(stack::valid_size).transpose()?;
        if shared.closing.get() {
            return Err(Error::Canceled);
        }
        let (pair, job) = Pair::new(body);
        let task = start(&shared, job, self.name.as_deref(), stack_size)?;
        Ok(pair.into_handle(task))
    }
}

/// Hands a job to the core.
fn start(
    shared: &Rc<Shared>,
    job: super::record::Job,
    name: Option<&str>,
    stack_size: Option<usize>,
) -> Result<Task> {
    let core = shared.core().ok_or(Error::Canceled)?;
    let state = Record::new(shared.clone(), job).into_user_state();
    let task = match core.spawn(run, state) {
        Ok(task) => task,
        Err(error) => {
            // SAFETY: made above, and not taken by the core.
            drop(unsafe { Box::from_raw(state.cast::<Record>()) });
            return Err(error);
        }
    };
    task.is_rust.set(true);
    if let Some(name) = name {
        task.set_name(name.as_bytes());
    }
    if let Some(bytes) = stack_size {
        task.stack_bytes.set(bytes);
    }
    Ok(Task { shared: Some(shared.clone()), id: task.id.get() })
}

//! The scheduler, as its owner has it.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::mem::forget;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{NonNull, from_ref};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use super::join::JoinHandle;
use super::metrics::Metrics;
use super::remote::Remote;
use super::shared::Shared;
use super::stop::StopHandle;
use super::task::handle::Task;
use super::task::spawn::Options;
use super::time::to_ns;
use super::{teardown, thread_end};
use crate::engine::scheduler::{AtSignal, Ended};
use crate::engine::sys::{Error, Result};
use crate::engine::task::SchedulerRef;
use crate::engine::time::Deadline;
use crate::engine::{inspect, scheduler};
use crate::ffi::HOOK_CALLS;

/// Runs tasks on the thread that made it.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::time::Duration;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let scheduler = Scheduler::new()?;
///     let answer = scheduler.spawn(|| {
///         task::sleep(Duration::from_millis(1)).unwrap();
///         42
///     });
///     scheduler.run()?;
///     assert_eq!(answer.join()?, 42);
///     Ok(())
/// }
/// ```
///
/// Dropping it ends the tasks that are left, one after the other. One that has begun is unwound
/// from where it is suspended, so that its destructors run; the closure of one that has not begun
/// is dropped. A task that catches the unwinding is unwound again when it suspends the next time,
/// and given up after a hundred times: its stack then stays as it is for ever. So do all stacks in
/// programs built with `panic = "abort"`. When the thread ends, tasks that are left are unwound too,
/// even if the scheduler has been forgotten; what becomes of those that were given up is said at
/// [`task`](crate::task#thread-locals).
///
/// It stays on its thread:
///
/// ```compile_fail,E0277
/// fn send(_: impl Send) {}
/// send(majjen::Scheduler::new().unwrap());
/// ```
///
/// ```compile_fail,E0277
/// fn share(_: impl Sync) {}
/// share(majjen::Scheduler::new().unwrap());
/// ```
///
/// And tasks own what they use:
///
/// ```compile_fail,E0373
/// let scheduler = majjen::Scheduler::new().unwrap();
/// let text = String::new();
/// scheduler.spawn(|| text.len());
/// ```
pub struct Scheduler {
    core: NonNull<scheduler::Scheduler>,
    shared: Rc<Shared>,
}

impl Scheduler {
    /// Takes a scheduler of the core over.
    ///
    /// # Safety
    /// It is alive, nobody else destroys it, and `shared` refers to it.
    pub(super) unsafe fn own(core: NonNull<scheduler::Scheduler>, shared: Rc<Shared>) -> Scheduler {
        Scheduler { core, shared }
    }

    pub(super) fn core(&self) -> &scheduler::Scheduler {
        // SAFETY: alive as long as this is. The core is only ever borrowed shared.
        unsafe { self.core.as_ref() }
    }

    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    /// Adds a task, which begins in the next run. What is said of [`task::spawn`](crate::task::spawn) holds.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let handle = scheduler.spawn(|| "done");
    /// scheduler.run()?;
    /// assert_eq!(handle.join()?, "done");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn<T: 'static>(&self, body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        Options::default().spawn(&self.shared, body).unwrap_or_else(JoinHandle::failed)
    }

    /// Runs tasks until none is left, or [`StopHandle::stop`] is called, and says which. Tasks that are left stay
    /// as they are, and the next run goes on with them: each run that leaves suspended tasks takes
    /// some 50 bytes until the thread ends. Blocks the thread.
    ///
    /// ```
    /// use majjen::{Ended, Error, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// assert_eq!(scheduler.run()?, Ended::Completed); // Without tasks it returns at once.
    /// scheduler.spawn(|| task::park(None));
    /// assert_eq!(scheduler.run(), Err(Error::Deadlock)); // Nobody is left to wake the task.
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Deadlock`] when tasks are left and nothing could wake any of them, be they parked or
    /// asleep for ever, which an ERROR line tells of as well; [`Error::OutOfMemory`] when those left cannot get a stack;
    /// [`Error::Busy`] when a scheduler runs on this thread already, as in a task, and in a
    /// destructor of a thread-local when tasks may have borrowed others; [`Error::Unwinding`] in a
    /// destructor that a panic runs.
    pub fn run(&self) -> Result<Ended> {
        self.run_to(None)
    }

    /// [`run`](Self::run) that SIGINT and SIGTERM end in order. At the first of them `stop` is called in a task of its
    /// own, named "signal": it tells the others that they are to end, as by closing the listener. They have `grace` from its return
    /// on; those that are left then are canceled, and the run goes on until they have ended. The next signal stops the
    /// run with tasks left, as the first one stops `run` where signals are
    /// [handled](crate::Builder::handle_signals), and what is said there holds here.
    ///
    /// ```
    /// use majjen::{Ended, Scheduler, signal, task};
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// scheduler.spawn(|| task::park(None)); // It is canceled.
    /// # scheduler.spawn(|| std::process::Command::new("kill").arg(std::process::id().to_string()).status().unwrap());
    /// let ended = scheduler.run_until_signal(Duration::from_millis(1), || println!("the end"))?;
    /// assert_eq!((ended, scheduler.signal()), (Ended::Completed, Some(signal::SIGTERM)));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`Error::OutOfMemory`].
    pub fn run_until_signal(
        &self,
        grace: Duration,
        stop: impl FnOnce() + 'static,
    ) -> Result<Ended> {
        let end = Cell::new(Some(End { scheduler: self, grace, stop }));
        let data = from_ref(&end).cast_mut().cast();
        self.run_to(Some(AtSignal { begin: begin_end(&end), data }))
    }

    fn run_to(&self, at_signal: Option<AtSignal>) -> Result<Ended> {
        if scheduler::current().is_some() || self.shared.thread_ends.get() {
            return Err(Error::Busy);
        }
        if thread::panicking() {
            return Err(Error::Unwinding);
        }
        let result = scheduler::run(self.core(), HOOK_CALLS, at_signal);
        if teardown::has_begun_tasks(self.core()) {
            thread_end::watch(&self.shared);
        }
        result
    }

    /// The signal that came in the last run, if its scheduler
    /// [handles signals](crate::Builder::handle_signals): also if the run ended otherwise meanwhile,
    /// as when the last task ended. The first one, if several came.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.run()?;
    /// assert_eq!(scheduler.signal(), None);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn signal(&self) -> Option<i32> {
        Some(self.core().signal()).filter(|signal| *signal != 0)
    }

    /// A handle by which other threads hand closures to the scheduler, and wake and cancel its tasks.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let remote = scheduler.remote();
    /// std::thread::spawn(move || remote.spawn(|| println!("in a task")).unwrap()).join().unwrap();
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn remote(&self) -> Remote {
        Remote::new(self.core(), &self.shared)
    }

    /// A handle that makes the run return, for other threads.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let stop = scheduler.stop_handle();
    /// scheduler.spawn(move || stop.stop());
    /// let last = scheduler.spawn(majjen::task::yield_now);
    /// scheduler.run()?;
    /// assert!(!last.is_finished());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle::new(&self.core().remote)
    }

    /// Tells the task with a number to end, as [`Task::cancel`] does, also between two runs: the next run
    /// lets it.
    ///
    /// ```
    /// use majjen::{Error, JoinError, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let waits = scheduler.spawn(|| task::park(None));
    /// let id = waits.task().id();
    /// scheduler.run().unwrap_err(); // Nobody is left to wake it.
    /// scheduler.cancel(id)?;
    /// scheduler.run()?;
    /// assert!(matches!(waits.join(), Err(JoinError::Canceled)));
    /// assert_eq!(scheduler.cancel(id), Err(Error::NoSuchTask));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchTask`] when it has ended, or never was.
    pub fn cancel(&self, id: u64) -> Result<()> {
        self.handle(id).map(|task| task.cancel())
    }

    /// Ends the call of [`task::park`](crate::task::park) of the task with a number, or its next one, as
    /// [`Task::wake`] does, also between two runs.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let waits = scheduler.spawn(|| task::park(None));
    /// scheduler.wake(waits.task().id())?;
    /// scheduler.run()?;
    /// assert_eq!(waits.join().unwrap(), Ok(()));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`cancel`](Self::cancel).
    pub fn wake(&self, id: u64) -> Result<()> {
        self.handle(id).map(|task| task.wake())
    }

    fn handle(&self, id: u64) -> Result<Task> {
        self.core().tasks.find_id(id).ok_or(Error::NoSuchTask)?;
        Ok(Task { shared: Some(self.shared.clone()), id })
    }

    /// Closes a descriptor, and ends the waits of this scheduler's tasks for it with the error `EBADF`, also
    /// between two runs. Rust's tasks borrow what they wait for: this is for descriptors of C's tasks, and
    /// for those that are known by their number only.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let (reader, mut writer) = std::io::pipe()?;
    /// scheduler.close_fd(reader)?;
    /// assert!(std::io::Write::write(&mut writer, b"x").is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of close(2); it is closed all the same.
    pub fn close_fd(&self, fd: impl Into<OwnedFd>) -> Result<()> {
        self.core().close_fd(fd.into().into_raw_fd())
    }

    /// The name it was given.
    ///
    /// ```
    /// let scheduler = majjen::Builder::new().name("front").build()?;
    /// assert_eq!(scheduler.name().as_deref(), Some("front"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn name(&self) -> Option<Rc<str>> {
        self.shared.name.borrow().clone()
    }

    /// Names it, for people, also while it runs: in log lines about it, as the label `scheduler` of its metrics, and
    /// for who looks into the process. These show 23 bytes of it, without a part of a character. "" takes the
    /// name away.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.set_name("front");
    /// assert_eq!(scheduler.name().as_deref(), Some("front"));
    /// assert!(scheduler.remote().metrics_prometheus()?.contains("scheduler=\"front\""));
    /// scheduler.set_name("");
    /// assert!(scheduler.name().is_none());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn set_name(&self, name: &str) {
        self.core().set_name(name.as_bytes());
        let name = (!name.is_empty()).then(|| Rc::from(name));
        drop(self.shared.name.replace(name));
    }

    /// The counters, up to date.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.spawn(majjen::task::yield_now);
    /// scheduler.run()?;
    /// assert_eq!(scheduler.metrics().task_executions, 2);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn metrics(&self) -> Metrics {
        Metrics::of(self.core())
    }

    /// Starts counting again. What says how much there is now stays.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.spawn(|| ());
    /// scheduler.reset_metrics();
    /// let metrics = scheduler.metrics();
    /// assert_eq!((metrics.tasks_created, metrics.current_tasks), (0, 1));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn reset_metrics(&self) {
        self.core().reset_metrics();
    }

    /// The counters as a block of text, for people.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// assert!(scheduler.metrics_text().contains("Created:"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn metrics_text(&self) -> String {
        self.report(inspect::Format::Text)
    }

    /// The counters in Prometheus' text format.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// assert!(scheduler.metrics_prometheus().contains("# TYPE"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn metrics_prometheus(&self) -> String {
        self.report(inspect::Format::Prometheus)
    }

    /// The counters as one JSON object.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// assert!(scheduler.metrics_json().starts_with('{'));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn metrics_json(&self) -> String {
        self.report(inspect::Format::Json)
    }

    fn report(&self, format: inspect::Format) -> String {
        let mut text = String::new();
        let _ = inspect::write_metrics(self.core(), format, &mut text); // A String takes all.
        text
    }

    /// A list of the tasks, a line for each: what they are called, what they do or wait for, for how long (of real
    /// time also with a [clock](crate::Builder::clock) of the program's), and who holds that where it is known.
    /// Behind them there is a line for each circle of tasks that wait for each other without a limit.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// majjen::task::Builder::new().name("worker").spawn_on(&scheduler, || ())?;
    /// assert!(scheduler.dump().contains("worker"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    pub fn dump(&self) -> String {
        let mut text = String::new();
        let _ = inspect::dump(self.core(), &mut text); // As above.
        text
    }

    /// Has the tasks listed in the log whenever a signal comes to the process, as by [`dump`](Self::dump): for a
    /// service that hangs, kill(1) asks it what it is doing. `None` ends that, and another signal takes the place of
    /// the one before. The lines are of the level WARN, whatever level is set, and are not limited.
    ///
    /// The loop writes them, and not the handler of the signal: at once while it waits, and behind the turn of a
    /// task that keeps the thread, which the first line then says; of a scheduler that is not running, at the
    /// beginning of its next run. Several schedulers may have one signal, and tasks
    /// [wait](crate::signal::wait) for it too: each is told. From this call on it does not do what it did before,
    /// also between runs, and does that again once nobody has a use for it; one that has come by then, and has not been
    /// listed, is forgotten.
    ///
    /// ```
    /// # unsafe extern "C" { fn raise(signal: i32) -> i32; }
    /// const SIGUSR1: i32 = 10;
    ///
    /// let scheduler = majjen::Scheduler::new()?;
    /// scheduler.dump_on_signal(Some(SIGUSR1))?;
    /// scheduler.spawn(|| {
    ///     unsafe { raise(SIGUSR1) };
    ///     majjen::task::sleep(std::time::Duration::from_millis(1)) // The loop lists this task.
    /// });
    /// scheduler.run()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for a signal that cannot be
    /// [waited](crate::signal::wait) for; [`Error::OutOfMemory`](crate::Error::OutOfMemory). What was set stays.
    pub fn dump_on_signal(&self, signal: Option<i32>) -> Result<()> {
        inspect::dump_at_signal(self.core(), signal)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if self.core().remote.is_running() {
            // In a thread-local, and the program has called exit() in the run: that drops
            // thread-locals on the stack that calls it, a task's or the loop's. The run never goes
            // on, but what it works on has to be there until the process has ended. Or one of its
            // own tasks owns it, and is unwound because the thread ends.
            return forget(self.shared.clone());
        }
        if self.shared.thread_ends.get() && teardown::has_begun_tasks(self.core()) {
            // In a thread-local of a child of fork(), which has left the parent's tasks alone. What
            // they have borrowed may be gone by now, so they do not run any more.
            return forget(self.shared.clone());
        }
        teardown::end_tasks(self.core(), &self.shared);
        if self.shared.given_up.get() {
            thread_end::watch(&self.shared); // They may have used thread-locals in their last turns.
        }
        // SAFETY: owned by this, and nothing refers to it any more: handles have been disconnected,
        // and no task is left that runs again.
        let _ = unsafe { scheduler::Scheduler::destroy(self.core.as_ptr()) };
        self.shared.hooks.clear();
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = self.core().tasks.alive();
        out.debug_struct("Scheduler").field("name", &self.name()).field("tasks", &tasks).finish()
    }
}

/// What an orderly end is made of.
struct End<'s, F> {
    scheduler: &'s Scheduler,
    grace: Duration,
    stop: F,
}

/// The function for such an end.
fn begin_end<F: FnOnce() + 'static>(
    _: &Cell<Option<End<'_, F>>>,
) -> unsafe fn(SchedulerRef, *mut c_void) -> Result<()> {
    /// # Safety
    /// Called by the core, with the cell.
    unsafe fn begin<F: FnOnce() + 'static>(_: SchedulerRef, end: *mut c_void) -> Result<()> {
        // SAFETY: as this function's contract says.
        let end = unsafe { &*end.cast::<Cell<Option<End<'_, F>>>>() };
        if let Some(End { scheduler, grace, stop }) = end.take() {
            let options = Options { name: Some("signal"), ..Options::default() };
            options.spawn(&scheduler.shared, move || {
                let stopped = catch_unwind(AssertUnwindSafe(stop));
                let _ = scheduler::end_others(Deadline::after_ns(to_ns(grace)));
                stopped.unwrap_or_else(|panic| resume_unwind(panic))
            })?;
        }
        Ok(())
    }
    begin::<F>
}

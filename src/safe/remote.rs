//! What other threads have of a scheduler.

use std::cell::Cell;
use std::fmt;
use std::mem::offset_of;
use std::ptr::NonNull;
use std::rc::Rc;

use super::metrics::Metrics;
use super::panics::drop_quietly;
use super::record::wake;
use super::shared::Shared;
use super::sync::SendError;
use super::task::spawn::Options;
use crate::engine::inspect::{self, Format};
use crate::engine::measure::Metrics as Counters;
use crate::engine::scheduler::{self, Post, act_on};
use crate::engine::sys::{Error, Result};
use crate::engine::threads::{self, Message};

/// A handle to a scheduler for other threads: they hand it closures, wake and cancel its tasks, read its
/// counters, and stop it. It may outlive the scheduler, and says then that it is gone. While there is one, a
/// descriptor stays open, and a run whose tasks are all parked waits for other threads to wake one, after a
/// line in the log, where it would else end by [`Error::Deadlock`].
///
/// ```
/// use majjen::{Scheduler, sync, task};
///
/// let scheduler = Scheduler::new()?;
/// let remote = scheduler.remote();
/// let waits = scheduler.spawn(|| task::park(None));
/// let id = waits.task().id();
/// let other = std::thread::spawn(move || {
///     remote.spawn(|| println!("in a task")).unwrap();
///     remote.wake(id)
/// });
/// scheduler.run()?;
/// assert_eq!(other.join().unwrap(), Ok(()));
/// # Ok::<(), majjen::Error>(())
/// ```
pub struct Remote {
    target: Target,
}

impl Remote {
    pub(super) fn new(core: &scheduler::Scheduler, shared: &Rc<Shared>) -> Remote {
        Target::new(core, shared).to_handle()
    }

    /// Runs a closure in a task of its own there. The closures of one thread begin in the order in which it
    /// has handed them over; one that suspends does not hold up the next. If the scheduler is dropped before,
    /// it drops the closure. One that was accepted is not lost for want of memory: it waits until there is
    /// some.
    ///
    /// ```
    /// use majjen::{Error, Scheduler};
    /// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    ///
    /// static DONE: AtomicBool = AtomicBool::new(false);
    ///
    /// let scheduler = Scheduler::new()?;
    /// let remote = scheduler.remote();
    /// std::thread::spawn(move || remote.spawn(|| DONE.store(true, Relaxed)).unwrap()).join().unwrap();
    /// scheduler.run()?;
    /// assert!(DONE.load(Relaxed));
    ///
    /// let remote = scheduler.remote();
    /// drop(scheduler);
    /// assert_eq!(remote.spawn(|| ()).unwrap_err().error, Error::Disconnected);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// What it captures is sent to the scheduler's thread, so it has to be `Send`:
    ///
    /// ```compile_fail,E0277
    /// let scheduler = majjen::Scheduler::new().unwrap();
    /// let shared = std::rc::Rc::new(1);
    /// let _ = scheduler.remote().spawn(move || println!("{shared}"));
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if as many wait as may, and [`Error::Disconnected`] when the scheduler is gone;
    /// with the closure.
    pub fn spawn<F>(&self, closure: F) -> std::result::Result<(), SendError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.target.spawn(closure, ())
    }

    /// Sets how many closures may wait to begin, 16,384 at first. Those that wait already are left alone.
    ///
    /// ```
    /// use majjen::{Error, Scheduler};
    ///
    /// let remote = Scheduler::new()?.remote();
    /// assert_eq!(remote.set_limit(0), Err(Error::InvalidArgument));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for 0.
    pub fn set_limit(&self, closures: usize) -> Result<()> {
        if closures == 0 {
            return Err(Error::InvalidArgument);
        }
        self.target.remote.set_most_posts(closures);
        Ok(())
    }

    /// [`Task::wake`](crate::task::Task::wake) for the task with this number. On another thread than the
    /// scheduler's it takes effect there soon, after what this thread has handed over before.
    ///
    /// ```
    /// use majjen::{Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let remote = scheduler.remote();
    /// let parked = scheduler.spawn(|| task::park(None));
    /// let id = parked.task().id();
    /// let other = std::thread::spawn(move || remote.wake(id));
    /// scheduler.run()?;
    /// assert!(parked.is_finished() && other.join().unwrap().is_ok());
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchTask`] if there is no such task, which is told only on the scheduler's own thread;
    /// [`Error::OutOfMemory`], and those of [`spawn`](Self::spawn).
    pub fn wake(&self, id: u64) -> Result<()> {
        act_on(&self.target.remote, id, wake)
    }

    /// [`Task::cancel`](crate::task::Task::cancel), as [`wake`](Self::wake) is `Task::wake`.
    ///
    /// ```
    /// use majjen::{JoinError, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let remote = scheduler.remote();
    /// let waits = scheduler.spawn(|| task::park(None));
    /// let id = waits.task().id();
    /// let other = std::thread::spawn(move || remote.cancel(id));
    /// scheduler.run()?;
    /// assert!(matches!(waits.join(), Err(JoinError::Canceled)));
    /// # other.join().unwrap()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`wake`](Self::wake).
    pub fn cancel(&self, id: u64) -> Result<()> {
        act_on(&self.target.remote, id, scheduler::Scheduler::cancel)
    }

    /// [`StopHandle::stop`](crate::StopHandle::stop).
    ///
    /// ```
    /// use majjen::{Ended, Scheduler, task};
    ///
    /// let scheduler = Scheduler::new()?;
    /// let remote = scheduler.remote();
    /// scheduler.spawn(|| task::park(None));
    /// let other = std::thread::spawn(move || remote.stop());
    /// assert_eq!(scheduler.run()?, Ended::Stopped);
    /// # other.join().unwrap()?;
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the scheduler is gone.
    pub fn stop(&self) -> Result<()> {
        self.target.remote.stop()
    }

    /// The scheduler's counters, without the distributions. Each is true, does not go back, and is at most
    /// one iteration of the loop old; they are not all of one instant.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let remote = scheduler.remote();
    /// scheduler.spawn(|| ());
    /// scheduler.run()?;
    /// let counted = std::thread::spawn(move || remote.metrics().unwrap().tasks_exited);
    /// assert_eq!(counted.join().unwrap(), 1);
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Disconnected`] when the scheduler is gone.
    pub fn metrics(&self) -> Result<Metrics> {
        self.target.remote.counters().map(|values| Metrics::of_values(&values))
    }

    /// The counters as [`Scheduler::metrics_text`](crate::Scheduler::metrics_text) has them, from any
    /// thread. The distributions are not among them: they are the scheduler's own thread's.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// assert!(scheduler.remote().metrics_text()?.contains("Created:"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`metrics`](Self::metrics).
    pub fn metrics_text(&self) -> Result<String> {
        self.report(Format::Text)
    }

    /// [`metrics_text`](Self::metrics_text) in Prometheus' text format.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// let remote = scheduler.remote();
    /// let scraped = std::thread::spawn(move || remote.metrics_prometheus().unwrap());
    /// assert!(scraped.join().unwrap().contains("majjen_tasks_created_total 0"));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`metrics`](Self::metrics).
    pub fn metrics_prometheus(&self) -> Result<String> {
        self.report(Format::Prometheus)
    }

    /// [`metrics_text`](Self::metrics_text) as one JSON object.
    ///
    /// ```
    /// let scheduler = majjen::Scheduler::new()?;
    /// assert!(scheduler.remote().metrics_json()?.starts_with('{'));
    /// # Ok::<(), majjen::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`metrics`](Self::metrics).
    pub fn metrics_json(&self) -> Result<String> {
        self.report(Format::Json)
    }

    fn report(&self, format: Format) -> Result<String> {
        let remote = &self.target.remote;
        let counters = Counters::of(&remote.counters()?);
        let mut text = String::new();
        let _ = inspect::write_counters(&counters, &remote.name(), format, &mut text); // A String takes all.
        Ok(text)
    }
}

impl Clone for Remote {
    fn clone(&self) -> Remote {
        self.target.to_handle()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.target.remote.remove_waker();
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// A scheduler that closures are handed to. By itself it lets no run wait.
pub struct Target {
    remote: threads::Remote,
    /// Only a task's start follows it, see there.
    shared: *const Shared,
}

// SAFETY: `shared` is followed on the scheduler's thread alone, and the rest may be sent and shared.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    pub fn new(core: &scheduler::Scheduler, shared: &Rc<Shared>) -> Target {
        Target { remote: core.remote.clone(), shared: Rc::as_ptr(shared) }
    }

    /// A handle, for which a run waits.
    pub fn to_handle(&self) -> Remote {
        self.remote.add_waker();
        Remote { target: Target { remote: self.remote.clone(), shared: self.shared } }
    }

    /// [`Remote::spawn`], and drops something there after the closure, however that ends. With an error it is dropped
    /// here.
    pub fn spawn<F, G>(&self, closure: F, guard: G) -> std::result::Result<(), SendError<F>>
    where
        F: FnOnce() + Send + 'static,
        G: Send + 'static,
    {
        let node = Box::new(Node {
            post: Post::new(start::<F, G>, abandon::<F, G>),
            shared: self.shared,
            is_tasks: Cell::new(false),
            closure: Cell::new(Some((closure, guard))),
        });
        let node = NonNull::from(Box::leak(node));
        // SAFETY: a message comes first; from a box, until one of its functions takes it back.
        unsafe { self.remote.post_counted(node.cast()) }.map_err(|error| {
            // SAFETY: from above, and not posted.
            let node = unsafe { Box::from_raw(node.as_ptr()) };
            match node.closure.take() {
                Some((value, _)) => SendError { value, error },
                None => unreachable!("it has not run"),
            }
        })
    }
}

/// A closure on its way, in a box.
#[repr(C)]
struct Node<F, G> {
    post: Post,
    shared: *const Shared,
    /// Whether the box is the task's, or else the post's.
    is_tasks: Cell<bool>,
    /// With what is dropped after it.
    closure: Cell<Option<(F, G)>>,
}

const _: () = assert!(offset_of!(Node<fn(), ()>, post) == 0);

/// The box of a closure that a task has.
struct Taken<F, G>(NonNull<Node<F, G>>);

impl<F: FnOnce(), G> Taken<F, G> {
    fn run(self) {
        // SAFETY: the box, which lives as long as this.
        if let Some((closure, guard)) = unsafe { self.0.as_ref() }.closure.take() {
            drop(self);
            let _guard = guard;
            closure();
        }
    }
}

impl<F, G> Drop for Taken<F, G> {
    fn drop(&mut self) {
        // SAFETY: the box, which is the post's still if the task could not be made.
        if unsafe { self.0.as_ref() }.is_tasks.get() {
            // SAFETY: the task's, so nobody else refers to it.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// Makes the task.
///
/// # Safety
/// Called by the core, in a run of the scheduler, with the post of a [`Node`] of this type.
unsafe fn start<F, G>(_: &scheduler::Scheduler, post: NonNull<Post>) -> Result<()>
where
    F: FnOnce() + 'static,
    G: 'static,
{
    let place = post.cast::<Node<F, G>>();
    // SAFETY: as this function's contract says.
    let node = unsafe { place.as_ref() };
    // SAFETY: that of the scheduler that runs, and this is its thread.
    let shared = unsafe { of_running(node.shared) };
    let taken = Taken(place);
    let handle = Options::default().spawn(&shared, move || taken.run())?;
    node.is_tasks.set(true);
    drop(handle); // The task goes on.
    Ok(())
}

/// What a scheduler shares with its tasks, for who is on its thread.
///
/// # Safety
/// Of a `Scheduler` that runs on this thread.
unsafe fn of_running(shared: *const Shared) -> Rc<Shared> {
    // SAFETY: of an `Rc` that the `Scheduler` has, which is borrowed during its run.
    unsafe {
        Rc::increment_strong_count(shared);
        Rc::from_raw(shared)
    }
}

/// The scheduler is dropped.
///
/// # Safety
/// Called by the core, with the message of a [`Node`] of this type.
unsafe fn abandon<F, G>(message: NonNull<Message>) {
    // SAFETY: from a box, and the post's.
    drop_quietly(unsafe { Box::from_raw(message.cast::<Node<F, G>>().as_ptr()) });
}

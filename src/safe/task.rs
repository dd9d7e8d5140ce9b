//! What a task can do, and handles to tasks.
//!
//! The calls that suspend let other tasks run until what they wait for has happened. They can be
//! used in every task of the thread, also in one that C code has created; outside a task
//! they return [`Error::NotInTask`].
//!
//! As in the standard library, a call that waits does so without limit, and that with a limit has the
//! same name with `_timeout` behind it.
//!
//! Tasks that belong together are those of a [`scope`](scope()), which may borrow, or of a [`JoinSet`].
//!
//! # Cancellation
//!
//! A task that is told to end, by [`JoinHandle::cancel`] or because its scheduler is dropped, is
//! unwound from the call that suspends it: the call does not return, and destructors run, as if it
//! had panicked, but without the panic's message. So code that must be undone is undone by a
//! destructor. Destructors cannot suspend: their calls return [`Error::Unwinding`].
//!
//! What can be had without waiting is had in a canceled task too: an element that is there, the result of a
//! task that has ended. But every 64th call unwinds it all the same. Work that has to be finished waits
//! in [`shield`]. Code that catches panics lets a cancellation pass: [`Canceled`].
//!
//! A [`timeout`] unwinds in the same way, but to its own call only, and a destructor cannot suspend then
//! either.
//!
//! Unwinding cannot pass functions that C has called. The process ends if one is left so, as
//! by any panic. Rust code that C calls in the middle of a task, and that suspends, uses
//! [`no_unwind`] or [`shield`].
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
//! stack, and if one suspends, tasks go on that have borrowed thread-locals which are gone. Nor may
//! a task call it while one has lent a thread-local to another thread, by [`std::thread::scope`]:
//! it is dropped under that, as without tasks when the lender calls `exit`.
//!
//! And some crates put a value into a thread-local for the time of a call, and put the one from
//! before back at its end: `scoped_tls::ScopedKey::set`, `stacker::grow`. That holds if calls end
//! in the opposite order of their beginnings, and those of two tasks need not. Do not suspend
//! within such a call: another task would find its value, and after both the thread keeps that of
//! the task which has ended last, even when its stack is gone. Tell such a crate by a call that
//! takes a closure, and makes something known to all that the closure calls.
//!
//! The standard library knows of one stack for each thread, and nothing tells this library of
//! these, so they are undefined behavior that no call refuses.
//!
//! When the thread ends, tasks that are suspended are unwound before its thread-locals are dropped,
//! even if their scheduler has been leaked: what a task has lent to other threads is so returned.
//! If one cannot be unwound, the process is aborted, with a line on stderr, unless it has no other
//! threads. This concerns programs with `panic = "abort"`, where no task can be: end them there
//! before the thread ends, by [`JoinHandle::cancel`] and another run.

mod block_on;
mod builder;
mod deadline;
pub(super) mod handle;
mod join_set;
mod local;
mod park;
mod scope;
pub(super) mod spawn;
pub(super) mod timeout;
mod waker;

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use super::join::JoinHandle;
use super::record::Record;
use super::remote::Remote;
use super::time::{Instant, limit, to_ns};
use super::unwind::suspending;
use crate::engine::scheduler::{self, Limit, READABLE, WRITABLE, running_task};
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::Result;
use crate::engine::time::Deadline;

pub use super::unwind::{Canceled, resume_if_canceled};
pub use block_on::block_on;
pub use builder::Builder;
pub use deadline::set_deadline;
pub use handle::{Task, current};
pub use join_set::JoinSet;
pub use local::LocalKey;
pub use park::park;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use timeout::{Elapsed, timeout, timeout_at};

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
/// One that would end past the end of the clock, as [`Duration::MAX`] does, ends only by a cancellation,
/// and keeps no run going: see [`Scheduler::run`](crate::Scheduler::run).
///
/// # Errors
/// [`Error::NotInTask`], [`Error::Unwinding`], and [`Error::OutOfMemory`] for the timer: the call
/// then returns at once.
pub fn sleep(duration: Duration) -> Result<()> {
    sleep_for(Deadline::In(to_ns(duration)))
}

/// Suspends the running task until a moment has come, one of [`std::time::Instant`] too.
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
pub fn sleep_until(deadline: impl Into<Instant>) -> Result<()> {
    sleep_for(Deadline::At(deadline.into().as_ns()))
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

/// Suspends the running task until a descriptor can be read, a connection accepted from it, or its
/// other end is closed.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::io::{Read, Write};
///
/// let scheduler = Scheduler::new()?;
/// let (mut reader, mut writer) = std::io::pipe()?;
/// let got = scheduler.spawn(move || {
///     task::wait_readable(&reader)?;
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
/// [`Error::Os`] when the descriptor cannot be waited for, and those of [`sleep`].
pub fn wait_readable(fd: impl AsFd) -> Result<()> {
    wait_fd(fd.as_fd().as_raw_fd(), READABLE, limit(None))
}

/// [`wait_readable`], no longer than the timeout.
///
/// ```
/// use majjen::{Error, Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let (reader, _writer) = std::io::pipe()?;
/// let waits = scheduler.spawn(move || task::wait_readable_timeout(&reader, Duration::from_millis(1)));
/// scheduler.run()?;
/// assert_eq!(waits.join()?, Err(Error::TimedOut));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::TimedOut`], and those of [`wait_readable`].
pub fn wait_readable_timeout(fd: impl AsFd, timeout: Duration) -> Result<()> {
    wait_fd(fd.as_fd().as_raw_fd(), READABLE, limit(Some(timeout)))
}

/// Suspends the running task until a descriptor can be written, or its other end is closed.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::io::Write;
///
/// let scheduler = Scheduler::new()?;
/// let (_reader, mut writer) = std::io::pipe()?;
/// let sent = scheduler.spawn(move || {
///     task::wait_writable(&writer)?;
///     writer.write(b"x").map_err(Box::<dyn std::error::Error>::from)
/// });
/// scheduler.run()?;
/// assert_eq!(sent.join()??, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`wait_readable`].
pub fn wait_writable(fd: impl AsFd) -> Result<()> {
    wait_fd(fd.as_fd().as_raw_fd(), WRITABLE, limit(None))
}

/// [`wait_writable`], no longer than the timeout.
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let (_reader, writer) = std::io::pipe()?;
/// let waits = scheduler.spawn(move || task::wait_writable_timeout(&writer, Duration::from_secs(1)));
/// scheduler.run()?;
/// assert_eq!(waits.join()?, Ok(())); // There is room.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`wait_readable_timeout`].
pub fn wait_writable_timeout(fd: impl AsFd, timeout: Duration) -> Result<()> {
    wait_fd(fd.as_fd().as_raw_fd(), WRITABLE, limit(Some(timeout)))
}

pub(super) fn wait_fd(fd: RawFd, events: u32, limit: Limit) -> Result<()> {
    suspending(|| scheduler::wait_fd(fd, events, limit)).map(drop)
}

/// Runs a function in which a cancellation of the running task is held: its calls wait as if nothing had
/// happened. The next call that suspends after it unwinds the task. For cleaning up, and for work that
/// is to be finished first; also for Rust code that C calls, which must not be unwound.
///
/// Time limits are held too: that of a [`timeout`] around it, and [`set_deadline`]. What is in there may have
/// a limit of its own, by a [`timeout`] inside.
///
/// When the scheduler is dropped while the task waits in there, its calls return [`Error::Canceled`].
///
/// ```
/// use majjen::{Scheduler, task};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let parent = scheduler.spawn(|| {
///     let child = task::spawn(|| task::sleep(Duration::from_millis(2)));
///     task::shield(|| child.join()).unwrap().unwrap(); // Waits for it, though it is canceled.
///     task::yield_now() // Unwound here.
/// });
/// scheduler.spawn(move || parent.cancel());
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub fn shield<T>(body: impl FnOnce() -> T) -> T {
    let _shield = Shield::raise();
    no_unwind(body)
}

/// Holds the cancellation and the deadline of a task until it is dropped: what was set before.
struct Shield(Option<(bool, u64)>);

impl Shield {
    fn raise() -> Shield {
        let cancelable = scheduler::set_cancelable(false).ok();
        Shield(cancelable.zip(scheduler::set_deadline(u64::MAX).ok()))
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        if let Some((cancelable, deadline_ns)) = self.0 {
            let _ = scheduler::set_cancelable(cancelable); // In the task, as before.
            let _ = scheduler::set_deadline(deadline_ns);
        }
    }
}

/// Runs a function in which the running task is not unwound: if the task is canceled, calls that
/// suspend return [`Error::Canceled`], and when the time of a [`timeout`] around it is over,
/// [`Error::TimedOut`]. For Rust code that C calls, and for what handles errors itself.
///
/// ```
/// use majjen::{Error, Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let finishes = scheduler.spawn(|| {
///     task::no_unwind(|| {
///         assert_eq!(task::park(None), Err(Error::Canceled));
///         println!("not unwound");
///     });
///     task::yield_now() // Unwound here.
/// });
/// scheduler.spawn(move || finishes.cancel());
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub fn no_unwind<T>(body: impl FnOnce() -> T) -> T {
    let Some(record) = running_task().and_then(|(_, task)| Record::of(task)) else {
        return body(); // Such a task is never unwound.
    };
    record.frames.set(record.frames.get() + 1);
    let _frame = Frame { record, unwinds_at_ns: record.unwinds_at_ns.replace(u64::MAX) };
    body()
}

/// Lets the task be unwound again when it is dropped.
struct Frame<'r> {
    record: &'r Record,
    unwinds_at_ns: u64,
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.record.frames.set(self.record.frames.get() - 1);
        self.record.unwinds_at_ns.set(self.unwinds_at_ns);
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

/// Whether the running task has been told to end, also while that is [held](shield). `false` outside
/// a task.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// let stops_early = scheduler.spawn(|| {
///     task::shield(|| {
///         while !task::is_canceled() {
///             task::yield_now().unwrap();
///         }
///     });
/// });
/// scheduler.spawn(move || stops_early.cancel());
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub fn is_canceled() -> bool {
    running_task().is_some_and(|(_, task)| task.canceled.get())
}

/// A handle to the running task's scheduler, for other threads. `None` outside a task, and in one that C code
/// has created.
///
/// ```
/// use majjen::{Scheduler, task};
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| {
///     let remote = task::remote().unwrap();
///     std::thread::spawn(move || remote.spawn(|| println!("back again")).unwrap()).join().unwrap();
/// });
/// scheduler.run()?;
/// # Ok::<(), majjen::Error>(())
/// ```
pub fn remote() -> Option<Remote> {
    let (core, task) = running_task()?;
    Some(Remote::new(core, &Record::of(task)?.shared))
}

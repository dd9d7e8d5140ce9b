//! Child processes, which tasks wait for and end.
//!
//! [`spawn`] takes what the standard library describes a child by, a [`Command`], and gives its pipes as
//! [`Suspending`] streams.
//!
//! ```
//! use majjen::{Scheduler, process};
//! use std::io::{BufRead, BufReader};
//! use std::process::{Command, Stdio};
//!
//! let scheduler = Scheduler::new()?;
//! let counts = scheduler.spawn(|| {
//!     let mut child = process::spawn(Command::new("echo").arg("1 2 3").stdout(Stdio::piped()))?;
//!     let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
//!     let lines = lines.collect::<std::io::Result<Vec<_>>>()?;
//!     assert!(child.wait()?.success());
//!     Ok::<_, std::io::Error>(lines)
//! });
//! scheduler.run()?;
//! assert_eq!(counts.join()??, ["1 2 3"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! While there are such children, wait for none by `waitpid(-1)`, and do not ignore SIGCHLD: who waits for a child
//! first is told how it has ended.

mod successor;

pub use successor::{Successor, notify};

use std::fmt;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::ptr::NonNull;
use std::time::Duration;

use super::io::Suspending;
use super::unwind::{suspending, suspending_or};
use crate::engine::children;
use crate::engine::scheduler::{Limit, running_task};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

/// Begins a child process. The thread waits until it runs its program. Its streams are as the command says, by
/// default this process's.
///
/// ```
/// use majjen::{Scheduler, process};
/// use std::process::Command;
///
/// let scheduler = Scheduler::new()?;
/// let ended = scheduler.spawn(|| {
///     process::spawn(Command::new("sh").args(["-c", "exit 3"]))?.wait().map_err(std::io::Error::from)
/// });
/// scheduler.run()?;
/// assert_eq!(ended.join()??.code(), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`Command::spawn`], with which there is no child: a program that is not there, too many processes or
/// descriptors; and no memory for the handle, with which the child is killed.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    begin(command, false)
}

/// [`spawn`] of a child that leads a group of processes of its own, in which what it starts is, too, and which gets no
/// signals of the terminal's keys. [`Child::signal`] and [`Child::end`] are for the whole group then. The command keeps
/// that it makes a group, by [`CommandExt::process_group`].
///
/// ```
/// use majjen::{Scheduler, process};
/// use std::io::Read;
/// use std::process::{Command, Stdio};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let ended = scheduler.spawn(|| {
///     let script = "sleep 100 & echo it sleeps";
///     let mut shell = process::spawn_group(Command::new("sh").args(["-c", script]).stdout(Stdio::piped()))?;
///     let mut output = shell.stdout.take().expect("it is piped");
///     assert!(shell.wait()?.success());
///     shell.end(Duration::ZERO)?; // What it has started still runs, and has the pipe.
///     output.read_to_end(&mut Vec::new())
/// });
/// scheduler.run()?;
/// ended.join()??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`spawn`].
pub fn spawn_group(command: &mut Command) -> io::Result<Child> {
    begin(command.process_group(0), true)
}

fn begin(command: &mut Command, leads_group: bool) -> io::Result<Child> {
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(|_| Error::InvalidArgument);
    let handle = match pid.and_then(|pid| children::Child::adopt(pid, leads_group)) {
        Ok(handle) => handle,
        Err(error) => {
            child.kill()?;
            child.wait()?;
            return Err(error.into());
        }
    };
    Ok(Child {
        stdin: child.stdin.take().map(Suspending::new),
        stdout: child.stdout.take().map(Suspending::new),
        stderr: child.stderr.take().map(Suspending::new),
        handle: NonNull::new(handle).ok_or(Error::OutOfMemory)?,
    })
}

/// A child process. Dropped, it runs on, and is waited for by later calls of this module once it has ended. Its
/// streams are closed when they are dropped.
///
/// It is the scheduler's whose task waits for it first, and stays on its thread.
///
/// ```compile_fail
/// let child = majjen::process::spawn(&mut std::process::Command::new("true")).unwrap();
/// std::thread::spawn(move || drop(child));
/// ```
pub struct Child {
    /// What the child reads from, if it is piped.
    pub stdin: Option<Suspending<ChildStdin>>,
    /// What the child writes to, if it is piped.
    pub stdout: Option<Suspending<ChildStdout>>,
    /// What the child writes its errors to, if it is piped.
    pub stderr: Option<Suspending<ChildStderr>>,
    /// Of the core, to be released once.
    handle: NonNull<children::Child>,
}

impl Child {
    /// Without streams.
    fn of(handle: *mut children::Child) -> io::Result<Child> {
        let handle = NonNull::new(handle).ok_or(Error::OutOfMemory)?;
        Ok(Child { stdin: None, stdout: None, stderr: None, handle })
    }

    fn core(&self) -> &children::Child {
        // SAFETY: released by `end` and drop() only.
        unsafe { self.handle.as_ref() }
    }

    /// The child's number. The system may give it away again once the child has been waited for: to send signals
    /// there is [`signal`](Self::signal).
    ///
    /// ```
    /// let child = majjen::process::spawn(&mut std::process::Command::new("true"))?;
    /// assert_ne!(child.id(), std::process::id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn id(&self) -> u32 {
        self.core().pid().unsigned_abs()
    }

    /// Waits until it has ended, also after it has. Its streams stay as they are: a child whose output nobody reads
    /// may never end. For a limit there is [`task::timeout`](super::task::timeout()).
    ///
    /// ```
    /// use majjen::{Scheduler, process, task};
    /// use std::process::Command;
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let in_time = scheduler.spawn(|| {
    ///     let child = process::spawn(Command::new("sleep").arg("100"))?;
    ///     let ended = task::timeout(Duration::from_millis(10), || child.wait()).is_ok();
    ///     child.end(Duration::from_secs(1))?;
    ///     Ok::<_, std::io::Error>(ended)
    /// });
    /// scheduler.run()?;
    /// assert!(!in_time.join()??);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// ECHILD if others have waited for it. [`Error::WrongScheduler`] for a child of another scheduler. Outside a
    /// task [`Error::NotInTask`], unless it has ended.
    pub fn wait(&self) -> Result<ExitStatus> {
        let limit = Limit::uninterrupted(Deadline::Never);
        // SAFETY: it is alive, and stays so until this call has ended or its task has gone.
        let wait = || unsafe { children::Child::wait(self.handle.as_ptr(), limit) };
        suspending_or(|| self.core().try_wait(), wait).map(ExitStatus::from_raw)
    }

    /// Sends it a signal, and with [`spawn_group`] all processes of its group. No other process gets it, though the
    /// system may give the child's number away again.
    ///
    /// ```
    /// use majjen::{Scheduler, process};
    /// use std::os::unix::process::ExitStatusExt;
    /// use std::process::Command;
    ///
    /// const SIGTERM: i32 = 15;
    /// let scheduler = Scheduler::new()?;
    /// let ended = scheduler.spawn(|| {
    ///     let child = process::spawn(Command::new("sleep").arg("100"))?;
    ///     child.signal(SIGTERM)?;
    ///     child.wait().map_err(std::io::Error::from)
    /// });
    /// scheduler.run()?;
    /// assert_eq!(ended.join()??.signal(), Some(SIGTERM));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoSuchTask`] once it has been waited for; with [`spawn_group`], when nobody of the group is left. Those
    /// of kill(2).
    pub fn signal(&self, signal: i32) -> Result<()> {
        self.core().signal(signal)
    }

    /// Ends it: closes its streams, sends SIGTERM, waits for at most `grace`, sends SIGKILL if it has not ended by
    /// then, and waits until it has. With [`spawn_group`] all processes of its group get the signals, and those that are
    /// left when it has ended get SIGKILL. Neither a cancellation nor the task's deadline cuts that short. Outside a task
    /// it blocks the thread.
    ///
    /// ```
    /// use majjen::{Scheduler, process};
    /// use std::process::Command;
    /// use std::time::Duration;
    ///
    /// let scheduler = Scheduler::new()?;
    /// let ended = scheduler.spawn(|| {
    ///     let child = process::spawn(Command::new("sleep").arg("100"))?;
    ///     child.end(Duration::from_secs(1)).map_err(std::io::Error::from)
    /// });
    /// scheduler.run()?;
    /// assert!(!ended.join()??.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// ECHILD if others have waited for it. [`Error::WrongScheduler`] and, in a destructor that a panic or a
    /// cancellation runs, [`Error::Unwinding`]: it is as if it were dropped then.
    pub fn end(mut self, grace: Duration) -> Result<ExitStatus> {
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        let grace_ns = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: it is alive.
        let end = || unsafe { children::Child::end(self.handle.as_ptr(), grace_ns) };
        let ended = if running_task().is_some() { suspending(end) } else { end() };
        if !matches!(ended, Err(Error::Unwinding | Error::WrongScheduler | Error::WrongThread)) {
            std::mem::forget(self); // Released; the streams are None.
        }
        ended.map(ExitStatus::from_raw)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: it is alive, and not used again. What uses it meanwhile is a task that has gone with its scheduler,
        // or one that is unwound.
        let _ = unsafe { children::Child::let_go(self.handle.as_ptr()) };
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Child").field("id", &self.id()).finish_non_exhaustive()
    }
}

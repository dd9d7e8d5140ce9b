//! Waiting for signals.
//!
//! A task that waits for signals keeps them, from its first wait on and also between its waits, until it waits for
//! others, calls [`release`], or ends. All that time a handler of the library takes them, on whichever thread they
//! come, so no thread needs to block or to unblock them. One that comes between two waits ends the next one at once,
//! so a loop misses none:
//!
//! ```no_run
//! use majjen::{Scheduler, signal};
//!
//! # fn read_configuration() {}
//! let scheduler = Scheduler::new()?;
//! scheduler.spawn(|| {
//!     loop {
//!         match signal::wait(&[signal::SIGHUP, signal::SIGTERM])?.signal {
//!             signal::SIGHUP => read_configuration(),
//!             _ => return Ok::<(), majjen::Error>(()),
//!         }
//!     }
//! });
//! scheduler.run()?;
//! # Ok::<(), majjen::Error>(())
//! ```
//!
//! - *Coalescing.* As the kernel does with signals that are blocked, one is kept of each number, with what was known
//!   of the first; real-time signals too.
//! - *Who is told.* Each task that has the signal, in each scheduler of the process. A handler of the program is not
//!   called meanwhile. Signals that are to stop a run, as
//!   [`Builder::handle_signals`](crate::Builder::handle_signals) says, stop none.
//! - *Afterwards.* When no task has a signal any more, its disposition is again what it was, unless the program has
//!   set another one. One that has come and that no task has been told of is sent to the process again.
//! - *Children.* In a child of `fork()`, until it goes on with the run, a signal has the effect that it has without
//!   the library.

use std::time::Duration;

use super::time::limit;
use super::unwind::suspending;
use crate::engine::scheduler::{self, Limit, SignalSet};
#[cfg(doc)] // for links
use crate::engine::sys::Error;
use crate::engine::sys::{Result, Signal};

pub use crate::engine::sys::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

/// A signal that has come.
///
/// ```
/// use majjen::{Scheduler, signal};
/// use std::process::Command;
///
/// let scheduler = Scheduler::new()?;
/// let told = scheduler.spawn(|| {
///     let set = [signal::SIGWINCH];
///     assert!(signal::wait_timeout(&set, std::time::Duration::ZERO).is_err()); // From here on it is kept.
///     let itself = std::process::id().to_string();
///     Command::new("kill").args(["-s", "WINCH", &itself]).status().unwrap();
///     signal::wait(&set)
/// });
/// scheduler.run()?;
/// let signal::Info { signal: number, sender, .. } = told.join()??;
/// assert_eq!(number, signal::SIGWINCH);
/// assert!(sender.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// Its number.
    pub signal: i32,
    /// Why it was sent: `si_code` of sigaction(2).
    pub code: i32,
    /// The process that has sent it, or the child that it is about, by its number and its user.
    pub sender: Option<(u32, u32)>,
    /// The number that `sigqueue()` or a timer has sent along, or the status of a child; else 0.
    pub value: i32,
}

/// Suspends the running task until one of the signals comes. Of several that have come it is the one with the lowest
/// number.
///
/// ```
/// use majjen::{Scheduler, signal, task};
/// use std::process::Command;
///
/// let scheduler = Scheduler::new()?;
/// let child = scheduler.spawn(|| {
///     let wait = || signal::wait_timeout(&[signal::SIGCHLD], std::time::Duration::ZERO);
///     assert_eq!(wait(), Err(majjen::Error::TimedOut)); // From here on it is kept.
///     let child = Command::new("true").spawn().unwrap();
///     let told = signal::wait(&[signal::SIGCHLD])?;
///     Ok::<_, majjen::Error>((child.id(), told.sender.unwrap().0))
/// });
/// scheduler.run()?;
/// let (pid, told) = child.join()??;
/// assert_eq!(pid, told);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::InvalidArgument`] if there are none, or one of them cannot be waited for: SIGKILL, SIGSTOP, those of faults
/// (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), and 32 and 33, which are the C library's. [`Error::TimedOut`] at
/// the deadline of the task, [`Error::OutOfMemory`], [`Error::NotInTask`] and [`Error::Unwinding`].
pub fn wait(signals: &[i32]) -> Result<Info> {
    wait_until(signals, limit(None))
}

/// [`wait`], and waits no longer than the timeout.
///
/// ```
/// use majjen::{Scheduler, signal};
/// use std::time::Duration;
///
/// let scheduler = Scheduler::new()?;
/// let wait = || signal::wait_timeout(&[signal::SIGHUP], Duration::from_millis(1));
/// let waits = scheduler.spawn(wait);
/// scheduler.run()?;
/// assert_eq!(waits.join()?, Err(majjen::Error::TimedOut));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::TimedOut`], and those of [`wait`].
pub fn wait_timeout(signals: &[i32], timeout: Duration) -> Result<Info> {
    wait_until(signals, limit(Some(timeout)))
}

fn wait_until(signals: &[i32], limit: Limit) -> Result<Info> {
    let set = SignalSet::of(signals.iter().copied())?;
    let Signal { number, code, pid, uid, value } =
        suspending(|| scheduler::wait_for_signal(set, limit))?;
    let sender = u32::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| (pid, uid));
    Ok(Info { signal: number, code, sender, value: value as i32 })
}

/// Gives back the signals that the running task has waited for, as its end does: for one that goes on and is not
/// interested any more, as in a second SIGINT, which then kills as usual.
///
/// ```
/// use majjen::{Scheduler, signal};
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| {
///     let _ = signal::wait_timeout(&[signal::SIGHUP], std::time::Duration::ZERO);
///     signal::release().unwrap(); // SIGHUP would end the process.
/// });
/// scheduler.run()?;
/// assert_eq!(signal::release(), Err(majjen::Error::NotInTask));
/// # Ok::<(), majjen::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotInTask`].
pub fn release() -> Result<()> {
    scheduler::forgo_signals()
}

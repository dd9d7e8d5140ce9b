//! Handing listening sockets over to a new process.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr::null;
use std::time::Duration;

use super::Child;
use crate::engine::children::{self, Spawn};
use crate::engine::sys::Error;
use crate::safe::unwind::suspending;

/// A process that takes over from this one, usually a new version of its program: it is given listening sockets, and
/// [`start`](Self::start) waits until it says that it is ready. What listens is the same socket in both processes, so
/// who connects meanwhile is served by one of them, and nobody is refused.
///
/// The new process takes the sockets by [`net::Builder::inherited`](crate::net::Builder::inherited), and says that it
/// is ready by [`notify`]. Here one takes over from another one, which then ends; a signal asks for it.
///
/// ```no_run
/// use majjen::process::{Successor, notify};
/// use majjen::signal::{self, SIGHUP};
/// use majjen::{Scheduler, net::Builder, task};
/// use std::io::Write;
/// use std::{rc::Rc, time::Duration};
///
/// let scheduler = Scheduler::new()?;
/// let served = scheduler.spawn(|| {
///     let listener = Rc::new(Builder::new().inherited(true).listen("127.0.0.1:8080")?);
///     task::spawn(|| notify("READY=1")); // It runs when this task waits for the signal.
///     let accepting = {
///         let listener = listener.clone();
///         task::spawn(move || {
///             for stream in listener.incoming() {
///                 task::spawn(move || (&stream?).write_all(b"hello\n"));
///             }
///         })
///     };
///     loop {
///         signal::wait(&[SIGHUP])?;
///         match Successor::again().listener(&*listener).start(Duration::from_secs(30)) {
///             Ok(_) => break,
///             Err(error) => eprintln!("this version goes on: {error}"),
///         }
///     }
///     accepting.cancel(); // Those who are served go on.
///     Ok::<(), std::io::Error>(())
/// });
/// scheduler.run()?;
/// served.join()??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it starts nothing by itself"]
pub struct Successor<'l> {
    arguments: Vec<OsString>,
    /// What is not as in this process, and what is not there.
    environment: Vec<(OsString, Option<OsString>)>,
    listeners: Vec<BorrowedFd<'l>>,
}

impl<'l> Successor<'l> {
    /// Of this program, by the name and with the arguments that it was started with. If there is another file of that
    /// name by now, as after an upgrade, that is run.
    ///
    /// ```
    /// let again = majjen::process::Successor::again();
    /// ```
    pub fn again() -> Successor<'l> {
        Successor::of(std::env::args_os().collect())
    }

    /// Of a program, which is looked for in PATH if its name has no slash.
    ///
    /// ```
    /// let successor = majjen::process::Successor::new("/usr/bin/server").arg("--verbose");
    /// ```
    pub fn new(program: impl AsRef<OsStr>) -> Successor<'l> {
        Successor::of(vec![program.as_ref().to_owned()])
    }

    fn of(arguments: Vec<OsString>) -> Successor<'l> {
        Successor { arguments, environment: Vec::new(), listeners: Vec::new() }
    }

    /// Another argument.
    ///
    /// ```
    /// let successor = majjen::process::Successor::again().arg("--again");
    /// ```
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// A variable of its environment that is not as in this process.
    ///
    /// ```
    /// let successor = majjen::process::Successor::again().env("GENERATION", "2");
    /// ```
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// A variable that its environment does not have.
    ///
    /// ```
    /// let successor = majjen::process::Successor::again().env_remove("GENERATION");
    /// ```
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    /// Another socket that it is given. It stays open here as well.
    ///
    /// ```
    /// use majjen::{net::TcpListener, process::Successor};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let successor = Successor::again().listener(&listener);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listener(mut self, listener: &'l impl AsFd) -> Self {
        self.listeners.push(listener.as_fd());
        self
    }

    /// Starts it, and waits until it says that it is ready. It has this process's directory and first three
    /// descriptors, and begins as [`spawn`](super::spawn)'s children do. A service manager that NOTIFY_SOCKET names is
    /// told of the reload, of its end, and of the new main process. The child runs on when what is returned is dropped.
    ///
    /// If it is not ready in time, or ends before, this process goes on as if nothing had been: the new one is ended,
    /// by SIGTERM, and SIGKILL a second later. So it is when the task is canceled.
    ///
    /// ```
    /// use majjen::{Scheduler, net::TcpListener, process::Successor};
    /// use std::{io::ErrorKind, time::Duration};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let scheduler = Scheduler::new()?;
    /// let started = scheduler.spawn(move || {
    ///     // It never says a thing.
    ///     Successor::new("sleep").arg("100").listener(&listener).start(Duration::from_millis(10))
    /// });
    /// scheduler.run()?;
    /// assert_eq!(started.join()?.unwrap_err().kind(), ErrorKind::TimedOut);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) if it was not ready in time. ESRCH,
    /// [`Error::NoSuchTask`](crate::Error::NoSuchTask), if it has ended before it was. Those of a child that cannot be
    /// made, and of what is no socket that listens.
    pub fn start(&self, limit: Duration) -> io::Result<Child> {
        if self.arguments.is_empty() {
            return Err(Error::InvalidArgument.into()); // This program was started without a name.
        }
        let arguments = strings(self.arguments.iter().cloned())?;
        let environment = strings(self.variables())?;
        let (arguments, environment) = (pointers(&arguments), pointers(&environment));
        let listeners: Vec<_> = self.listeners.iter().map(AsRawFd::as_raw_fd).collect();
        let timeout_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let mut beginning = Spawn::of(arguments.as_ptr());
        beginning.environment = environment.as_ptr();
        // SAFETY: lists of C strings that end with NULL, and there is a first argument.
        let start = || unsafe { children::hand_over(beginning, &listeners, timeout_ns) };
        Child::of(suspending(start)?)
    }

    /// "NAME=value", of all that are left.
    fn variables(&self) -> impl Iterator<Item = OsString> {
        let is_own = |name: &OsString| self.environment.iter().any(|(other, _)| other == name);
        let mut all: Vec<_> = std::env::vars_os().filter(|(name, _)| !is_own(name)).collect();
        for (index, (name, value)) in self.environment.iter().enumerate() {
            let is_last = self.environment[index + 1..].iter().all(|(other, _)| other != name);
            all.extend(value.clone().filter(|_| is_last).map(|value| (name.clone(), value)));
        }
        all.into_iter().map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            variable
        })
    }
}

fn strings(texts: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    Ok(texts.map(|text| CString::new(text.into_vec())).collect::<Result<_, _>>()?)
}

/// As execve(2) wants them. They are good as long as the strings are.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([null()]).collect()
}

impl fmt::Debug for Successor<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Successor")
            .field("arguments", &self.arguments)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

/// Tells who has started this process how it is, in the way of sd_notify(3): "READY=1" when it serves, "STOPPING=1"
/// when it is about to end, "STATUS=text", "WATCHDOG=1", or several of them as lines. It goes to the service manager
/// that NOTIFY_SOCKET in the environment names, if there is one, and READY=1 to the process that waits for it in
/// [`Successor::start`]. If the receiver's queue is full the thread waits for at most 100 ms. Returns whether anybody
/// has asked for it.
///
/// ```
/// majjen::process::notify("READY=1")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of the system calls, and [`InvalidInput`](io::ErrorKind::InvalidInput) where NOTIFY_SOCKET names no socket of
/// this machine.
pub fn notify(state: impl AsRef<OsStr>) -> io::Result<bool> {
    Ok(children::notify(state.as_ref().as_bytes())?)
}

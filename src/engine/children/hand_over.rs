//! Handing listening sockets over to a new process, which says when it is ready.
//!
//! The new process has the sockets as its descriptors from 3 on, in the way of systemd (`engine/fd/inherited.rs`).
//! They are the same open files here and there: each connection is in a queue that either takes from, so none is
//! lost or refused while this process goes on accepting, when it stops, and when the new one does not come up.
//! LISTEN_PID is not set, since nobody knows the number before the process runs the program.

use std::ffi::c_int;
use std::fmt::{Arguments, Display, Write};
use std::os::fd::{AsRawFd, IntoRawFd};

use super::child::{After, Child, PARTING, User};
use super::environment::{Environment, Variable};
use super::notify::{says_ready, tell_manager};
use super::pipes::HEARING;
use super::spawn::{Spawn, spawn};
use crate::engine::fd::{self, MOST_INHERITED};
use crate::engine::log;
use crate::engine::scheduler::{
    Limit, READABLE, close_fd, is_past_deadline, now_ns, running, running_task,
};
use crate::engine::sys::{self, ErrnoGuard, Error, Result, pollfd};
use crate::engine::time::Deadline;

/// How long a process has between SIGTERM and SIGKILL that was not ready.
const GRACE_NS: u64 = 1_000_000_000;
/// How long until the next look at a process whose end is no event.
const PAUSE_NS: u64 = 20_000_000;
/// More than what is told with READY=1.
const LONGEST: usize = 2048;

/// Starts a process that has the listeners, and waits until it says that it is ready. The result is for
/// [`Child::end`] or [`Child::let_go`]; on an error the process has ended.
///
/// # Safety
/// As `sys::spawn`.
pub unsafe fn hand_over(
    beginning: Spawn<'_>,
    listeners: &[c_int],
    timeout_ns: u64,
) -> Result<*mut Child> {
    let _errno = ErrnoGuard::save();
    let (scheduler, task) = running()?;
    if task.is_canceled() {
        return Err(Error::Canceled);
    }
    let mut deadline = Deadline::after_ns(timeout_ns);
    let end_ns = deadline.resolve(&scheduler.time.clock).unwrap_or(u64::MAX);
    // SAFETY: as this function's contract says.
    let child = unsafe { begin(beginning, listeners)? };
    // SAFETY: made just now, and nobody else's: so it is this task's, which cannot fail.
    let tended = unsafe { Tended::begin(child)? };
    tell_of_reload(format_args!("RELOADING=1\nMONOTONIC_USEC={}", sys::monotonic_ns() / 1000));
    let ready = until_ready(&tended.0, end_ns);
    // SAFETY: alive until it is ended below, or by who gets it.
    let (pid, is_own) = unsafe { ((*child).pid(), (*child).is_of_this_process()) };
    drop(tended);
    match ready {
        Ok(()) => {
            tell_of_reload(format_args!("READY=1\nMAINPID={pid}"));
            log::info(format_args!("Process {pid} is ready to take over"));
            Ok(child)
        }
        Err(error) => {
            // SAFETY: as above.
            let ended = unsafe { Child::end(child, GRACE_NS) };
            if !is_own {
                return Err(error); // This is a child of fork(), and its parent goes on.
            }
            tell_of_reload(format_args!("READY=1"));
            let why: &dyn Display = match error {
                Error::NoSuchTask => &"it has ended before it was ready",
                _ => &error,
            };
            match ended {
                Ok(status) => log::warn(format_args!(
                    "Process {pid} does not take over: {why}; its wait status is {status:#x}"
                )),
                Err(_) => log::warn(format_args!("Process {pid} does not take over: {why}")),
            }
            Err(error)
        }
    }
}

/// Tells the service manager, if there is one, for which it is a reload. It need not know: who reads on is served.
fn tell_of_reload(state: Arguments<'_>) {
    let mut text = [0; 64];
    let mut writer = sys::TruncatingWriter::new(&mut text);
    let _ = writer.write_fmt(state);
    if let Err(error) = tell_manager(writer.written()) {
        log::warn(format_args!("the socket that NOTIFY_SOCKET names takes no message: {error}"));
    }
}

/// # Safety
/// As [`hand_over`].
unsafe fn begin(beginning: Spawn<'_>, listeners: &[c_int]) -> Result<*mut Child> {
    if listeners.len() > MOST_INHERITED {
        return Err(Error::InvalidArgument);
    }
    for &listener in listeners {
        sys::check_open(listener)?;
        if !sys::is_stream_listener(listener) {
            return Err(Error::InvalidArgument);
        }
    }
    let hearing = sys::notified_socket()?;
    let address = sys::local_address(hearing.as_raw_fd())?;
    let name = address.abstract_name().ok_or(Error::InvalidArgument)?;
    let variables = [
        Variable::new(format_args!("LISTEN_FDS={}", listeners.len()))?,
        Variable::new(format_args!("MAJJEN_PREDECESSOR={} @{name}", sys::process_id()))?,
    ];
    let others = match beginning.environment.is_null() {
        true => sys::environment(),
        false => beginning.environment,
    };
    // SAFETY: as this function's contract says, and the process's own.
    let list = unsafe { Environment::new(others, &variables)? };
    let environment = list.as_ptr();
    // SAFETY: as this function's contract says, and the list just made.
    let child = unsafe { spawn(&Spawn { environment, further: listeners, ..beginning })? };
    // SAFETY: made just now.
    unsafe { (*child).pipes.put(HEARING, hearing.into_raw_fd()) };
    Ok(child)
}

/// A child that the running task is about. If the task goes with its scheduler meanwhile, the child is let go.
struct Tended(User);

impl Tended {
    /// # Safety
    /// It is alive, and nobody else's.
    unsafe fn begin(child: *mut Child) -> Result<Tended> {
        // SAFETY: as this function's contract says.
        let user = unsafe { User::begin(child)? };
        user.home.current_task()?;
        user.after.set(After::LetGo);
        user.is_parting.set(true);
        // SAFETY: alive, and in no other list; it is taken out before it is released.
        unsafe { PARTING.lock().add(child) };
        Ok(Tended(user))
    }
}

impl Drop for Tended {
    fn drop(&mut self) {
        self.0.after.set(After::Kept);
        if let Ok(hearing) = self.0.pipes.take(HEARING) {
            let _ = close_fd(hearing);
        }
    }
}

/// Waits until the child has said that it is ready, and is there.
fn until_ready(child: &Child, end_ns: u64) -> Result<()> {
    let poll = |fd| pollfd { fd, events: READABLE as i16, revents: 0 };
    let hearing = child.pipes.get(HEARING)?;
    let mut polls = [poll(hearing), poll(child.fd().unwrap_or(-1))];
    loop {
        // A child of fork() has the same socket, and must not take what its parent waits for.
        let is_ready = child.is_of_this_process() && hears_ready(child, hearing);
        if let Some(status) = child.status() {
            return Err(status.err().unwrap_or(Error::NoSuchTask));
        }
        if is_ready {
            return Ok(());
        }
        let until_ns = match polls[1].fd {
            0.. => end_ns,
            // It has no descriptor, or one that has said that it has ended when it has only for its tracer.
            _ => end_ns.min(now_ns().saturating_add(PAUSE_NS)),
        };
        let deadline = if until_ns == u64::MAX { Deadline::Never } else { Deadline::At(until_ns) };
        match fd::poll(&mut polls, Limit::uninterrupted(deadline)) {
            Ok(_) if polls[1].revents != 0 => polls[1].fd = -1,
            Ok(_) => {}
            // The time of the task may be over, too.
            Err(Error::TimedOut)
                if until_ns < end_ns && !running_task().is_some_and(is_past_deadline) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes a message, if there is one. Returns whether it is the child's, and says that it is ready: anybody may send
/// to the socket.
fn hears_ready(child: &Child, hearing: c_int) -> bool {
    let mut text = [0; LONGEST];
    match sys::notified(hearing, &mut text) {
        Ok((count, sender)) => sender == Some(child.pid()) && says_ready(&text[..count]),
        Err(_) => false,
    }
}

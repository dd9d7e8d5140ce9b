//! What the loop calls when no task is ready: the program's wait function, or a built-in one.

use std::ffi::{c_int, c_void};

use super::{READABLE, Scheduler};
use crate::engine::log;
use crate::engine::sys::{self, Result};

/// A function that waits when nothing is ready. See `mj_wait_fn` for what it may do.
pub type WaitFunction = unsafe extern "C" fn(*mut Scheduler, u64, *mut c_void) -> c_int;

/// The built-in ones. The program's functions may call them, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// By epoll, for the descriptors that tasks wait for, and for a stop. What a scheduler without
    /// a wait function uses.
    Epoll,
    /// The same by poll(2) on the scheduler's one descriptor: a model for wait functions on other
    /// systems.
    Poll,
    /// Sleeps, and is woken by nothing but a stop. Descriptors are looked at when it is over.
    Sleep,
}

impl Builtin {
    /// Whether it readies the tasks whose descriptors are ready.
    pub fn watches_descriptors(self) -> bool {
        self != Builtin::Sleep
    }

    /// Waits, and returns the number of events, or -1 after an ERROR line.
    pub fn wait(self, scheduler: &Scheduler, timeout_ns: u64) -> c_int {
        let (result, call) = match self {
            Builtin::Epoll => (scheduler.poll_reactor(timeout_ns), "epoll_wait"),
            Builtin::Poll => (wait_by_poll(scheduler, timeout_ns), "poll"),
            Builtin::Sleep => (sleep(scheduler, timeout_ns), "poll"),
        };
        match result {
            Ok(events) => c_int::try_from(events).unwrap_or(c_int::MAX),
            Err(error) => {
                // A call that keeps failing must not fill the disk.
                if !scheduler.io.wait_failed.get() {
                    log::error(format_args!("{call} failed: {error}"));
                }
                -1
            }
        }
    }
}

fn wait_by_poll(scheduler: &Scheduler, timeout_ns: u64) -> Result<usize> {
    sys::poll_one(scheduler.backend_fd(), READABLE, timeout_ns)?;
    scheduler.poll_reactor(0)
}

/// By poll(2), since nothing from another thread ends nanosleep(2).
fn sleep(scheduler: &Scheduler, timeout_ns: u64) -> Result<usize> {
    sys::poll_one(scheduler.wake_up_fd(), READABLE, timeout_ns).map(|_| 0)
}

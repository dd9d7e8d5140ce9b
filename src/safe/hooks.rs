//! The program's wait function and clock, and how the core calls them: what the core calls is
//! `extern "C"` and must not unwind, so panics end here.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::panics::{forget_payload, panic_message};
use super::time::to_ns;
use crate::engine::log;
use crate::engine::scheduler::Scheduler;

pub type Wait = Box<dyn FnMut(Option<Duration>, BorrowedFd<'_>) -> io::Result<usize>>;
pub type Clock = Box<dyn Fn() -> Duration>;

/// The program's functions. Each is taken out of its cell while it runs, so that it is in use once
/// at a time.
#[derive(Default)]
pub struct Hooks {
    pub wait: Cell<Option<Wait>>,
    pub clock: Cell<Option<Clock>>,
    /// What the clock has said, so that it does not go back.
    now_ns: Cell<u64>,
    clock_failed: Cell<bool>,
}

impl Hooks {
    /// Whether there is a wait function, and a clock.
    pub fn are_set(&mut self) -> (bool, bool) {
        (self.wait.get_mut().is_some(), self.clock.get_mut().is_some())
    }

    /// Drops the functions, when nothing calls them any more. Their destructors may panic.
    pub fn clear(&self) {
        drop((self.wait.take(), self.clock.take()));
    }
}

/// Calls the wait function.
///
/// # Safety
/// The scheduler runs; the data is its [`Hooks`].
pub unsafe extern "C" fn call_wait(
    scheduler: *mut c_void,
    timeout_ns: u64,
    hooks: *mut c_void,
) -> c_int {
    // SAFETY: as this function's contract says. Both are only borrowed shared, as everywhere.
    let (scheduler, hooks) = unsafe { (&*scheduler.cast::<Scheduler>(), &*hooks.cast::<Hooks>()) };
    let Some(mut wait) = hooks.wait.take() else {
        return -1; // Unreachable: the loop, which calls this, is not in itself.
    };
    let timeout = (timeout_ns != u64::MAX).then(|| Duration::from_nanos(timeout_ns));
    // SAFETY: open as long as the scheduler is alive, which is longer than the call.
    let backend = unsafe { BorrowedFd::borrow_raw(scheduler.io.reactor.borrow().fd()) };
    let result = catch_unwind(AssertUnwindSafe(|| wait(timeout, backend)));
    hooks.wait.set(Some(wait));
    let said = scheduler.io.wait_failed.get(); // It is said once for a row of failures.
    match result {
        Ok(Ok(events)) => c_int::try_from(events).unwrap_or(c_int::MAX),
        Ok(Err(error)) => {
            if !said {
                log::error(format_args!("the wait function has returned an error: {error}"));
            }
            -1
        }
        Err(payload) => {
            if !said {
                log::error(format_args!(
                    "the wait function has panicked: {}",
                    panic_message(&*payload)
                ));
            }
            forget_payload(payload);
            -1
        }
    }
}

/// Calls the clock. If it panics or calls itself, time stands still.
///
/// # Safety
/// The data is a scheduler's [`Hooks`], which are alive.
pub unsafe extern "C" fn call_clock(hooks: *mut c_void) -> u64 {
    // SAFETY: as this function's contract says.
    let hooks = unsafe { &*hooks.cast::<Hooks>() };
    let Some(clock) = hooks.clock.take() else {
        return hooks.now_ns.get();
    };
    let result = catch_unwind(AssertUnwindSafe(|| to_ns(clock())));
    hooks.clock.set(Some(clock));
    match result {
        Ok(ns) => hooks.now_ns.set(ns.max(hooks.now_ns.get())),
        Err(payload) => {
            if !hooks.clock_failed.replace(true) {
                log::error(format_args!(
                    "the clock has panicked, and its last reading is used instead: {}",
                    panic_message(&*payload)
                ));
            }
            forget_payload(payload);
        }
    }
    hooks.now_ns.get()
}

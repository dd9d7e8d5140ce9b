//! Asking a scheduler to stop.

use std::ffi::c_int;
use std::sync::atomic::{
    AtomicBool, AtomicI32,
    Ordering::{AcqRel, Relaxed},
};

use crate::engine::context::sanitizer;
use crate::engine::sys::{self, Result};

/// A request to stop, which any thread and any signal handler may raise.
pub struct StopFlag {
    raised: AtomicBool,
    /// Wakes the loop while it waits.
    wake_up_fd: c_int,
    /// The process that the descriptor wakes. A child of fork() shares it with its parent, and
    /// must neither wake the parent nor take a wake-up from it.
    process: AtomicI32,
}

impl StopFlag {
    pub fn create() -> Result<StopFlag> {
        Ok(StopFlag {
            raised: AtomicBool::new(false),
            wake_up_fd: sys::eventfd()?,
            process: AtomicI32::new(sys::process_id()),
        })
    }

    pub fn raise(&self) {
        sanitizer::release(self);
        self.raised.swap(true, AcqRel);
        if self.is_of_this_process() {
            sys::eventfd_raise(self.wake_up_fd);
        }
    }

    #[inline(always)]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Relaxed)
    }

    /// The descriptor that a request makes readable.
    pub fn fd(&self) -> c_int {
        self.wake_up_fd
    }

    /// Takes the request back, at the end of the run that it was for. What a thread did before it
    /// raised the flag is seen by whoever called the run.
    pub fn lower(&self) {
        if self.is_of_this_process() {
            sys::eventfd_clear(self.wake_up_fd);
        }
        self.raised.swap(false, AcqRel);
        sanitizer::acquire(self);
    }

    /// The descriptor is this process's own from now on.
    pub fn adopt(&self) {
        self.process.store(sys::process_id(), Relaxed);
    }

    pub fn is_of_this_process(&self) -> bool {
        self.process.load(Relaxed) == sys::process_id()
    }
}

impl Drop for StopFlag {
    fn drop(&mut self) {
        sys::close(self.wake_up_fd);
    }
}

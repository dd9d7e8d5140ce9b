//! The built-in wait functions.

use std::ffi::c_int;

use super::io::Builtin;
use super::object::Scheduler;
use crate::engine::io::READABLE;
use crate::engine::log;
use crate::engine::sys::{self, Result};

impl Scheduler {
    /// Calls a built-in wait function. Returns the number of events, or -1 after an ERROR line.
    pub fn wait_by(&self, builtin: Builtin, timeout_ns: u64, exact: bool) -> c_int {
        let exact = exact.then(|| sys::ExactTimers::for_wait(timeout_ns));
        let (result, call) = match builtin {
            Builtin::Epoll => (self.poll_reactor(timeout_ns), "epoll_wait"),
            Builtin::Poll => (self.wait_by_poll(timeout_ns), "poll"),
            Builtin::Sleep => (self.sleep(timeout_ns), "poll"),
        };
        drop(exact);
        if sys::take_news_of_imprecision() {
            self.log_fallbacks(); // The first wait, or a sandbox that has been closed since.
        }
        match result {
            Ok(events) => c_int::try_from(events).unwrap_or(c_int::MAX),
            Err(error) => {
                // A call that keeps failing must not fill the disk.
                if !self.io.wait_failed.get() {
                    log::error(format_args!("{call} failed: {error}"));
                }
                -1
            }
        }
    }

    fn wait_by_poll(&self, timeout_ns: u64) -> Result<usize> {
        self.reinit_after_fork()?;
        sys::poll_one(self.io.reactor.borrow().fd(), READABLE, timeout_ns)?;
        self.poll_reactor(0)
    }

    /// By poll(2), since nothing from another thread ends nanosleep(2).
    fn sleep(&self, timeout_ns: u64) -> Result<usize> {
        self.reinit_after_fork()?;
        sys::poll_one(self.remote.wake_up_fd(), READABLE, timeout_ns).map(|_| 0)
    }
}

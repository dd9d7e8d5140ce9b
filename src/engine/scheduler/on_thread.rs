//! What the thread-local variable says of the scheduler that runs on the thread.

use std::ffi::c_void;
use std::ptr::null;
use std::sync::atomic::AtomicU64;

use crate::engine::context::switch;

/// The fields of the thread-local variable that belong to the running scheduler.
pub(super) struct OnThread {
    pub scheduler: *const c_void,
    pub current_task: *const c_void,
    pub yield_at: *const AtomicU64,
}

impl OnThread {
    /// No scheduler runs.
    pub const NOTHING: OnThread =
        OnThread { scheduler: null(), current_task: null(), yield_at: null() };

    /// Makes this what is said, and returns what was.
    pub fn install(&self) -> OnThread {
        // SAFETY: the thread's own variable, which lives as long as the thread.
        let thread = unsafe { &*switch::thread() };
        OnThread {
            yield_at: thread.yield_at.replace(self.yield_at),
            current_task: thread.current_task.replace(self.current_task),
            scheduler: thread.scheduler.replace(self.scheduler),
        }
    }
}

//! Noticing the end of the thread, before thread-locals that a parked task has borrowed are
//! dropped.
//!
//! The C library drops thread-locals in the opposite order of their first use. So something that
//! is registered after a run comes before all that tasks have used in it.

use std::ffi::c_void;
use std::rc::Rc;

use super::shared::Shared;
use crate::engine::sys;

/// Each registration costs a few bytes until the thread ends. A program that runs a scheduler more
/// often than this with tasks left over, and then drops it with tasks left over, leaks them.
const LARGEST_NUMBER: u32 = 100_000;

/// To be called after a run that leaves tasks parked.
pub fn watch(shared: &Rc<Shared>) {
    let watches = shared.watches.get();
    if watches >= LARGEST_NUMBER {
        return shared.thread_ended.set(true);
    }
    shared.watches.set(watches + 1);
    let data = Rc::into_raw(shared.clone());
    if sys::at_thread_end(on_thread_end, data.cast_mut().cast()).is_err() {
        // SAFETY: from `into_raw`, and nobody else has it.
        drop(unsafe { Rc::from_raw(data) });
        shared.thread_ended.set(true); // It may, unnoticed.
    }
}

/// # Safety
/// Called once for each registration, on its thread.
unsafe extern "C" fn on_thread_end(data: *mut c_void) {
    // SAFETY: from `watch`, on the same thread.
    let shared = unsafe { Rc::from_raw(data.cast::<Shared>()) };
    shared.thread_ended.set(true);
    shared.thread_ends.set(true);
}

//! The end of a thread: its tasks end before the thread-locals that they have borrowed.
//!
//! A task may be parked in the middle of `LocalKey::with`, and have lent the value to another
//! thread by `std::thread::scope`, whose end only its own frames wait for. So these frames must be
//! left before the value is dropped, also if the scheduler has been forgotten, or is a thread-local
//! itself and would be dropped later.
//!
//! The C library drops thread-locals in the opposite order of their first use. So something that
//! is registered after a run comes before all that tasks have used in it. Each run registers anew,
//! as a thread-local may be new in each.

use std::ffi::c_void;
use std::rc::Rc;

use super::shared::Shared;
use super::teardown;
use crate::engine::{log, sys};

/// A registration costs some 50 bytes until the thread ends. After so many a line says it.
const MANY: u32 = 100_000;

/// To be called when tasks stay suspended for the time being, or have been given up.
pub fn watch(shared: &Rc<Shared>) {
    let data = Rc::into_raw(shared.clone());
    if sys::at_thread_end(on_thread_end, data.cast_mut().cast()).is_err() {
        abort("no memory is left to end them when their thread does");
    }
    let watches = shared.watches.get().saturating_add(1);
    shared.watches.set(watches);
    if watches == MANY {
        log::warn(format_args!(
            "a scheduler has been run {MANY} times with tasks left over; each time takes some \
             memory until the thread ends"
        ));
    }
}

/// Ends the tasks that have begun. Those that have not have borrowed nothing.
///
/// # Safety
/// Called once for each registration, on its thread.
unsafe extern "C" fn on_thread_end(data: *mut c_void) {
    // SAFETY: from `watch`, on the same thread.
    let shared = unsafe { Rc::from_raw(data.cast::<Shared>()) };
    shared.thread_ends.set(true);
    // It runs when one of its tasks has called exit(). And in a child of fork() that has not run
    // it, no thread is left to which the tasks could have lent anything, or that they could wait
    // for.
    if let Some(core) = shared.core()
        && !core.remote.is_running()
        && core.remote.is_of_this_process()
    {
        teardown::unwind_tasks(core, &shared);
    }
    // Nobody refers to what such a task has borrowed but its own frames, which do not run any
    // more, and other threads. Who stays in the hook instead of aborting would let whoever joins
    // the thread wait for ever, without a word; and when the main thread ends, the process too.
    if shared.given_up.take() && !sys::is_only_thread() {
        abort("their thread ends, and other threads may use thread-locals that they have lent");
    }
}

/// Ends the process, as the standard library does where a promise to other threads would be
/// broken.
fn abort(reason: &str) -> ! {
    let line = format!("majjen: fatal error: there are tasks that were not unwound: {reason}\n");
    sys::write_to_stderr(line.as_bytes());
    std::process::abort()
}

//! A thread of the pool.

use std::ffi::c_void;
use std::ptr::{NonNull, from_ref, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::job::Job;
use super::queue::Sleeper;
use super::workers::Workers;
use crate::engine::context::switch;
use crate::engine::sys::{self, Result};
use crate::engine::threads::this_process;

/// The key of [`end`], plus one. 0 if there is none: then no function may end its thread.
static KEY: AtomicU32 = AtomicU32::new(0);

/// Before the first thread of a process is made: the library hears of the end of threads, and of the process.
/// For one thread at a time, after [`sys::keep_loaded`].
pub fn prepare(at_exit: extern "C" fn()) {
    if KEY.load(Relaxed) == 0 {
        KEY.store(sys::thread_end_key(end).map_or(0, |key| key + 1), Relaxed);
        sys::at_exit(at_exit);
    }
}

/// Makes a thread of a class, which was called.
pub fn start(workers: &'static Workers) -> Result<()> {
    sys::start_thread(main, from_ref(workers).cast_mut().cast())
}

/// Nothing here needs to be dropped: a function may end its thread, by pthread_exit(3).
unsafe extern "C-unwind" fn main(workers: *mut c_void) -> *mut c_void {
    // SAFETY: from `start`, and for ever.
    let workers = unsafe { &*workers.cast::<Workers>() };
    sys::name_thread(workers.thread_name());
    if let Some(key) = KEY.load(Relaxed).checked_sub(1) {
        sys::call_at_end(key, from_ref(workers).cast());
    }
    let process = this_process();
    let me = Sleeper::new();
    let mut next = workers.next(&me, true);
    while let Some(job) = next {
        // SAFETY: this thread's, since it has taken it.
        unsafe { job.as_ref() }.run();
        if this_process() != process {
            break; // A child that the function has made: nothing is its own.
        }
        // SAFETY: its function was run, and it is not used if it is gone.
        let is_to_be_told = unsafe { Job::end(job) };
        // First, so that who is told finds a thread that is coming, and needs no other one.
        next = workers.take();
        if is_to_be_told {
            // SAFETY: it has ended, and is not used afterwards.
            unsafe { Job::post(job) };
        }
        if next.is_none() {
            me.pace.end();
            next = workers.next(&me, false);
        }
    }
    null_mut()
}

/// The thread ends: perhaps in a function.
unsafe extern "C" fn end(workers: *mut c_void) {
    // SAFETY: from `main`, and for ever.
    let workers = unsafe { &*workers.cast::<Workers>() };
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let job = unsafe { &*switch::thread() }.job.get().cast::<Job>().cast_mut();
    let Some(job) = NonNull::new(job) else { return };
    // SAFETY: this thread's, since its function runs on it.
    if !unsafe { job.as_ref() }.is_of_this_process() {
        return;
    }
    // SAFETY: its function has ended so, and it is not used afterwards.
    unsafe {
        if Job::end(job) {
            Job::post(job);
        }
    }
    workers.has_ended();
}

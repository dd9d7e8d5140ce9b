//! A thread of the pool.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::Class;
use super::job::Job;
use super::workers::Sleeper;
use crate::engine::context::{sanitizer, switch};
use crate::engine::sys::{self, Result};
use crate::engine::threads::this_process;

/// The key of [`end`], plus one. 0 if there is none: then no function may end its thread.
static KEY: AtomicU32 = AtomicU32::new(0);

/// Before the first thread of a process is made: the library stays, and hears of the end of threads.
/// For one thread at a time.
pub fn prepare() {
    if KEY.load(Relaxed) == 0 {
        sys::keep_loaded();
        KEY.store(sys::thread_end_key(end).map_or(0, |key| key + 1), Relaxed);
        sys::at_exit(dismiss_all);
    }
}

/// Makes a thread, which is coming.
pub fn start(class: Class) -> Result<()> {
    sanitizer::look_up_tsan_hooks();
    sys::start_thread(main, class as usize as *mut c_void)
}

/// Nothing here needs to be dropped: a function may end its thread, by pthread_exit(3).
unsafe extern "C-unwind" fn main(class: *mut c_void) -> *mut c_void {
    let Ok(class) = Class::of(class as usize as u32) else { return null_mut() };
    sys::name_thread(class.thread_name());
    if let Some(key) = KEY.load(Relaxed).checked_sub(1) {
        sys::call_at_end(key);
    }
    let (process, workers) = (this_process(), class.workers());
    let me = Sleeper::new();
    let mut was_called = true;
    while let Some(job) = workers.next(class, &me, was_called) {
        was_called = false;
        me.pace.begin();
        // SAFETY: this thread's, since it has taken it.
        unsafe { job.as_ref() }.run();
        if this_process() != process {
            break; // A child that the function has made: nothing is its own.
        }
        // SAFETY: its function was run, and it is not used afterwards.
        unsafe {
            if Job::end(job) {
                Job::post(job);
            }
        }
        me.pace.end();
    }
    null_mut()
}

/// The process ends by exit(3): threads that have nothing to do end before, so that what looks for memory
/// that was lost does not find theirs. The others are not waited for.
extern "C" fn dismiss_all() {
    const LIMIT_NS: u64 = 100_000_000;
    let until_ns = sys::monotonic_ns() + LIMIT_NS;
    let is_late = || sys::monotonic_ns() > until_ns;
    for class in Class::ALL {
        let Some(workers) = class.workers_if_begun() else { return };
        loop {
            match workers.dismiss() {
                Ok(thread) => {
                    while !sys::has_thread_ended(thread) && !is_late() {
                        sys::sleep_ns(20_000);
                    }
                }
                Err(true) if !is_late() => sys::sleep_ns(20_000),
                Err(_) => break,
            }
        }
    }
}

/// The thread ends: perhaps in a function.
unsafe extern "C" fn end(_: *mut c_void) {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let job = unsafe { &*switch::thread() }.job.get().cast::<Job>().cast_mut();
    let Some(job) = NonNull::new(job) else { return };
    // SAFETY: this thread's, since its function runs on it.
    let (class, is_own) = unsafe { (job.as_ref().class, job.as_ref().is_of_this_process()) };
    if !is_own {
        return;
    }
    // SAFETY: its function has ended so, and it is not used afterwards.
    unsafe {
        if Job::end(job) {
            Job::post(job);
        }
    }
    class.workers().has_ended(class);
}

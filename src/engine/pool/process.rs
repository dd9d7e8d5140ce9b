//! The pool of this process.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
};

use super::class::Class;
use super::thread;
use super::workers::{Counts, Workers};
use crate::engine::sys::{self, Error, Result};
use crate::engine::threads::{Lock, this_process};

struct Pool {
    /// The process that the classes are of: 0 before the first use.
    process: AtomicU32,
    classes: [Workers; Class::ALL.len()],
}

#[cfg(not(loom))]
static POOL: Pool = Pool {
    process: AtomicU32::new(0),
    classes: [
        Workers::new(Class::Cpu, thread::start),
        Workers::new(Class::File, thread::start),
        Workers::new(Class::Dns, thread::start),
    ],
};

// Not used: models make workers of their own.
#[cfg(loom)]
static POOL: std::sync::LazyLock<Pool> = std::sync::LazyLock::new(|| Pool {
    process: AtomicU32::new(0),
    classes: Class::ALL.map(|class| Workers::new(class, Box::new(thread::start))),
});

/// The threads of a class.
pub fn workers_of(class: Class) -> &'static Workers {
    if POOL.process.load(Acquire) != this_process() {
        begin();
    }
    &POOL.classes[class as usize]
}

/// Empties the pool at its first use in a process.
#[cold]
fn begin() {
    static BEGINNING: Lock<()> = Lock::in_static(());
    // Before the lock: another thread may have the loader's, in a constructor of a library that it opens, say,
    // which offloads something itself, and so waits for this one.
    sys::keep_loaded();
    let _beginning = BEGINNING.lock();
    if POOL.process.load(Acquire) == this_process() {
        return;
    }
    thread::prepare(dismiss_all);
    for class in Class::ALL {
        POOL.classes[class as usize].begin();
    }
    POOL.process.store(this_process(), Release);
}

/// The process ends by exit(3): threads that have nothing to do end before, so that what looks for memory
/// that was lost does not find theirs. The others are not waited for.
extern "C" fn dismiss_all() {
    const LIMIT_NS: u64 = 100_000_000;
    if POOL.process.load(Acquire) != this_process() {
        return;
    }
    let until_ns = sys::monotonic_ns() + LIMIT_NS;
    let is_late = || sys::monotonic_ns() > until_ns;
    for workers in &POOL.classes {
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

/// Sets how many threads a class may have.
pub fn set_limit(class: Class, threads: usize) -> Result<()> {
    if threads == 0 {
        return Err(Error::InvalidArgument);
    }
    workers_of(class).set_limit(threads);
    Ok(())
}

/// What a class does at the moment.
pub fn counts(class: Class) -> Counts {
    workers_of(class).counts()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::ffi::c_void;
    use std::ptr::NonNull;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::super::job::{Job, Work};
    use super::{Class, Workers, thread};
    use crate::engine::sys;

    unsafe extern "C" fn counts(counter: *mut c_void) {
        // SAFETY: the test's counter.
        unsafe { &*counter.cast::<AtomicUsize>() }.fetch_add(1, SeqCst);
    }

    #[test]
    fn threads_that_are_idle_end() {
        static WORKERS: Workers = Workers::new(Class::Dns, thread::start);
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        WORKERS.begin();
        WORKERS.idle_ns.store(1_000_000, SeqCst);
        for round in 1..=20 {
            for _ in 0..4 {
                let counter = (&raw const COUNTER).cast_mut().cast();
                let memory = NonNull::new(sys::allocate::<Job>(1)).unwrap();
                // SAFETY: fresh memory for one. It is not freed.
                unsafe {
                    memory.write(Job::new(
                        Class::Dns,
                        Work { function: counts, argument: counter, abandon: None },
                    ));
                    WORKERS.add(memory);
                }
            }
            while WORKERS.counts().threads > 0 {
                sys::sleep_ns(100_000);
            }
            assert_eq!(COUNTER.load(SeqCst), 4 * round);
        }
    }
}

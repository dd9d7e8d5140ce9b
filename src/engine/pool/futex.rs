//! A word that a thread sleeps on until it changes. For models a mutex and a condition variable.

#[cfg(loom)]
pub use in_models::Futex;
#[cfg(not(loom))]
pub use in_threads::Futex;

#[cfg(not(loom))]
mod in_threads {
    use std::sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Release},
    };

    use crate::engine::sys;

    pub struct Futex(AtomicU32);

    impl Futex {
        pub const fn new(value: u32) -> Futex {
            Futex(AtomicU32::new(value))
        }

        pub fn load(&self) -> u32 {
            self.0.load(Acquire)
        }

        pub fn store(&self, value: u32) {
            self.0.store(value, Release);
        }

        /// Sleeps while it has a value, for at most so long. May return early.
        pub fn wait(&self, value: u32, timeout_ns: u64) {
            let until_ns = sys::monotonic_ns().saturating_add(timeout_ns);
            sys::futex_wait(&self.0, value, Some(until_ns));
        }

        /// Wakes the thread that sleeps on it. It may have been woken before, and the futex be gone.
        pub fn wake(futex: *const Futex) {
            sys::futex_wake(futex.cast());
        }
    }
}

#[cfg(loom)]
mod in_models {
    use loom::sync::{Condvar, Mutex};

    pub struct Futex {
        value: Mutex<u32>,
        changed: Condvar,
    }

    impl Futex {
        pub fn new(value: u32) -> Futex {
            Futex { value: Mutex::new(value), changed: Condvar::new() }
        }

        pub fn load(&self) -> u32 {
            *self.value.lock().unwrap()
        }

        pub fn store(&self, value: u32) {
            *self.value.lock().unwrap() = value;
        }

        /// Without a time limit.
        pub fn wait(&self, value: u32, _timeout_ns: u64) {
            let mut now = self.value.lock().unwrap();
            while *now == value {
                now = self.changed.wait(now).unwrap();
            }
        }

        /// In models it is not gone.
        pub fn wake(futex: *const Futex) {
            unsafe { &*futex }.changed.notify_all();
        }
    }
}

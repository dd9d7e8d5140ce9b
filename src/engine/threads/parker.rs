//! A thread that waits until another one tells it to go on, once.

#[cfg(not(loom))]
pub use futex::Parker;
#[cfg(loom)]
pub use models::Parker;

#[cfg(not(loom))]
mod futex {
    use std::sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    };

    use crate::engine::sys;

    /// The word is 0 until it is told.
    pub struct Parker(AtomicU32);

    impl Parker {
        pub fn new() -> Parker {
            Parker(AtomicU32::new(0))
        }

        /// For the thread that waits, after it was told.
        pub fn reset(&self) {
            self.0.store(0, Relaxed);
        }

        /// Waits until it is told, or the moment has come. Returns whether it was told.
        pub fn wait(&self, until_ns: Option<u64>) -> bool {
            while self.0.load(Acquire) == 0 {
                if until_ns.is_some_and(|ns| sys::monotonic_ns() >= ns) {
                    return false;
                }
                sys::futex_wait(&self.0, 0, until_ns);
            }
            true
        }

        /// Tells it. From then on the thread may go on, and the parker be gone.
        pub fn tell(&self) {
            self.0.store(1, Release);
        }

        /// Wakes the thread after that. Its parker may be gone: only the address is used.
        pub fn wake(parker: *const Parker) {
            sys::futex_wake(parker.cast());
        }
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/parker.rs"]
mod models;

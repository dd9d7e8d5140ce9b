//! What the watchdog waits on; the protocol is in the head of [`watchdog`](super).

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, Ordering::*, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, Ordering::*, fence};

const WATCHING: u32 = 0;
const PARKED: u32 = 1;
const RUNG: u32 = 2;

/// The bell.
pub struct Bell(AtomicU32);

impl Bell {
    #[cfg(not(loom))]
    pub const fn new() -> Bell {
        Bell(AtomicU32::new(WATCHING))
    }

    #[cfg(loom)]
    pub fn new() -> Bell {
        Bell(AtomicU32::new(WATCHING))
    }

    // ---- for the watchdog

    /// It is about to look, and looks again soon.
    pub fn watch(&self) {
        self.0.store(WATCHING, Relaxed);
    }

    /// It is about to look for the last time.
    pub fn park(&self) {
        self.0.store(PARKED, Relaxed);
        fence(SeqCst);
    }

    /// Waits by `wait`, which returns once the word has not that value any more, or earlier.
    pub fn wait(&self, wait: impl FnOnce(&AtomicU32, u32)) {
        let state = self.0.load(Relaxed);
        if state != RUNG {
            wait(&self.0, state);
        }
    }

    // ---- for the schedulers

    /// The caller has cleared its `asleep`. `wake` ends the wait of the watchdog.
    #[inline]
    pub fn ring_if_parked(&self, wake: impl FnOnce(&AtomicU32)) {
        fence(SeqCst);
        if self.0.load(Relaxed) == PARKED {
            self.ring(wake);
        }
    }

    /// The caller has entered the registry, or left it.
    pub fn ring(&self, wake: impl FnOnce(&AtomicU32)) {
        self.0.store(RUNG, Release);
        wake(&self.0);
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/bell.rs"]
mod models;

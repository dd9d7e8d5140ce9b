//! What the watchdog waits on; the protocol is in the head of [`watchdog`](super).

use std::sync::atomic::{AtomicU32, Ordering::*, fence};

const WATCHING: u32 = 0;
const PARKED: u32 = 1;
const RUNG: u32 = 2;

/// What it is made of: the models have another one.
pub trait Word {
    fn load(&self) -> u32;
    fn store(&self, value: u32);
    /// A SeqCst fence.
    fn fence();
}

impl Word for AtomicU32 {
    #[inline(always)]
    fn load(&self) -> u32 {
        AtomicU32::load(self, Relaxed)
    }

    fn store(&self, value: u32) {
        AtomicU32::store(self, value, Relaxed);
    }

    #[inline(always)]
    fn fence() {
        fence(SeqCst);
    }
}

/// The bell.
pub struct Bell<W = AtomicU32>(W);

impl Bell {
    pub const fn new() -> Bell {
        Bell(AtomicU32::new(WATCHING))
    }
}

impl<W: Word> Bell<W> {
    // ---- for the watchdog

    /// It is about to look, and looks again soon.
    pub fn watch(&self) {
        self.0.store(WATCHING);
    }

    /// It is about to look for the last time.
    pub fn park(&self) {
        self.0.store(PARKED);
        W::fence();
    }

    /// Waits by `wait`, which returns once the word has not that value any more, or earlier.
    pub fn wait(&self, wait: impl FnOnce(&W, u32)) {
        let state = self.0.load();
        if state != RUNG {
            wait(&self.0, state);
        }
    }

    // ---- for the schedulers

    /// The caller has cleared its `asleep`. `wake` ends the wait of the watchdog.
    #[inline]
    pub fn ring_if_parked(&self, wake: impl FnOnce(&W)) {
        W::fence();
        if self.0.load() == PARKED {
            self.ring(wake);
        }
    }

    /// The caller has entered the registry, or left it.
    pub fn ring(&self, wake: impl FnOnce(&W)) {
        self.0.store(RUNG);
        wake(&self.0);
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/bell.rs"]
mod models;

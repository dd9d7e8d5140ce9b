//! What the watchdog waits on; the protocol is in the head of [`watchdog`](super).

use crate::engine::threads::Futex;
use crate::engine::threads::atomic::{
    Ordering::{Relaxed, SeqCst},
    fence,
};

const WATCHING: u32 = 0;
const PARKED: u32 = 1;
const RUNG: u32 = 2;

/// The bell.
pub struct Bell(Futex);

impl Bell {
    pub const fn in_static() -> Bell {
        Bell(Futex::in_static(WATCHING))
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

    /// Waits until it is rung, but not beyond a moment of the monotonic clock.
    pub fn wait(&self, until_ns: Option<u64>) {
        let state = self.0.load(Relaxed);
        if state != RUNG {
            self.0.wait_while(state, until_ns);
        }
    }

    // ---- for the schedulers

    /// The caller has cleared its `asleep`.
    #[inline]
    pub fn ring_if_parked(&self) {
        fence(SeqCst);
        if self.0.load(Relaxed) == PARKED {
            self.ring();
        }
    }

    /// The caller has entered the registry, or left it.
    pub fn ring(&self) {
        self.0.store(RUNG, Relaxed);
        Futex::wake(&self.0);
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/bell.rs"]
mod models;

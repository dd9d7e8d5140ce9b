//! Lines that the file or the system log did not take: counted, and reported once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static LOST: AtomicU64 = AtomicU64::new(0);

/// Whether the last line was lost.
static GOING_ON: AtomicBool = AtomicBool::new(false);

/// How many lines have been lost.
pub fn count() -> u64 {
    LOST.load(Relaxed)
}

pub fn is_going_on() -> bool {
    GOING_ON.load(Relaxed)
}

/// After the receiver has changed: what the new one does not take is reported.
pub fn begin_anew() {
    GOING_ON.store(false, Relaxed);
}

/// After a line was written.
pub fn end() {
    if GOING_ON.load(Relaxed) {
        GOING_ON.store(false, Relaxed);
    }
}

/// After a line was not written. Returns whether it is the first in a row.
pub fn add() -> bool {
    LOST.fetch_add(1, Relaxed);
    !GOING_ON.swap(true, Relaxed)
}

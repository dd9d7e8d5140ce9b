//! Lines that the file or the system log did not take: counted, and reported once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static LOST: AtomicU64 = AtomicU64::new(0);

/// Whether the last line was lost.
static DROPPING: AtomicBool = AtomicBool::new(false);

/// How many lines have been lost.
pub fn count() -> u64 {
    LOST.load(Relaxed)
}

pub fn is_dropping() -> bool {
    DROPPING.load(Relaxed)
}

/// After the receiver has changed: what the new one does not take is reported.
pub fn reset() {
    DROPPING.store(false, Relaxed);
}

/// After a line was written.
pub fn clear() {
    if DROPPING.load(Relaxed) {
        DROPPING.store(false, Relaxed);
    }
}

/// After a line was not written. Returns whether it is the first in a row.
pub fn add() -> bool {
    LOST.fetch_add(1, Relaxed);
    !DROPPING.swap(true, Relaxed)
}

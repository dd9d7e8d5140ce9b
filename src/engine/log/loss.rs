//! Dropped lines: lines that could not be written to the file or the system log. Counted, and
//! reported once in a row.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static LOST: AtomicU64 = AtomicU64::new(0);

/// Whether the last line was dropped.
static DROPPING: AtomicBool = AtomicBool::new(false);

/// How many lines have been dropped.
pub fn count() -> u64 {
    LOST.load(Relaxed)
}

pub fn is_dropping() -> bool {
    DROPPING.load(Relaxed)
}

/// After a change of the receiver: the next loss is reported again.
pub fn reset() {
    DROPPING.store(false, Relaxed);
}

/// After a line was written.
pub fn clear() {
    if DROPPING.load(Relaxed) {
        DROPPING.store(false, Relaxed);
    }
}

/// Counts a line that could not be written. Returns whether it is the first in a row.
pub fn add() -> bool {
    LOST.fetch_add(1, Relaxed);
    !DROPPING.swap(true, Relaxed)
}

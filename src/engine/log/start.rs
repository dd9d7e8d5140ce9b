//! How the logger begins, which the doors do not agree on: a C program gets lines from INFO on, below
//! ERROR on stdout, as the guide has it; a Rust program lines from WARN on, on stderr, since a library of
//! Rust's does not print unless asked.
//!
//! The first door that says something about the logger, or makes a scheduler, decides. What the
//! program says then holds, through whichever door it says it.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

use super::level::{self, Level};
use super::settings::SettingsLock;

static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

/// Whether lines for the streams all go to stderr.
static STDERR_ONLY: AtomicBool = AtomicBool::new(false);

/// The logger is used: from here on it does not begin any more.
pub fn begin() {
    if !HAS_BEGUN.load(Relaxed) {
        HAS_BEGUN.store(true, Release);
    }
}

/// The logger is used by a Rust program. When this returns, all is as that has it at the start, or another
/// door was before.
pub fn begin_for_rust() {
    if HAS_BEGUN.load(Acquire) {
        return;
    }
    // For another thread that comes to the same place: it goes on when this is done.
    let _lock = SettingsLock::lock();
    if !HAS_BEGUN.load(Relaxed) {
        level::set_level(Level::Warn);
        STDERR_ONLY.store(true, Relaxed);
        begin();
    }
}

/// The program wants both streams, by levels.
pub fn use_both_streams() {
    begin();
    STDERR_ONLY.store(false, Relaxed);
}

pub fn is_stderr_only() -> bool {
    STDERR_ONLY.load(Relaxed)
}

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
use super::settings::{Settings, SettingsLock, current};

static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

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
    let lock = SettingsLock::lock();
    if !HAS_BEGUN.load(Relaxed) {
        level::set_level(Level::Warn);
        lock.set(Settings { stderr_only: true, ..current() }, c"");
        begin();
    }
}

//! Sinks: the descriptors that lines are written to, and what became of the latest lines there.
//!
//! A line that a sink does not take is dropped and counted, and nothing else happens to the
//! process: no signal is raised, and a file that has no room is waited for no longer than
//! [`PATIENCE_NS`], once in a row of dropped lines. After a partial line the next one starts with a
//! newline.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::line::{Line, Prefix};
use super::settings::Settings;
use crate::engine::sys::{Error, QuietWrites, Result};

/// How long a line may wait for room in a nonblocking file.
pub const PATIENCE_NS: u64 = 100_000_000;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines have been dropped, by all sinks.
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

pub struct Sink {
    /// Whether the latest line was dropped.
    dropping: AtomicBool,
    /// Whether the file ends with a partial line.
    partial_line: AtomicBool,
}

impl Sink {
    pub const fn new() -> Sink {
        Sink { dropping: AtomicBool::new(false), partial_line: AtomicBool::new(false) }
    }

    /// How long a line may wait here: not again and again for one that takes none.
    pub fn patience_ns(&self) -> u64 {
        if self.is_dropping() { 0 } else { PATIENCE_NS }
    }

    pub fn is_dropping(&self) -> bool {
        self.dropping.load(Relaxed)
    }

    /// For a new file: the next loss is the first in a row.
    pub fn reset(&self) {
        self.dropping.store(false, Relaxed);
    }

    /// For an empty file.
    pub fn forget_partial_line(&self) {
        self.partial_line.store(false, Relaxed);
    }

    /// Notes what became of a line. Returns the error that is to be reported: that of the first of
    /// a row of dropped lines.
    pub fn note(&self, written: Result<()>) -> Option<Error> {
        match written {
            Ok(()) => {
                if self.is_dropping() {
                    self.dropping.store(false, Relaxed);
                }
                None
            }
            Err(error) => {
                DROPPED.fetch_add(1, Relaxed);
                (!self.dropping.swap(true, Relaxed)).then_some(error)
            }
        }
    }

    /// Writes a line to a descriptor.
    pub fn write(
        &self,
        fd: c_int,
        writes: &mut QuietWrites,
        line: &mut Line,
        settings: &Settings,
    ) -> Result<()> {
        let mut prefix = Prefix::new();
        let after_partial_line =
            self.partial_line.load(Relaxed) && self.partial_line.swap(false, Relaxed);
        if after_partial_line {
            prefix.push(b"\n");
        }
        prefix.push_settings(settings, line.level);
        writes.write_all(fd, line.framed(&prefix), self.patience_ns()).map_err(|(bytes, error)| {
            if after_partial_line || bytes > 0 {
                self.partial_line.store(true, Relaxed);
            }
            error
        })
    }
}

//! Log levels, and the threshold.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The level of a line.
///
/// ```
/// use majjen::logger::Level;
///
/// assert!(Level::Debug < Level::Info);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Steps of the loop.
    Trace = 0,
    /// The operations of tasks.
    Debug = 1,
    /// Information for operators. The default threshold.
    Info = 2,
    /// Misuse, and possible problems.
    Warn = 3,
    /// Failures.
    Error = 4,
    /// Unrecoverable failures. Logging one does not end the process.
    Fatal = 5,
    /// Only as the threshold: no line is written.
    Silent = 6,
}

impl Level {
    pub(crate) fn from_int(level: u32) -> Option<Level> {
        use Level::{Debug, Error, Fatal, Info, Silent, Trace, Warn};
        [Trace, Debug, Info, Warn, Error, Fatal, Silent].get(level as usize).copied()
    }

    /// As lines show it.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Level::Trace => "[TRACE] ",
            Level::Debug => "[DEBUG] ",
            Level::Info => "[INFO] ",
            Level::Warn => "[WARN] ",
            Level::Error => "[ERROR] ",
            Level::Fatal => "[FATAL] ",
            Level::Silent => "[SILENT] ",
        }
    }
}

/// Lines below it are dropped, by [`enabled`] and by the trampoline of `mj_log`.
pub static THRESHOLD: AtomicU32 = AtomicU32::new(Level::Info as u32);

/// Whether lines of a level are written.
#[inline(always)]
pub fn enabled(level: Level) -> bool {
    level as u32 >= THRESHOLD.load(Relaxed)
}

/// The level from which lines are written.
pub fn level() -> Level {
    Level::from_int(THRESHOLD.load(Relaxed)).unwrap_or(Level::Silent)
}

pub fn set_level(level: Level) {
    THRESHOLD.store(level as u32, Relaxed);
}

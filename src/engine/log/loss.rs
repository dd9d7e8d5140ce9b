//! Lines that the file or the system log did not take: counted, and reported once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::settings::{Receiver, Settings};
use super::{Level, OwnLine, stream, syslog};
use crate::engine::sys::Error;

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

/// After a line was not written. The first time says so on stderr.
pub fn add(settings: &Settings, error: Error) {
    LOST.fetch_add(1, Relaxed);
    if GOING_ON.swap(true, Relaxed) {
        return;
    }
    let path = match settings.receiver {
        Receiver::File { path } => path,
        _ => syslog::PATH,
    };
    let message = format_args!("Log lines are being lost: {error}: {path:?}");
    stream::write(&mut OwnLine::new(Level::Error, message).line(), settings);
}

//! Signals that end the program: what has changed the terminal notes them, and ends by them when it has put that
//! back.

use std::sync::atomic::{AtomicI32, Ordering};

static SEEN: AtomicI32 = AtomicI32::new(0);

/// Those of who closes the terminal or wants the program to end. One that is ignored stays ignored.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

extern "C" fn note(signal: i32) {
    SEEN.store(signal, Ordering::Relaxed);
}

fn set(signal: i32, handler: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: the handlers are the default one, or one that stores a number and no more.
    unsafe { libc::signal(signal, handler) }
}

/// From now on they are noted.
pub fn catch() {
    for signal in ENDING {
        if set(signal, note as *const () as libc::sighandler_t) == libc::SIG_IGN {
            set(signal, libc::SIG_IGN);
        }
    }
}

/// The one that has come.
pub fn seen() -> Option<i32> {
    match SEEN.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(signal),
    }
}

/// Ends by the one that has come, if one has.
pub fn end_if_seen() {
    if let Some(signal) = seen() {
        set(signal, libc::SIG_DFL);
        // SAFETY: no preconditions.
        unsafe { libc::raise(signal) };
    }
}

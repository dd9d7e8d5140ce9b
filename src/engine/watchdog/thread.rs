//! The watchdog's thread.

use std::ffi::c_void;
use std::ptr::null_mut;

use super::bell::Bell;
use super::registry::{LongTurn, Registry, registry};
use super::{capture, report};
use crate::engine::sys::{self, Result};

static BELL: Bell = Bell::in_static();

/// How long a thread stays that has nobody to look at: a program may run its schedulers again and again.
const LINGER_NS: u64 = 1_000_000_000;

/// How long to wait for the handler while the turn lasts: if the thread is in a system call that no signal
/// interrupts, such as reading a file from a slow disk, it does not run.
const PATIENCE_NS: u64 = 1_000_000_000;

/// Makes the thread, unless there is one. After [`sys::keep_loaded`], which may not be called while the
/// registry is locked.
pub fn ensure(registry: &mut Registry) -> Result<()> {
    if !registry.has_thread {
        sys::start_thread(main, null_mut())?;
        registry.has_thread = true;
    }
    Ok(())
}

/// A scheduler has entered the registry, or left it.
pub fn ring() {
    BELL.ring();
}

/// A scheduler is awake, and its entry says so.
#[inline]
pub fn ring_if_parked() {
    BELL.ring_if_parked();
}

extern "C-unwind" fn main(_: *mut c_void) -> *mut c_void {
    sys::name_thread(c"mj-watchdog");
    loop {
        BELL.watch();
        let look = registry().look();
        if let Some(long) = look.long {
            report(&long);
        } else if look.is_any_awake {
            wait(Some(look.interval_ns));
        } else if park() {
            return null_mut();
        }
    }
}

/// Waits until a scheduler is awake. Returns whether there is none, for so long that the thread is to
/// end.
fn park() -> bool {
    BELL.park();
    let (is_any_awake, is_empty) = {
        let registry = registry();
        (registry.is_any_awake(), registry.is_empty())
    };
    if is_any_awake {
        return false;
    }
    if !is_empty {
        wait(None);
        return false;
    }
    let began_ns = sys::monotonic_ns();
    wait(Some(LINGER_NS));
    if sys::monotonic_ns().saturating_sub(began_ns) < LINGER_NS {
        return false;
    }
    let mut registry = registry();
    registry.has_thread = !registry.is_empty();
    !registry.has_thread
}

fn wait(timeout_ns: Option<u64>) {
    BELL.wait(timeout_ns.map(|ns| sys::monotonic_ns().saturating_add(ns)));
}

fn report(long: &LongTurn) {
    let lasts = || registry().lasts(long);
    let with_stack = |capture: &_| report::write(long, Some(capture));
    if !long.is_captured || capture::take(PATIENCE_NS, lasts, with_stack).is_none() {
        report::write(long, None);
    }
}

//! That something waits for memory: the reason, and that it is logged once.

use std::cell::Cell;

use crate::engine::log;
use crate::engine::sys::Error;

pub struct Shortage {
    /// Of the allocation that failed; `None` once one has succeeded.
    reason: Cell<Option<Error>>,
    /// Whether it has been logged: once, until the shortage is over.
    reported: Cell<bool>,
}

impl Shortage {
    pub const fn new() -> Shortage {
        Shortage { reason: Cell::new(None), reported: Cell::new(false) }
    }

    pub fn set(&self, reason: Option<Error>) {
        self.reason.set(reason);
    }

    pub fn is_on(&self) -> bool {
        self.reason.get().is_some()
    }

    /// Logs once what cannot be allocated, why, and what waits for it.
    pub fn report(&self, what_fails: &str, what_waits: &str) {
        match self.reason.get() {
            None => self.reported.set(false),
            Some(reason) if !self.reported.replace(true) => {
                log::error(format_args!("cannot {what_fails}: {reason}; {what_waits}"));
            }
            Some(_) => {}
        }
    }
}

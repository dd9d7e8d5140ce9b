//! Which tasks keep no run going; see `daemon_end.rs`.

use std::cell::Cell;

use crate::engine::time::Clock;

pub(super) struct Daemons {
    /// How many are alive.
    pub count: Cell<usize>,
    /// How long a run waits for them to end.
    pub limit_ns: Cell<u64>,
    /// Until when this run does; `None` while there are other tasks.
    pub until_ns: Cell<Option<u64>>,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Daemons {
    pub const fn new() -> Daemons {
        Daemons { count: Cell::new(0), limit_ns: Cell::new(SECOND_NS), until_ns: Cell::new(None) }
    }

    /// Whether the run only waits for them.
    pub fn are_ending(&self) -> bool {
        self.until_ns.get().is_some()
    }

    /// The earlier one of a timeout and their time.
    pub fn limit(&self, timeout_ns: u64, clock: &Clock) -> u64 {
        match self.until_ns.get() {
            Some(until_ns) => timeout_ns.min(until_ns.saturating_sub(clock.now_ns())),
            None => timeout_ns,
        }
    }

    /// A run begins, or was stopped.
    pub fn begin_run(&self) {
        self.until_ns.set(None);
    }

    /// Nothing can wake them, so that their time is over. Returns whether the run waits for them.
    pub fn give_up(&self) -> bool {
        self.until_ns.replace(self.until_ns.get().and(Some(0))).is_some()
    }
}

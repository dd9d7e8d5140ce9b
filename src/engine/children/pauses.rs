//! Pauses between two looks at a child, where there is nothing to wait for.

use crate::engine::scheduler::{Limit, running_task, sleep};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

pub const FIRST_PAUSE_NS: u64 = 50_000;
const LONGEST_PAUSE_NS: u64 = 20_000_000;

pub fn longer(pause_ns: u64) -> u64 {
    (pause_ns * 2).min(LONGEST_PAUSE_NS)
}

/// Pauses of a task, which grow.
pub struct Pauses {
    /// 0 before the first one.
    next_ns: u64,
}

impl Pauses {
    pub fn new() -> Pauses {
        Pauses { next_ns: 0 }
    }

    pub fn have_begun(&self) -> bool {
        self.next_ns > 0
    }

    pub fn begin(&mut self) {
        self.next_ns = FIRST_PAUSE_NS;
    }

    pub fn wait(&mut self, limit: Limit) -> Result<()> {
        let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
        let pause_ns = self.next_ns.max(FIRST_PAUSE_NS);
        self.next_ns = longer(pause_ns);
        let until_ns = scheduler.time.clock.now_ns().saturating_add(pause_ns);
        if limit.deadline.moment_ns().is_some_and(|at_ns| at_ns <= until_ns) {
            return sleep(limit).and(Err(Error::TimedOut));
        }
        sleep(Limit { deadline: Deadline::At(until_ns), ..limit })
    }
}

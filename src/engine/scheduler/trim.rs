//! Giving memory back that nobody has used for a while: stacks, task objects, and the room in tables
//! that have once been large.
//!
//! What has been idle for a whole period goes, some of it in each iteration of the loop, so that the
//! loop is not delayed.

use std::cell::{Cell, RefCell};

use super::tasks::Tasks;
use crate::engine::io::Reactor;
use crate::engine::task::TimerHeap;

/// Giving memory back and taking it again takes as long as a hundred turns a task, so a burst of tasks
/// that recurs within a period finds what it needs.
const PERIOD_NS: u64 = 1_000_000_000;

/// When memory is given back.
pub struct Trim {
    period_ends_ns: Cell<u64>,
    /// Whether some is left from the latest period.
    is_under_way: Cell<bool>,
}

/// What may have memory to give back.
pub struct Parts<'s> {
    pub tasks: &'s Tasks,
    pub timers: &'s TimerHeap,
    pub reactor: &'s RefCell<Reactor>,
}

impl Trim {
    pub const fn new() -> Trim {
        Trim { period_ends_ns: Cell::new(0), is_under_way: Cell::new(false) }
    }

    /// Gives some memory back, if there is any. Not to be called from a task.
    #[inline]
    pub fn step(&self, parts: &Parts<'_>, now_ns: u64) {
        if now_ns >= self.period_ends_ns.get() {
            self.end_period(parts, now_ns);
        }
        if self.is_under_way.get() {
            self.is_under_way.set(parts.tasks.trim_step());
        }
    }

    #[cold]
    fn end_period(&self, parts: &Parts<'_>, now_ns: u64) {
        self.period_ends_ns.set(now_ns + PERIOD_NS);
        self.is_under_way.set(true);
        parts.tasks.end_period();
        parts.timers.shrink();
        parts.reactor.borrow_mut().shrink();
    }

    /// How long a wait that begins about now may last, `timeout_ns` at most: until
    /// [`step`](Self::step) has something to do.
    #[inline(always)]
    pub fn limit(&self, parts: &Parts<'_>, now_ns: u64, timeout_ns: u64) -> u64 {
        if self.is_under_way.get() {
            return 0;
        }
        let left_ns = self.period_ends_ns.get().saturating_sub(now_ns);
        if timeout_ns > left_ns && parts.may_trim() { left_ns } else { timeout_ns }
    }
}

impl Parts<'_> {
    /// Whether the end of the period may find something to give back.
    #[inline(never)]
    fn may_trim(&self) -> bool {
        self.tasks.may_trim() || self.timers.may_shrink() || self.reactor.borrow().may_shrink()
    }
}

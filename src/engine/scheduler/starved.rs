//! Ready tasks that lack a stack: their first turn came when none could be had. They are queued again
//! as other tasks end and give theirs back, and from time to time, since memory may come from
//! elsewhere.

use std::cell::Cell;

use crate::engine::log;
use crate::engine::sys::Error;
use crate::engine::task::{RunQueue, Task};

/// A stack is asked for at least this often.
pub const RETRY_NS: u64 = 10_000_000;

/// The tasks that wait for a stack, and why there is none.
pub struct Starved {
    queue: RunQueue,
    reason: Cell<Option<Error>>,
    /// Whether that has been reported: once for all tasks that wait at a time.
    reported: Cell<bool>,
    /// In nanoseconds: when the first of them is queued again though none has ended.
    retry_at_ns: Cell<u64>,
}

impl Starved {
    pub const fn new() -> Starved {
        Starved {
            queue: RunQueue::new(),
            reason: Cell::new(None),
            reported: Cell::new(false),
            retry_at_ns: Cell::new(0),
        }
    }

    /// No stack could be had for a task.
    pub fn push(&self, task: &Task, reason: Error) {
        if self.queue.is_empty() {
            self.reason.set(Some(reason));
        }
        self.queue.push(task);
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn count(&self) -> usize {
        self.queue.count.get()
    }

    /// Queues the first one: a stack has been given back.
    #[inline]
    pub fn retry_one(&self, ready: &RunQueue) {
        if let Some(task) = self.queue.pop() {
            ready.push(task);
        }
    }

    /// Queues the first one, if it is time to ask again.
    pub fn retry_if_due(&self, ready: &RunQueue, now_ns: u64) {
        if !self.is_empty() && now_ns >= self.retry_at_ns.get() {
            self.retry_at_ns.set(now_ns + RETRY_NS);
            self.retry_one(ready);
        }
    }

    /// Queues all.
    pub fn retry_all(&self, ready: &RunQueue) {
        ready.append(&self.queue);
    }

    /// Says once why tasks wait.
    pub fn report(&self) {
        if self.is_empty() {
            self.reported.set(false);
        } else if let Some(reason) = self.reason.take()
            && !self.reported.replace(true)
        {
            log::error(format_args!(
                "no stack for a new task: {reason}; tasks wait for others to end"
            ));
        }
    }
}

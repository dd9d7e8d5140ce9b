//! New tasks that could not get a stack. They are queued again when another task ends and releases
//! its stack, and every 10 ms, since memory may become free elsewhere.

use std::cell::Cell;

use super::shortage::Shortage;
use crate::engine::sys::Error;
use crate::engine::task::{RunQueue, Task};

/// How often allocation is retried while no task ends.
pub const RETRY_NS: u64 = 10_000_000;

/// The tasks that wait for a stack, and the error of the allocation.
pub struct Starved {
    queue: RunQueue,
    shortage: Shortage,
    /// In nanoseconds: when the first task is queued again though no other has ended.
    retry_at_ns: Cell<u64>,
}

impl Starved {
    pub const fn new() -> Starved {
        Starved { queue: RunQueue::new(), shortage: Shortage::new(), retry_at_ns: Cell::new(0) }
    }

    /// Adds a task whose stack allocation failed.
    pub fn push(&self, task: &Task, reason: Error) {
        self.shortage.set(Some(reason));
        self.queue.push(task);
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn count(&self) -> usize {
        self.queue.count.get()
    }

    /// Queues the first task: a stack has been released.
    #[inline]
    pub fn retry_one(&self, ready: &RunQueue) {
        if let Some(task) = self.queue.pop() {
            ready.push(task);
        }
    }

    /// Queues the first task, if the next retry is due.
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

    /// Logs once why tasks wait.
    pub fn report(&self) {
        if self.is_empty() {
            self.shortage.set(None);
        }
        self.shortage.report("allocate a stack for a new task", "new tasks wait until others end");
    }
}

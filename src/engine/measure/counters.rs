//! The public counters.

use std::cell::Cell;

/// The public counters. C reads them, in this order, and its wait functions count `io_events`.
#[repr(C)]
#[derive(Default)]
pub struct Metrics {
    pub task_executions: Cell<u64>,
    pub total_execution_time_ns: Cell<u64>,
    pub min_execution_time_ns: Cell<u64>,
    pub max_execution_time_ns: Cell<u64>,
    pub scheduler_loops: Cell<u64>,
    pub total_loop_time_ns: Cell<u64>,
    pub timer_expirations: Cell<u64>,
    pub timer_cancellations: Cell<u64>,
    pub wait_calls: Cell<u64>,
    pub total_wait_time_ns: Cell<u64>,
    pub io_events: Cell<u64>,
    pub tasks_created: Cell<u64>,
    pub tasks_exited: Cell<u64>,
    pub current_tasks: Cell<u64>,
    pub peak_tasks: Cell<u64>,
    pub heap_operations: Cell<u64>,
    pub memory_allocated_bytes: Cell<usize>,
}

/// Adds to a counter.
#[inline(always)]
pub fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

impl Metrics {
    /// Resets the counters, but not the gauges.
    pub fn reset(&self) {
        let zero = [
            &self.task_executions,
            &self.total_execution_time_ns,
            &self.min_execution_time_ns,
            &self.max_execution_time_ns,
            &self.scheduler_loops,
            &self.total_loop_time_ns,
            &self.timer_expirations,
            &self.timer_cancellations,
            &self.wait_calls,
            &self.total_wait_time_ns,
            &self.io_events,
            &self.tasks_created,
            &self.tasks_exited,
            &self.heap_operations,
        ];
        zero.into_iter().for_each(|counter| counter.set(0));
        self.peak_tasks.set(self.current_tasks.get());
    }
}

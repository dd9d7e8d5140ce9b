//! The counters: the public ones, counted where things happen, and the times of turns, in ticks.

use std::cell::Cell;

use crate::clock::Clock;

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
    /// Starts counting again. What says how many there are now stays.
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

/// How long turns take: one reading of the counter ends a turn and begins the next.
pub struct TurnTimes {
    began: Cell<u64>,
    total: Cell<u64>,
    shortest: Cell<u64>,
    longest: Cell<u64>,
}

impl TurnTimes {
    pub const fn new() -> TurnTimes {
        TurnTimes {
            began: Cell::new(0),
            total: Cell::new(0),
            shortest: Cell::new(u64::MAX),
            longest: Cell::new(0),
        }
    }

    /// The first turn of a series begins.
    #[inline(always)]
    pub fn begin(&self, now_ticks: u64) {
        self.began.set(now_ticks);
    }

    /// A turn ends; if another follows, it begins.
    #[inline(always)]
    pub fn end(&self, now_ticks: u64, metrics: &Metrics) {
        let turn = now_ticks.wrapping_sub(self.began.replace(now_ticks));
        self.total.set(self.total.get().wrapping_add(turn));
        if turn < self.shortest.get() {
            self.shortest.set(turn);
        }
        if turn > self.longest.get() {
            self.longest.set(turn);
        }
        add(&metrics.task_executions, 1);
    }

    pub fn reset(&self) {
        self.total.set(0);
        self.shortest.set(u64::MAX);
        self.longest.set(0);
    }

    /// Writes the times to the public counters.
    pub fn publish(&self, clock: &Clock, metrics: &Metrics) {
        if metrics.task_executions.get() == 0 || self.shortest.get() == u64::MAX {
            return;
        }
        let to_ns = clock.ticks_to_ns();
        metrics.total_execution_time_ns.set(to_ns(self.total.get()));
        metrics.min_execution_time_ns.set(to_ns(self.shortest.get()));
        metrics.max_execution_time_ns.set(to_ns(self.longest.get()));
    }
}

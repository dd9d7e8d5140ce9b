//! The public counters, counted where things happen, and the table of their names.
//!
//! A metric has one name, in all interfaces. It ends with its unit, if it has one: `_ns` or `_bytes`.
//! - In C and in JSON it is that name.
//! - In Rust a time is a `Duration`, and its name has no `_ns`.
//! - For Prometheus `majjen_` is put in front, `_ns` becomes `_seconds`, and a counter ends with `_total`,
//!   which takes the place of a `total_` in front. What half of the values do not exceed, and the like,
//!   is named before the unit: `_p50_seconds`.

use std::cell::Cell;

/// How a metric's value changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until a reset.
    Counter,
    /// It grows and shrinks.
    Gauge,
}

/// A row of the table.
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($name:ident: $type:ty, $kind:ident, $help:literal;)*) => {
        /// The public counters. C reads them, in this order, and its wait functions count `io_events`.
        #[repr(C)]
        #[derive(Default)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: Cell<$type>,)*
        }

        impl Metrics {
            /// The values alone.
            #[inline(always)]
            pub fn values(&self) -> [u64; [$($help),*].len()] {
                [$(self.$name.get() as u64),*]
            }

            /// The counters with these values.
            pub fn of(values: &[u64]) -> Metrics {
                let mut values = values.iter().copied();
                Metrics { $($name: Cell::new(values.next().unwrap_or_default() as $type)),* }
            }

            /// The table, with the values.
            #[inline(never)] // Once, for all formats.
            pub fn table(&self) -> [(Metric, u64); [$($help),*].len()] {
                [$((
                    Metric { name: stringify!($name), kind: Kind::$kind, help: $help },
                    self.$name.get() as u64,
                )),*]
            }
        }
    };
}

/// The counters of several schedulers as those of one: the shortest and the longest turn of any, and else sums.
pub fn sum<'m>(all: impl Iterator<Item = &'m Metrics>) -> Metrics {
    let sum = Metrics::default();
    let (mut total, mut shortest, mut longest) = (sum.values(), u64::MAX, 0);
    for counters in all {
        total.iter_mut().zip(counters.values()).for_each(|(sum, value)| *sum += value);
        longest = counters.max_execution_time_ns.get().max(longest);
        if counters.task_executions.get() > 0 {
            shortest = counters.min_execution_time_ns.get().min(shortest);
        }
    }
    let sum = Metrics::of(&total);
    sum.min_execution_time_ns.set(if shortest == u64::MAX { 0 } else { shortest });
    sum.max_execution_time_ns.set(longest);
    sum
}

metrics! {
    task_executions: u64, Counter, "Turns that tasks have had.";
    total_execution_time_ns: u64, Counter, "Time of all turns.";
    min_execution_time_ns: u64, Gauge, "Shortest turn.";
    max_execution_time_ns: u64, Gauge, "Longest turn.";
    scheduler_loops: u64, Counter, "Iterations of the loop.";
    total_loop_time_ns: u64, Counter, "Time spent running.";
    timer_expirations: u64, Counter, "Timers that woke a task.";
    timer_cancellations: u64, Counter, "Timers that ended early.";
    wait_calls: u64, Counter, "Calls of the wait function.";
    total_wait_time_ns: u64, Counter, "Time spent in the wait function.";
    io_events: u64, Counter, "Descriptor events that woke a task.";
    tasks_created: u64, Counter, "Tasks created.";
    tasks_exited: u64, Counter, "Tasks ended.";
    current_tasks: u64, Gauge, "Tasks alive.";
    peak_tasks: u64, Gauge, "Most tasks alive at one time.";
    heap_operations: u64, Counter, "Changes of the timer heap.";
    memory_allocated_bytes: usize, Gauge, "Heap memory held.";
    long_turns: u64, Counter, "Turns over the limit.";
}

/// The rows of the distributions: how long turns take, and how late timers are served. They are gauges,
/// and for Prometheus not a summary, whose quantiles would be of a sliding window: these are since the
/// reset.
#[inline(never)]
pub fn distributions<V>(turns: V, lateness: V) -> [(Metric, V); 2] {
    let row = |name, help| Metric { name, kind: Kind::Gauge, help };
    [
        (row("task_run_time_ns", "How long a turn of a task takes"), turns),
        (row("timer_lateness_ns", "How long after its deadline a timer is served"), lateness),
    ]
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
            &self.long_turns,
        ];
        zero.into_iter().for_each(|counter| counter.set(0));
        self.peak_tasks.set(self.current_tasks.get());
    }
}

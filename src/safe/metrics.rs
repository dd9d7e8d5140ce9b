//! The counters of a scheduler.

use std::time::Duration;

use crate::engine::measure::{Metrics as Counters, Summary};
use crate::engine::scheduler::Scheduler;

/// What a scheduler has counted, at the moment of
/// [`Scheduler::metrics`](crate::Scheduler::metrics). A copy, with no tie to the scheduler. The fields have
/// the names that they have in C, in JSON and for Prometheus, but for units.
///
/// ```
/// use majjen::Scheduler;
///
/// let scheduler = Scheduler::new()?;
/// scheduler.spawn(|| ());
/// scheduler.run()?;
/// let metrics = scheduler.metrics();
/// drop(scheduler);
/// assert_eq!((metrics.tasks_created, metrics.tasks_exited), (1, 1));
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Turns that tasks have had: a task is given the thread once for each.
    pub task_executions: u64,
    /// The time of all turns.
    pub total_execution_time: Duration,
    /// The shortest turn.
    pub min_execution_time: Duration,
    /// The longest turn.
    pub max_execution_time: Duration,
    /// How long turns took.
    pub task_run_time: Distribution,
    /// Iterations of the loop.
    pub scheduler_loops: u64,
    /// Time spent in runs.
    pub total_loop_time: Duration,
    /// Timers that expired.
    pub timer_expirations: u64,
    /// Timers that were ended early.
    pub timer_cancellations: u64,
    /// How late timers were served.
    pub timer_lateness: Distribution,
    /// How long the loop ran tasks before it looked for events again, or slept.
    pub loop_delay: Distribution,
    /// How long tasks that the loop had found ready waited for their turn: measured of one at a time, the first in a
    /// round of the loop.
    pub ready_delay: Distribution,
    /// How long what tasks had the [pool](crate::blocking) run waited for a thread of it.
    pub offload_delay: Distribution,
    /// Calls of the wait function.
    pub wait_calls: u64,
    /// Time spent in it.
    pub total_wait_time: Duration,
    /// Descriptor events that woke a task.
    pub io_events: u64,
    /// Tasks added.
    pub tasks_created: u64,
    /// Tasks ended.
    pub tasks_exited: u64,
    /// Tasks alive now.
    pub current_tasks: u64,
    /// The most tasks alive at one time.
    pub peak_tasks: u64,
    /// Insertions into and removals from the timer heap.
    pub heap_operations: u64,
    /// Bytes of heap memory that the scheduler holds: tables, not stacks.
    pub memory_allocated_bytes: usize,
    /// Turns that took longer than [`Builder::report_long_turns`](crate::Builder::report_long_turns) says.
    pub long_turns: u64,
}

/// What half and what 99 in 100 of many times do not exceed, to within an eighth, and the longest,
/// exactly.
///
/// ```
/// let lateness = majjen::Scheduler::new()?.metrics().timer_lateness;
/// assert!(lateness.p50 <= lateness.p99 && lateness.p99 <= lateness.max);
/// # Ok::<(), majjen::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distribution {
    /// The median.
    pub p50: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl From<Summary> for Distribution {
    fn from(Summary { p50, p99, max }: Summary) -> Distribution {
        let [p50, p99, max] = [p50, p99, max].map(Duration::from_nanos);
        Distribution { p50, p99, max }
    }
}

impl Metrics {
    pub(super) fn of(scheduler: &Scheduler) -> Metrics {
        scheduler.publish_metrics();
        Metrics {
            task_run_time: scheduler.dispatch.turn_times.summary().into(),
            timer_lateness: scheduler.time.lateness.summary().into(),
            loop_delay: scheduler.delays.of_loop.summary().into(),
            ready_delay: scheduler.delays.of_ready.summary().into(),
            offload_delay: scheduler.delays.of_jobs.summary().into(),
            ..Metrics::of_counters(&scheduler.metrics)
        }
    }

    pub(super) fn of_values(values: &[u64]) -> Metrics {
        Metrics::of_counters(&Counters::of(values))
    }

    fn of_counters(counters: &Counters) -> Metrics {
        Metrics {
            task_executions: counters.task_executions.get(),
            total_execution_time: Duration::from_nanos(counters.total_execution_time_ns.get()),
            min_execution_time: Duration::from_nanos(counters.min_execution_time_ns.get()),
            max_execution_time: Duration::from_nanos(counters.max_execution_time_ns.get()),
            task_run_time: Distribution::default(),
            scheduler_loops: counters.scheduler_loops.get(),
            total_loop_time: Duration::from_nanos(counters.total_loop_time_ns.get()),
            timer_expirations: counters.timer_expirations.get(),
            timer_cancellations: counters.timer_cancellations.get(),
            timer_lateness: Distribution::default(),
            loop_delay: Distribution::default(),
            ready_delay: Distribution::default(),
            offload_delay: Distribution::default(),
            wait_calls: counters.wait_calls.get(),
            total_wait_time: Duration::from_nanos(counters.total_wait_time_ns.get()),
            io_events: counters.io_events.get(),
            tasks_created: counters.tasks_created.get(),
            tasks_exited: counters.tasks_exited.get(),
            current_tasks: counters.current_tasks.get(),
            peak_tasks: counters.peak_tasks.get(),
            heap_operations: counters.heap_operations.get(),
            memory_allocated_bytes: counters.memory_allocated_bytes.get(),
            long_turns: counters.long_turns.get(),
        }
    }
}

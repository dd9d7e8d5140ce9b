//! Metrics as text, for Prometheus and as JSON.

use std::fmt::{self, Display, Write};

use crate::engine::measure::{Metrics, Summary};
use crate::engine::scheduler::Scheduler;

/// The format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The block of [`print_metrics`], followed by the distributions.
    Text,
    /// The text format that Prometheus scrapes, version 0.0.4.
    Prometheus,
    /// One object.
    Json,
}

/// Writes all metrics of a scheduler.
pub fn write_metrics(scheduler: &Scheduler, format: Format, out: &mut dyn Write) -> fmt::Result {
    match format {
        Format::Text => {
            print_metrics(scheduler, out)?;
            for (title, summary) in distributions(scheduler) {
                let Summary { p50, p99, max } = summary;
                writeln!(out, "{}: p50 {p50} ns, p99 {p99} ns, max {max} ns", title.text)?;
            }
            Ok(())
        }
        Format::Prometheus => write_prometheus(scheduler, out),
        Format::Json => write_json(scheduler, out),
    }
}

/// Writes the guide's block, byte for byte: programs parse it.
pub fn print_metrics(scheduler: &Scheduler, out: &mut dyn Write) -> fmt::Result {
    scheduler.publish_metrics();
    let m = &scheduler.metrics;
    write!(
        out,
        "\n=== Majjen Scheduler Metrics ===\n\
         Tasks:\n  \
           Created:       {}\n  \
           Exited:        {}\n  \
           Current:       {}\n  \
           Peak:          {}\n\
         \nExecution:\n  \
           Total runs:    {}\n",
        m.tasks_created.get(),
        m.tasks_exited.get(),
        m.current_tasks.get(),
        m.peak_tasks.get(),
        m.task_executions.get(),
    )?;
    if let Some(average_ns) = m.total_execution_time_ns.get().checked_div(m.task_executions.get()) {
        for (label, ns) in [
            ("Avg", average_ns),
            ("Min", m.min_execution_time_ns.get()),
            ("Max", m.max_execution_time_ns.get()),
        ] {
            writeln!(out, "  {label} time:      {ns} ns ({:.3} ms)", ns as f64 / 1e6)?;
        }
    }
    write!(
        out,
        "\nScheduler:\n  \
           Loop cycles:   {}\n  \
           Wait calls:    {}\n  \
           I/O events:    {}\n\
         \nTimers:\n  \
           Expirations:   {}\n  \
           Cancellations: {}\n\
         ================================\n\n",
        m.scheduler_loops.get(),
        m.wait_calls.get(),
        m.io_events.get(),
        m.timer_expirations.get(),
        m.timer_cancellations.get(),
    )
}

/// A metric's value and kind.
enum Value {
    /// A counter.
    Count(u64),
    /// A counter of nanoseconds.
    Time(u64),
    /// A gauge.
    Level(u64),
    /// A gauge of nanoseconds.
    TimeLevel(u64),
}

/// Name in JSON, name for Prometheus (without the prefix), help, and value.
type Row = (&'static str, &'static str, &'static str, Value);

#[inline(never)] // Once, for all formats.
fn rows(m: &Metrics) -> [Row; 17] {
    use Value::{Count, Level, Time, TimeLevel};
    [
        (
            "task_executions",
            "task_executions_total",
            "Turns that tasks have had.",
            Count(m.task_executions.get()),
        ),
        (
            "total_execution_time_ns",
            "execution_seconds_total",
            "Time of all turns.",
            Time(m.total_execution_time_ns.get()),
        ),
        (
            "min_execution_time_ns",
            "execution_min_seconds",
            "Shortest turn.",
            TimeLevel(m.min_execution_time_ns.get()),
        ),
        (
            "max_execution_time_ns",
            "execution_max_seconds",
            "Longest turn.",
            TimeLevel(m.max_execution_time_ns.get()),
        ),
        (
            "scheduler_loops",
            "loops_total",
            "Iterations of the loop.",
            Count(m.scheduler_loops.get()),
        ),
        (
            "total_loop_time_ns",
            "loop_seconds_total",
            "Time spent running.",
            Time(m.total_loop_time_ns.get()),
        ),
        (
            "timer_expirations",
            "timer_expirations_total",
            "Timers that woke a task.",
            Count(m.timer_expirations.get()),
        ),
        (
            "timer_cancellations",
            "timer_cancellations_total",
            "Timers that ended early.",
            Count(m.timer_cancellations.get()),
        ),
        (
            "wait_calls",
            "wait_calls_total",
            "Calls of the wait function.",
            Count(m.wait_calls.get()),
        ),
        (
            "total_wait_time_ns",
            "wait_seconds_total",
            "Time spent in the wait function.",
            Time(m.total_wait_time_ns.get()),
        ),
        (
            "io_events",
            "io_events_total",
            "Descriptor events that woke a task.",
            Count(m.io_events.get()),
        ),
        ("tasks_created", "tasks_created_total", "Tasks created.", Count(m.tasks_created.get())),
        ("tasks_exited", "tasks_exited_total", "Tasks ended.", Count(m.tasks_exited.get())),
        ("current_tasks", "tasks", "Tasks alive.", Level(m.current_tasks.get())),
        ("peak_tasks", "tasks_peak", "Most tasks alive at one time.", Level(m.peak_tasks.get())),
        (
            "heap_operations",
            "heap_operations_total",
            "Changes of the timer heap.",
            Count(m.heap_operations.get()),
        ),
        (
            "memory_allocated_bytes",
            "memory_bytes",
            "Heap memory held.",
            Level(m.memory_allocated_bytes.get() as u64),
        ),
    ]
}

/// The names of a distribution.
struct Title {
    text: &'static str,
    json: &'static str,
    prometheus: &'static str,
    help: &'static str,
}

#[inline(never)]
fn distributions(scheduler: &Scheduler) -> [(Title, Summary); 2] {
    [
        (
            Title {
                text: "Task run time",
                json: "task_run_time_ns",
                prometheus: "task_run_seconds",
                help: "How long a turn of a task takes",
            },
            scheduler.dispatch.turn_times.summary(),
        ),
        (
            Title {
                text: "Timer lateness",
                json: "timer_lateness_ns",
                prometheus: "timer_lateness_seconds",
                help: "How long after its deadline a timer is served",
            },
            scheduler.time.lateness.summary(),
        ),
    ]
}

fn write_prometheus(scheduler: &Scheduler, out: &mut dyn Write) -> fmt::Result {
    scheduler.publish_metrics();
    for (_, name, help, value) in rows(&scheduler.metrics) {
        let kind = match value {
            Value::Count(_) | Value::Time(_) => "counter",
            Value::Level(_) | Value::TimeLevel(_) => "gauge",
        };
        writeln!(out, "# HELP majjen_{name} {help}")?;
        writeln!(out, "# TYPE majjen_{name} {kind}")?;
        match value {
            Value::Count(number) | Value::Level(number) => writeln!(out, "majjen_{name} {number}")?,
            Value::Time(ns) | Value::TimeLevel(ns) => {
                writeln!(out, "majjen_{name} {}", Seconds(ns))?;
            }
        }
    }
    for (title, summary) in distributions(scheduler) {
        let name = title.prometheus;
        for (quantile, ns, what) in [
            ("p50", summary.p50, "median"),
            ("p99", summary.p99, "99th percentile"),
            ("max", summary.max, "longest"),
        ] {
            // Gauges, not a summary: a summary's quantiles are over a sliding window, these since
            // the reset.
            let name = name.strip_suffix("_seconds").unwrap_or(name);
            writeln!(out, "# HELP majjen_{name}_{quantile}_seconds {}: {what}.", title.help)?;
            writeln!(out, "# TYPE majjen_{name}_{quantile}_seconds gauge")?;
            writeln!(out, "majjen_{name}_{quantile}_seconds {}", Seconds(ns))?;
        }
    }
    Ok(())
}

/// Nanoseconds as a decimal number of seconds, exact.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

fn write_json(scheduler: &Scheduler, out: &mut dyn Write) -> fmt::Result {
    scheduler.publish_metrics();
    out.write_char('{')?;
    for (name, _, _, value) in rows(&scheduler.metrics) {
        let (Value::Count(number)
        | Value::Time(number)
        | Value::Level(number)
        | Value::TimeLevel(number)) = value;
        write!(out, "\"{name}\":{number},")?;
    }
    for (index, (title, summary)) in distributions(scheduler).into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let Summary { p50, p99, max } = summary;
        write!(out, "{comma}\"{}\":{{\"p50\":{p50},\"p99\":{p99},\"max\":{max}}}", title.json)?;
    }
    out.write_str("}\n")
}

//! Metrics as text, for Prometheus and as JSON.

use std::fmt::{self, Display, Write};
use std::ops::RangeInclusive;

use crate::engine::measure::{self, Delay, Kind, Metric, Metrics, Summary, write_quoted};
use crate::engine::scheduler::Scheduler;
use crate::engine::sys::until_nul;
use crate::engine::task::Name;

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

/// The distributions that are known.
type Distributions<'d> = &'d [(Metric, Summary)];

/// Writes all metrics of a scheduler.
pub fn write_metrics(scheduler: &Scheduler, format: Format, out: &mut dyn Write) -> fmt::Result {
    scheduler.publish_metrics();
    let name = scheduler.name.get();
    let measured =
        Measured { distributions: &distributions(scheduler), delays: &scheduler.delays.table() };
    write_in(format, &scheduler.metrics, &measured, Label::of(&name), out)
}

/// Writes counters alone, and the name, which another thread has copied.
pub fn write_counters(
    counters: &Metrics,
    name: &[u8],
    format: Format,
    out: &mut dyn Write,
) -> fmt::Result {
    write_in(format, counters, &Measured::NOTHING, Label::of(name), out)
}

/// Writes the counters of several schedulers on one page, each under its name, and summed: for Prometheus the sums are
/// metrics of their own, whose names begin with `majjen_cluster_`, so that what adds up the others is right.
pub fn write_counters_of_all(
    all: &[(Metrics, Name)],
    format: Format,
    out: &mut dyn Write,
) -> fmt::Result {
    let sum = measure::sum(all.iter().map(|(counters, _)| counters));
    match format {
        Format::Text => {
            print_counters(&sum, out)?;
            for (counters, name) in all {
                let name = until_nul(name).escape_ascii();
                let Metrics { current_tasks, tasks_created, task_executions, .. } = counters;
                let (current, created) = (current_tasks.get(), tasks_created.get());
                let turns = task_executions.get();
                writeln!(out, "{name}: {current} tasks of {created}, {turns} turns")?;
            }
            Ok(())
        }
        Format::Prometheus => {
            for (index, (metric, value)) in sum.table().into_iter().enumerate() {
                let whose = Sample { prefix: "majjen_cluster_", quantile: ("", "") };
                whose.write_head(&metric, out)?;
                whose.write_value(&metric, value, Label(None), out)?;
                let each = Sample::of_scheduler(("", ""));
                each.write_head(&metric, out)?;
                for (counters, name) in all {
                    let (_, value) = counters.table()[index];
                    each.write_value(&metric, value, Label::of(name), out)?;
                }
            }
            Ok(())
        }
        Format::Json => {
            out.write_str("{\"all\":")?;
            write_object(&sum, &Measured::NOTHING, Label(None), out)?;
            out.write_str(",\"schedulers\":[")?;
            for (index, (counters, name)) in all.iter().enumerate() {
                out.write_str(if index == 0 { "" } else { "," })?;
                write_object(counters, &Measured::NOTHING, Label::of(name), out)?;
            }
            out.write_str("]}\n")
        }
    }
}

/// What there is besides the counters.
struct Measured<'m> {
    distributions: Distributions<'m>,
    /// These are histograms where the format has such.
    delays: &'m [(Metric, &'m Delay)],
}

impl Measured<'_> {
    /// The counters alone are known.
    const NOTHING: Measured<'static> = Measured { distributions: &[], delays: &[] };

    fn summaries(&self) -> impl Iterator<Item = (&Metric, Summary)> {
        let distributions = self.distributions.iter().map(|(metric, summary)| (metric, *summary));
        distributions.chain(self.delays.iter().map(|(metric, delay)| (metric, delay.summary())))
    }
}

/// The label of a scheduler that has a name, which is not empty.
#[derive(Clone, Copy)]
struct Label<'n>(Option<&'n [u8]>);

impl<'n> Label<'n> {
    fn of(name: &'n [u8]) -> Label<'n> {
        Label(Some(until_nul(name)).filter(|name| !name.is_empty()))
    }

    /// The name between quotes.
    fn write_quoted(&self, for_json: bool, out: &mut dyn Write) -> fmt::Result {
        write_quoted(self.0.unwrap_or_default(), for_json, out)
    }

    /// As Prometheus has it, between what stands in front of it and behind it. Nothing without a name.
    fn write_between(&self, before: char, after: char, out: &mut dyn Write) -> fmt::Result {
        if self.0.is_none() {
            return Ok(());
        }
        write!(out, "{before}scheduler=")?;
        self.write_quoted(false, out)?;
        out.write_char(after)
    }
}

impl Display for Label<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_between('{', '}', out)
    }
}

/// Writes the guide's block, byte for byte: programs parse it.
pub fn print_metrics(scheduler: &Scheduler, out: &mut dyn Write) -> fmt::Result {
    scheduler.publish_metrics();
    print_counters(&scheduler.metrics, out)
}

fn write_in(
    format: Format,
    counters: &Metrics,
    measured: &Measured<'_>,
    label: Label<'_>,
    out: &mut dyn Write,
) -> fmt::Result {
    match format {
        Format::Text => {
            print_counters(counters, out)?;
            for (title, (_, Summary { p50, p99, max })) in
                TITLES.into_iter().zip(measured.summaries())
            {
                writeln!(out, "{title}: p50 {p50} ns, p99 {p99} ns, max {max} ns")?;
            }
            Ok(())
        }
        Format::Prometheus => write_prometheus(counters, measured, label, out),
        Format::Json => write_json(counters, measured, label, out),
    }
}

fn print_counters(m: &Metrics, out: &mut dyn Write) -> fmt::Result {
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

/// What [`Format::Text`] calls the distributions.
const TITLES: [&str; 5] =
    ["Task run time", "Timer lateness", "Loop delay", "Ready delay", "Offload delay"];

fn distributions(scheduler: &Scheduler) -> [(Metric, Summary); 2] {
    measure::distributions(
        scheduler.dispatch.turn_times.summary(),
        scheduler.time.lateness.summary(),
    )
}

fn write_prometheus(
    counters: &Metrics,
    measured: &Measured<'_>,
    label: Label<'_>,
    out: &mut dyn Write,
) -> fmt::Result {
    for (metric, value) in counters.table() {
        write_sample(&metric, ("", ""), value, label, out)?;
    }
    for &(ref metric, Summary { p50, p99, max }) in measured.distributions {
        write_sample(metric, ("_p50", ": median."), p50, label, out)?;
        write_sample(metric, ("_p99", ": 99th percentile."), p99, label, out)?;
        write_sample(metric, ("_max", ": longest."), max, label, out)?;
    }
    let mut delays = measured.delays.iter();
    delays.try_for_each(|(metric, delay)| write_histogram(metric, delay, label, out))
}

/// Writes one number, with what is said of it.
#[inline(never)]
fn write_sample(
    metric: &Metric,
    quantile: (&str, &str),
    value: u64,
    label: Label<'_>,
    out: &mut dyn Write,
) -> fmt::Result {
    let sample = Sample::of_scheduler(quantile);
    sample.write_head(metric, out)?;
    sample.write_value(metric, value, label, out)
}

/// A number for Prometheus, under the name that `engine::measure` has the rule of.
struct Sample<'s> {
    prefix: &'s str,
    /// What stands behind the stem, and behind the help.
    quantile: (&'s str, &'s str),
}

impl Sample<'_> {
    fn of_scheduler<'s>(quantile: (&'s str, &'s str)) -> Sample<'s> {
        Sample { prefix: "majjen_", quantile }
    }

    /// Its name: in parts, and whether it is a time.
    fn write_name(&self, metric: &Metric, out: &mut dyn Write) -> fmt::Result {
        let stem = metric.name.strip_suffix("_ns").unwrap_or(metric.name);
        let stem = stem.strip_prefix("total_").unwrap_or(stem);
        let unit = if is_time(metric) { "_seconds" } else { "" };
        let total = if metric.kind == Kind::Counter { "_total" } else { "" };
        write!(out, "{}{stem}{}{unit}{total}", self.prefix, self.quantile.0)
    }

    fn write_head(&self, metric: &Metric, out: &mut dyn Write) -> fmt::Result {
        out.write_str("# HELP ")?;
        self.write_name(metric, out)?;
        write!(out, " {}{}\n# TYPE ", metric.help, self.quantile.1)?;
        self.write_name(metric, out)?;
        out.write_str(match metric.kind {
            Kind::Counter => " counter\n",
            Kind::Gauge => " gauge\n",
        })
    }

    fn write_value(
        &self,
        metric: &Metric,
        value: u64,
        label: Label<'_>,
        out: &mut dyn Write,
    ) -> fmt::Result {
        self.write_name(metric, out)?;
        write!(out, "{label} ")?;
        if is_time(metric) { writeln!(out, "{}", Seconds(value)) } else { writeln!(out, "{value}") }
    }
}

fn is_time(metric: &Metric) -> bool {
    metric.name.ends_with("_ns")
}

/// The powers of two, in nanoseconds, below which the buckets of a histogram count: a microsecond to 17 seconds.
const EXPONENTS: RangeInclusive<u32> = 10..=34;
const STEP: usize = 2;

/// Writes a delay as Prometheus has histograms, whose sums over time and over schedulers are such, too. A bucket has
/// all up to its number, which is a nanosecond less than a power of two.
#[inline(never)]
fn write_histogram(
    &Metric { name, help, .. }: &Metric,
    delay: &Delay,
    label: Label<'_>,
    out: &mut dyn Write,
) -> fmt::Result {
    let stem = name.strip_suffix("_ns").unwrap_or(name);
    let name = format_args!("majjen_{stem}_seconds");
    write!(out, "# HELP {name} {help}.\n# TYPE {name} histogram\n")?;
    let mut write_bucket = |bound: fmt::Arguments<'_>, count| {
        write!(out, "{name}_bucket")?;
        match label.0 {
            Some(_) => label.write_between('{', ',', out)?,
            None => out.write_char('{')?,
        }
        writeln!(out, "le=\"{bound}\"}} {count}")
    };
    for exponent in EXPONENTS.step_by(STEP) {
        let bound = Seconds((1 << exponent) - 1);
        write_bucket(format_args!("{bound}"), delay.count_below(exponent))?;
    }
    let count = delay.count();
    write_bucket(format_args!("+Inf"), count)?;
    writeln!(out, "{name}_sum{label} {}\n{name}_count{label} {count}", Seconds(delay.total_ns()))
}

/// Nanoseconds as a decimal number of seconds, exact.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

fn write_json(
    counters: &Metrics,
    measured: &Measured<'_>,
    label: Label<'_>,
    out: &mut dyn Write,
) -> fmt::Result {
    write_object(counters, measured, label, out)?;
    out.write_char('\n')
}

fn write_object(
    counters: &Metrics,
    measured: &Measured<'_>,
    label: Label<'_>,
    out: &mut dyn Write,
) -> fmt::Result {
    let mut separator = '{';
    if label.0.is_some() {
        out.write_str("{\"scheduler\":")?;
        label.write_quoted(true, out)?;
        separator = ',';
    }
    for (Metric { name, .. }, value) in counters.table() {
        write!(out, "{separator}\"{name}\":{value}")?;
        separator = ',';
    }
    for (Metric { name, .. }, Summary { p50, p99, max }) in measured.summaries() {
        write!(out, ",\"{name}\":{{\"p50\":{p50},\"p99\":{p99},\"max\":{max}}}")?;
    }
    out.write_char('}')
}

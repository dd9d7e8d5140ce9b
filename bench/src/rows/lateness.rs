//! Row 4: how late sleeps end.

use super::{Bench, Results};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::report::{Row, Table, Target};

const IDLE: &[&str] =
    &[MAJJEN, "libev", "libuv", "libevent", "State Threads", "Boost.Fiber", "Go", "tokio", "may"];
/// libevent has no idle callback that could keep it busy.
const BUSY: &[&str] =
    &[MAJJEN, "libev", "libuv", "State Threads", "Boost.Fiber", "Go", "tokio", "may"];

pub fn measure(bench: &Bench) -> Result<Row> {
    let count = bench.plan.size(1000, 100);
    let repeats = bench.plan.size(2, 1);
    let mut row = Row {
        number: 4,
        title: "How late sleeps end",
        work: "One task sleeps for 50 us to 20 ms, as many short as long ones on a logarithmic scale, and compares the \
               clock before and after: microseconds past the end of the sleep. First alone, then beside a task that \
               does nothing but yield (libev, libuv: an idle callback). Last, sleeps of 10 ms beside tasks that could go on for ever without waiting.",
        leaves_out: "Nothing: the kernel's own lateness in waking a process is part of it, 50 us of it by default (timer \
                     slack, `PR_SET_TIMERSLACK`). Other programs on the machine add to it.",
        ..Row::default()
    };
    for (busy, names, caption) in [(0, IDLE, "alone"), (1, BUSY, "beside a yielding task")] {
        let results =
            bench.compare(names, &format!("lateness count={count} busy={busy}"), count, repeats);
        let mut table = Table::new(
            &format!("us late, {caption}: median (least..most) of {repeats} runs"),
            ["contender", "least", "p50", "p99", "most"],
        );
        for name in names {
            let mut line = vec![(*name).to_owned()];
            for value in ["min_ns", "p50_ns", "p99_ns", "max_ns"] {
                line.push(results.cell(name, value, 1e-3));
            }
            table.lines.push(line);
        }
        row.tables.push(table);
        let least = results.get(MAJJEN, "min_ns").map(|spread| spread.least);
        row.targets.push(Target {
            text: format!("never early, {caption}"),
            measured: least
                .map_or("not measured".to_owned(), |ns| format!("at least {ns} ns late")),
            met: least.is_some_and(|ns| ns >= 0.0),
        });
        if busy == 0 {
            for (value, limit) in [("p50_ns", 60.0), ("p99_ns", 150.0)] {
                let median = results.median(MAJJEN, value).map(|ns| ns * 1e-3);
                let text = format!("{} {caption}", &value[..3]);
                row.targets.push(Target::at_most(&text, median, limit, "us"));
            }
        }
        for value in ["p50_ns", "p99_ns"] {
            let scaled = |name| results.get(name, value).map(|spread| spread.scaled(1e-3));
            let peers = results.peers(value).into_iter().map(|(name, _)| (name, scaled(name)));
            let what = format!("lateness {caption}, {}", &value[..3]);
            row.add_ratio(&what, "us", scaled(MAJJEN), peers.collect::<Vec<_>>());
        }
    }
    beside(bench, &mut row);
    Ok(row)
}

/// A sleep of 10 ms beside something that never lets up.
fn beside(bench: &Bench, row: &mut Row) {
    const BESIDE: [&str; 4] = [
        "nothing",
        "two ends of a socket, always with room and data",
        "a channel, always with room and elements",
        "a descriptor that is always ready",
    ];
    let count = bench.plan.size(200, 50);
    let repeats = bench.plan.size(5, 1);
    let mut table = Table::new(
        &format!("us late, Majjen, a sleep of 10 ms: median (least..most) of {repeats} runs"),
        ["beside", "p50", "p99", "most"],
    );
    let mut alone_us = None;
    for (what, name) in BESIDE.into_iter().enumerate() {
        let results =
            bench.compare(&[MAJJEN], &format!("beside what={what} count={count}"), count, repeats);
        add_beside(&results, vec![name.to_owned()], &mut table, &mut alone_us, row);
    }
    row.tables.push(table);
}

/// Adds how late Majjen's sleeps of 10 ms were beside something, which a line begins with: to a table, the first one
/// beside nothing, and a target for each that follows.
pub fn add_beside(
    results: &Results,
    mut line: Vec<String>,
    table: &mut Table,
    alone_us: &mut Option<f64>,
    row: &mut Row,
) {
    let p99_us = results.median(MAJJEN, "p99_ns").map(|ns| ns * 1e-3);
    if table.lines.is_empty() {
        *alone_us = p99_us;
    } else {
        let limit_us = alone_us.unwrap_or(0.0) + 1000.0;
        let text = format!("p99 of 10 ms beside {}, at most 1 ms more than alone", line[0]);
        row.targets.push(Target::at_most(&text, p99_us, limit_us, "us"));
    }
    line.extend(["p50_ns", "p99_ns", "max_ns"].map(|value| results.cell(MAJJEN, value, 1e-3)));
    table.lines.push(line);
}

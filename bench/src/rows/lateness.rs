//! Row 4: how late sleeps end.

use super::Bench;
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
               does nothing but yield (libev, libuv: an idle callback).",
        leaves_out: "Nothing: the kernel's own lateness in waking a process is part of it, 50 us of it by default (timer \
                     slack, `PR_SET_TIMERSLACK`). Other programs on the machine add to it.",
        tables: Vec::new(),
        targets: Vec::new(),
        ratios: Vec::new(),
        plots: Vec::new(),
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
    Ok(row)
}

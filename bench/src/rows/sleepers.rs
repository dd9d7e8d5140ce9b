//! Row 3: sleepers.

use super::{Bench, Results, count_in_words};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::machine::available_bytes;
use crate::plot::{Line, Plot};
use crate::report::{Row, Table, Target};

const WITH_TASKS: &[&str] = &[MAJJEN, "State Threads", "Boost.Fiber", "Go", "tokio"];
const WITHOUT_TASKS: &[&str] = &["libev", "libuv", "libevent"];

/// Bytes per sleeper, roughly, including stack and page tables: this much memory must be available.
fn bytes_each(name: &str) -> u64 {
    match name {
        MAJJEN | "State Threads" => 5 << 10,
        "Boost.Fiber" => 12 << 10,
        "Go" => 3 << 10,
        _ => 600,
    }
}

/// The maximum number of sleepers with which a contender finishes in reasonable time.
fn most(name: &str) -> u64 {
    match name {
        // There a yield is a sleep, which costs more with each sleeper.
        "State Threads" => 10_000,
        "Boost.Fiber" => 100_000,
        _ => u64::MAX,
    }
}

fn takes_part(name: &str, count: u64) -> std::result::Result<(), String> {
    let needed = bytes_each(name) * count;
    if count > most(name) {
        Err("not tried: too slow".to_owned())
    } else if needed + (needed / 4) + (2 << 30) > available_bytes() {
        Err(format!("not tried: needs {} GiB", needed >> 30))
    } else {
        Ok(())
    }
}

pub fn measure(bench: &Bench) -> Result<Row> {
    let mut row = Row {
        number: 3,
        title: "Sleepers",
        work: "So many tasks go to sleep for random times, and when all are asleep, the thread is blocked until all \
               times are over. Then all wake. Nanoseconds for each: *insert*, one task's call of sleep, up to \
               the next task's; *expire*, one task waking and going on; *cancel*, one task woken early by another, in \
               random order, and going on. *turn* is a plain yield of as many tasks, since a sleep and a waking contain \
               a switch to a task whose stack and object are no longer in the cache. *whole* is create, insert, \
               expire and end.",
        leaves_out: "The waiting. libev, libuv and libevent have timers without a task behind them: *insert* is a call \
                     that starts one, *expire* a callback, *cancel* a call that stops one. libuv's timers have a \
                     resolution of 1 ms, so most of its times are equal. Go and Boost.Fiber cannot end a sleep early; \
                     goroutines go to sleep while others are still being created, so there is no *insert* for them. \
                     State Threads looks at its timers only when no task is ready.",
        ..Row::default()
    };
    let names: Vec<&'static str> = WITH_TASKS.iter().chain(WITHOUT_TASKS).copied().collect();
    let counts: &[u64] =
        bench.plan.size(&[1000, 100_000, 1_000_000, 10_000_000], &[1000, 10_000, 100_000]);
    let mut lines: [Vec<Line>; 2] =
        [(); 2].map(|()| names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect());
    for &count in counts {
        let (expired, canceled) = measure_count(bench, &names, count);
        for (of, value) in lines.iter_mut().zip(["insert_ns", "expire_ns"]) {
            for (name, points) in of.iter_mut() {
                points.extend(expired.median(name, value).map(|ns| (count as f64, ns)));
            }
        }
        row.tables.push(table(&names, count, &expired, &canceled));
        if count == *counts.last().unwrap_or(&0).min(&1_000_000) {
            targets(&mut row, count, &expired, &canceled);
        }
    }
    for (of, title) in lines.into_iter().zip(["3. Sleepers: insert", "3. Sleepers: expire"]) {
        row.plots.push(Plot::Lines {
            title: title.to_owned(),
            unit: "ns each".into(),
            across: "sleepers".into(),
            lines: of.into_iter().filter(|(_, points)| !points.is_empty()).collect(),
        });
    }
    Ok(row)
}

fn filtered<'n>(names: &[&'n str], belongs: impl Fn(&str) -> bool) -> Vec<&'n str> {
    names.iter().copied().filter(|name| belongs(name)).collect()
}

/// Expiring, and canceling.
fn measure_count(bench: &Bench, names: &[&'static str], count: u64) -> (Results, Results) {
    let (rounds, repeats) = match count {
        1000 => (5, bench.plan.size(3, 2)),
        10_000 => (2, bench.plan.size(3, 2)),
        100_000 => (1, bench.plan.size(3, 2)),
        1_000_000 => (1, 3),
        _ => (1, 1),
    };
    let able = filtered(names, |name| takes_part(name, count).is_ok());
    let run = |names: &[&str], cancel: u64| {
        let mut results = Results { entries: Vec::new() };
        // All must be asleep before the first one wakes: how long that takes depends on the contender, and on
        // how busy the machine is.
        for (insert_ns, names) in [
            (150, filtered(names, |name| WITHOUT_TASKS.contains(&name))),
            (1500, filtered(names, |name| WITH_TASKS.contains(&name))),
        ] {
            let arguments = |insert_ns: u64| {
                let least_ns = count * insert_ns + 20_000_000;
                let spread_ns = (count * 1000).clamp(20_000_000, 1_000_000_000);
                format!(
                    "timers count={count} rounds={rounds} cancel={cancel} least_ns={least_ns} spread_ns={spread_ns}"
                )
            };
            let mut some = bench.compare(&names, &arguments(insert_ns), count * rounds, repeats);
            for (name, result) in &mut some.entries {
                if result.as_ref().is_err_and(|reason| reason.contains("too slow")) {
                    let again =
                        bench.compare(&[name], &arguments(insert_ns * 15), count * rounds, repeats);
                    *result = again
                        .entries
                        .into_iter()
                        .next()
                        .map_or(Err(String::new()), |entry| entry.1);
                }
            }
            results.entries.append(&mut some.entries);
        }
        results
    };
    let cancels: Vec<&str> = filtered(&able, |name| !["Go", "Boost.Fiber"].contains(&name));
    let cancels = if count > 1_000_000 { Vec::new() } else { cancels };
    (run(&able, 0), run(&cancels, 1))
}

fn table(names: &[&'static str], count: u64, expired: &Results, canceled: &Results) -> Table {
    let mut table = Table::new(
        &format!("{} sleepers, ns for each: median (least..most)", count_in_words(count)),
        ["contender", "insert", "expire", "cancel", "turn", "whole"],
    );
    for name in names {
        let label = if WITHOUT_TASKS.contains(name) {
            format!("{name} (no task)")
        } else {
            (*name).to_owned()
        };
        let mut line = vec![label];
        if let Err(reason) = takes_part(name, count)
            && expired.get(name, "work").is_none()
        {
            line.extend([reason, "-".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned()]);
        } else {
            line.push(expired.cell(name, "insert_ns", 1.0));
            line.push(expired.cell(name, "expire_ns", 1.0));
            line.push(canceled.cell(name, "cancel_ns", 1.0));
            line.push(expired.cell(name, "turn_ns", 1.0));
            line.push(expired.cell(name, "whole_ns", 1.0));
        }
        table.lines.push(line);
    }
    table
}

fn targets(row: &mut Row, count: u64, expired: &Results, canceled: &Results) {
    let sleepers = format!("{} sleepers", count_in_words(count));
    let majjen = |value| expired.median(MAJJEN, value);
    row.targets.push(Target::at_most(
        &format!("{sleepers}, insert"),
        majjen("insert_ns"),
        70.0,
        "ns",
    ));
    if let Some(libev) = expired.median("libev", "expire_ns") {
        let text = format!("{sleepers}, expire, against libev's timers without a task");
        row.targets.push(Target::at_most(&text, majjen("expire_ns"), libev, "ns"));
    }
    if let Some(tokio) = expired.median("tokio", "whole_ns") {
        let text = format!("{sleepers}, whole run, half of tokio's");
        row.targets.push(Target::at_most(&text, majjen("whole_ns"), tokio / 2.0, "ns"));
    }
    let with_tasks = |results: &Results, value| {
        let peers = results.peers(value).into_iter();
        peers.filter(|(name, _)| WITH_TASKS.contains(name)).collect::<Vec<_>>()
    };
    for (value, what) in
        [("insert_ns", "insert"), ("expire_ns", "expire"), ("whole_ns", "whole run")]
    {
        let what = format!("{sleepers}, {what}, tasks only");
        row.add_ratio(&what, "ns", expired.get(MAJJEN, value), with_tasks(expired, value));
    }
    let what = format!("{sleepers}, cancel, tasks only");
    row.add_ratio(
        &what,
        "ns",
        canceled.get(MAJJEN, "cancel_ns"),
        with_tasks(canceled, "cancel_ns"),
    );
}

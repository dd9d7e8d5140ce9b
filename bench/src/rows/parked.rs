//! Row 5: parked tasks.

use super::{Bench, count_in_words};
use crate::Result;
use crate::contenders::{Built, MAJJEN};
use crate::machine::available_bytes;
use crate::process::{self, Case};
use crate::report::{Row, Table, Target};

/// Name in the table, contender, further argument, bytes each (roughly), maximum number.
const CASES: &[(&str, &str, &str, u64, u64)] = &[
    (MAJJEN, MAJJEN, "", 5 << 10, u64::MAX),
    ("Majjen, stacks of 64 KiB", MAJJEN, "stack=65536", 5 << 10, u64::MAX),
    ("State Threads", "State Threads", "", 5 << 10, u64::MAX),
    ("Boost.Fiber", "Boost.Fiber", "", 12 << 10, 100_000),
    ("Go", "Go", "", 3 << 10, u64::MAX),
    ("tokio", "tokio", "", 600, u64::MAX),
    ("may", "may", "", 5 << 10, 1_000_000),
    ("corosensei", "corosensei", "", 9 << 10, 1_000_000),
];

pub fn measure(bench: &Bench) -> Result<Row> {
    let mut row = Row {
        number: 5,
        title: "Parked tasks",
        work: "So many tasks are created and each goes to sleep at its first turn. Bytes each: what the process holds \
               more than before (`/proc/self/statm`), and separately the kernel's page tables for it (`VmPTE`). \
               Microseconds each: create, first turn and sleep. Default kernel limits.",
        leaves_out: "Ending them. Majjen's stacks have guards, as have may's and corosensei's; those of State Threads \
                     and Boost.Fiber have none; goroutines and tokio's tasks need none.",
        ..Row::default()
    };
    let counts: &[u64] = bench.plan.size(&[1000, 100_000, 1_000_000], &[1000, 10_000]);
    let repeats = bench.plan.size(3, 1);
    let mut table = Table::new(
        "bytes held + bytes of page tables, and us, for each task: medians",
        ["contender"],
    );
    let present: Vec<_> = CASES.iter().filter(|case| bench.field.get(case.1).is_some()).collect();
    table.lines = present.iter().map(|case| vec![case.0.to_owned()]).collect();
    for &count in counts {
        table.head.push(count_in_words(count));
        let mut peers = Vec::new();
        let mut majjen = None;
        // One contender after the other, so that there is memory for each.
        for ((name, contender, argument, bytes_each, most), line) in
            present.iter().copied().zip(&mut table.lines)
        {
            let Some(built) = bench.field.get(contender) else { continue };
            let needed = bytes_each * count;
            if count > *most {
                line.push("not tried: too slow".to_owned());
                continue;
            }
            if needed + needed / 4 + (2 << 30) > available_bytes() {
                line.push(format!("not tried: needs {} GiB", needed >> 30));
                continue;
            }
            let case = parked_case(built, count, argument);
            let result =
                process::by_turns(&[case], repeats, Some(bench.processors.contender)).remove(0);
            let samples = match result {
                Ok(samples) => samples,
                Err(reason) => {
                    line.push(reason);
                    continue;
                }
            };
            let value = |value| samples.get(value).map_or(f64::NAN, |spread| spread.median);
            let (bytes, tables, us) =
                (value("bytes"), value("page_table_bytes"), value("ns") * 1e-3);
            line.push(format!("{bytes:.0} + {tables:.0}, {us:.2} us"));
            let us = samples.get("ns").map(|spread| spread.scaled(1e-3));
            match *name {
                MAJJEN => majjen = us,
                name if contender == &name => peers.push((*contender, us)),
                _ => {}
            }
            if count == counts[counts.len() - 1] && *contender == MAJJEN {
                let limit = if argument.is_empty() { 5.0 } else { 4.6 };
                let what = format!("{} parked, {name}", count_in_words(count));
                let text = format!("{what}: KiB held each");
                row.targets.push(Target::at_most(&text, Some(bytes / 1024.0), limit, "KiB"));
                let text = format!("{what}: time each");
                row.targets.push(Target::at_most(&text, us.map(|us| us.median), 6.0, "us"));
            }
        }
        if count == counts[counts.len() - 1] {
            row.add_ratio(&format!("park {} tasks", count_in_words(count)), "us", majjen, peers);
        }
    }
    row.tables.push(table);
    if !bench.plan.quick {
        row.targets.push(Target {
            text: "1 M tasks can be parked".to_owned(),
            measured: row.tables[0].lines[0].last().cloned().unwrap_or_default(),
            met: row.tables[0].lines[0].last().is_some_and(|cell| cell.ends_with("us")),
        });
    }
    Ok(row)
}

fn parked_case(built: &Built, count: u64, argument: &str) -> Case {
    super::case(built, &format!("parked count={count} {argument}"), count)
}

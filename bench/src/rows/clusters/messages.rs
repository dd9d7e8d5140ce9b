//! What goes from one core to the other.

use super::super::Bench;
use super::{Line, cell, samples_of, value};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::report::{Row, Table, Target};
use crate::sample::{Samples, Spread};

const ROUND_TRIPS: &[Line] = &[
    Line { label: "Majjen, mj_cluster_call", contender: MAJJEN, arguments: "round_trips way=0" },
    Line { label: "Majjen, mj_xchan", contender: MAJJEN, arguments: "round_trips way=1" },
    Line { label: "libuv", contender: "libuv", arguments: "round_trips" },
    Line { label: "tokio, two runtimes", contender: "tokio", arguments: "round_trips way=0" },
    Line { label: "tokio, two workers", contender: "tokio", arguments: "round_trips way=1" },
    Line { label: "glommio", contender: "glommio", arguments: "round_trips" },
];

const MESSAGES: &[Line] = &[
    Line { label: "Majjen, mj_xchan", contender: MAJJEN, arguments: "messages way=0" },
    Line { label: "Majjen, mj_cluster_go", contender: MAJJEN, arguments: "messages way=1" },
    Line { label: "libuv", contender: "libuv", arguments: "messages" },
    Line { label: "tokio, two runtimes", contender: "tokio", arguments: "messages way=0" },
    Line { label: "tokio, two workers", contender: "tokio", arguments: "messages way=1" },
    Line { label: "glommio", contender: "glommio", arguments: "messages" },
];

/// A table: what it measures, and which lines of Majjen's have the target.
struct Part {
    caption: &'static str,
    lines: &'static [Line],
    count: (u64, u64),
    compared: &'static [&'static str],
}

const PARTS: [Part; 2] = [
    Part {
        caption: "a number to the other core and one back",
        lines: ROUND_TRIPS,
        count: (20_000, 500),
        compared: &["Majjen, mj_cluster_call", "Majjen, mj_xchan"],
    },
    Part {
        caption: "a number to the other core, one of many",
        lines: MESSAGES,
        count: (1_000_000, 50_000),
        // A function has a task of its own, which the peers' numbers have not.
        compared: &["Majjen, mj_xchan"],
    },
];

pub fn add(bench: &Bench, row: &mut Row) {
    let repeats = bench.plan.size(15, 1);
    for part in &PARTS {
        let count = bench.plan.size(part.count.0, part.count.1);
        let all = samples_of(bench, part.lines, [format!("count={count}")], count, repeats);
        let caption = format!("ns for {}: median (least..most)", part.caption);
        let mut table =
            Table::new(&caption, ["", "on the wall", "processor time", "threads that took part"]);
        for (line, [samples]) in &all {
            table.lines.push(vec![
                line.label.to_owned(),
                cell(samples, "ns", 1.0),
                cell(samples, "cpu_ns", 1.0),
                cell(samples, "threads", 1.0),
            ]);
        }
        row.tables.push(table);
        let peers: Vec<(&str, Spread)> = all
            .iter()
            .filter(|(line, _)| line.contender != MAJJEN)
            .filter_map(|(line, [samples])| Some((line.contender, crossed(samples)?)))
            .collect();
        let best = peers.iter().map(|(_, spread)| spread.median).min_by(f64::total_cmp);
        for label in part.compared {
            let found = all.iter().find(|(line, _)| line.label == *label);
            let majjen = found.and_then(|(_, [samples])| value(samples, "ns"));
            if let Some(best) = best {
                let text = format!("{}, {label}, the best peer", part.caption);
                let measured = majjen.map(|spread| spread.median);
                row.targets.push(Target::at_most(&text, measured, best, "ns"));
            }
            let what = format!("{}, {}", part.caption, label.trim_start_matches("Majjen, "));
            row.add_ratio(&what, "ns", majjen, peers.iter().map(|(name, it)| (*name, Some(*it))));
        }
    }
}

/// The time, if messages went to another thread: tokio's tasks may be run by the same worker.
fn crossed(samples: &Result<Samples>) -> Option<Spread> {
    let threads = value(samples, "threads")?;
    value(samples, "ns").filter(|_| threads.median >= 1.9)
}

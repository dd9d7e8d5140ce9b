//! Row 11: what crosses threads.

use super::Bench;
use crate::Result;
use crate::contenders::MAJJEN;
use crate::report::{Row, Table, Target};

/// A libuv program has no channel between threads, and a channel alone has no pool.
const POSTERS: &[&str] = &[MAJJEN, "libuv", "tokio", "crossbeam"];
const ELEMENTS: &[&str] = &[MAJJEN, "tokio", "crossbeam"];
const POOLS: &[&str] = &[MAJJEN, "libuv", "tokio"];

/// One table: what it measures, by which test, and who takes part.
struct Part {
    caption: &'static str,
    test: &'static str,
    names: &'static [&'static str],
    count: (u64, u64),
    /// What is compared, and what Majjen may take of the best peer's.
    value: &'static str,
    most: f64,
}

const PARTS: [Part; 6] = [
    Part {
        caption: "a function from two threads to a loop, one of many",
        test: "posts",
        names: POSTERS,
        count: (1_000_000, 100_000),
        value: "ns",
        most: 1.0,
    },
    Part {
        caption: "an element from a thread to a task, one of many",
        test: "elements",
        names: ELEMENTS,
        count: (1_000_000, 100_000),
        value: "ns",
        most: 1.0,
    },
    Part {
        caption: "a function to a loop that is asleep, from the call to its beginning",
        test: "post_once idle=1",
        names: POSTERS,
        count: (1000, 100),
        value: "p50_ns",
        most: f64::INFINITY,
    },
    Part {
        caption: "a function to a loop that is busy, the call alone",
        test: "post_once idle=0",
        names: POSTERS,
        count: (5000, 500),
        value: "p50_ns",
        most: f64::INFINITY,
    },
    Part {
        caption: "an empty function on the pool, one at a time",
        test: "offload tasks=1",
        names: POOLS,
        count: (50_000, 5000),
        value: "p50_ns",
        most: 0.5,
    },
    Part {
        caption: "empty functions on the pool, by 16 tasks",
        test: "offload tasks=16",
        names: POOLS,
        count: (200_000, 20_000),
        value: "cpu_ns",
        most: 1.0 / 1.5,
    },
];

pub fn measure(bench: &Bench) -> Result<Row> {
    let repeats = bench.plan.size(11, 1);
    let mut row = Row {
        number: 11,
        title: "Threads",
        work: "Functions that two threads leave for a loop, each of which adds to a counter; 64-bit numbers that a thread \
               sends to a task; empty functions that tasks have run by a pool of threads; and reads of 4 KiB that are in memory, \
               alone and while the resolver waits for a server that does not answer. libuv: a queue with a lock \
               and `uv_async_send`, and `uv_queue_work`. tokio: a bounded `mpsc` channel that one task empties, and \
               `spawn_blocking`. crossbeam: a bounded channel, and an eventfd that wakes the loop; no runtime.",
        leaves_out: "The first tenth of the functions on the pool, for which threads are made. Contenders of this row use \
                     all processors, so the clock on the wall is told as well as processor time.",
        ..Row::default()
    };
    for part in &PARTS {
        let count = bench.plan.size(part.count.0, part.count.1);
        let arguments = format!("{} count={count}", part.test);
        let results = bench.compare_unpinned(part.names, &arguments, count, repeats);
        let values: &[(&str, &str)] = match part.test.split(' ').next() {
            Some("post_once") => &[("p50_ns", "p50"), ("p99_ns", "p99")],
            Some("offload") => {
                &[("p50_ns", "p50"), ("p99_ns", "p99"), ("cpu_ns", "processor time")]
            }
            _ => &[("ns", "on the wall"), ("cpu_ns", "processor time")],
        };
        let caption = format!("ns for {}: median (least..most)", part.caption);
        row.tables.push(results.table(&caption, part.names, values, 1.0));
        let majjen = results.get(MAJJEN, part.value);
        let medians = part.names.iter().filter(|name| **name != MAJJEN);
        let best = medians.filter_map(|name| results.median(name, part.value));
        if let Some(best) = best.min_by(f64::total_cmp)
            && part.most.is_finite()
        {
            let text = format!("{}, at most {:.2} of the best peer", part.caption, part.most);
            let measured = majjen.map(|spread| spread.median);
            row.targets.push(Target::at_most(&text, measured, best * part.most, "ns"));
        }
        row.add_ratio(part.caption, "ns", majjen, results.peers(part.value));
        let median = |name| results.median(name, part.value);
        match part.test {
            "post_once idle=1" => {
                // crossbeam's loop is a bare eventfd.
                let limit = median("crossbeam").map_or(0.0, |ns| ns + 10_000.0);
                let text = "to a loop that is asleep, at most 10 us more than by a bare eventfd";
                row.targets.push(Target::at_most(text, median(MAJJEN), limit, "ns"));
            }
            "post_once idle=0" => {
                row.targets.push(Target::at_most("to a busy loop", median(MAJJEN), 100.0, "ns"));
            }
            "offload tasks=1" => {
                let cpu = |name| results.median(name, "cpu_ns");
                let text = "one at a time, processor time of a call, libuv";
                row.targets.push(Target::at_most(
                    text,
                    cpu(MAJJEN),
                    cpu("libuv").unwrap_or(0.0),
                    "ns",
                ));
            }
            _ => {}
        }
    }
    add_reads_beside_names(bench, &mut row);
    Ok(row)
}

/// Reads beside look-ups whose server is dead, each compared with the same reads alone, in one process.
fn add_reads_beside_names(bench: &Bench, row: &mut Row) {
    const LIMIT: f64 = 1.1;
    const VALUES: [(&str, &str); 5] = [
        ("alone_p50_ns", "alone, p50"),
        ("beside_p50_ns", "beside, p50"),
        ("alone_p99_ns", "alone, p99"),
        ("beside_p99_ns", "beside, p99"),
        ("ratio", "ratio of the p99"),
    ];
    const READS: [(&str, u32); 2] = [("by the task", 0), ("of a whole file, by the pool", 1)];
    let (count, repeats) = (bench.plan.size(10_000, 500), bench.plan.size(11, 1));
    let caption =
        "ns for a read, alone and beside 100 look-ups whose server is dead: median (least..most)";
    let mut table = Table::new(caption, ["a read"]);
    table.head.extend(VALUES.map(|(_, head)| head.to_owned()));
    for (what, whole) in READS {
        let arguments = format!("dead_names whole={whole} count={count}");
        let results = bench.compare_unpinned(&[MAJJEN], &arguments, count, repeats);
        let mut line = vec![what.to_owned()];
        if results.median(MAJJEN, "is_own") == Some(0.0) {
            line.push("not measured: the system refuses namespaces".to_owned());
            line.extend(VALUES[1..].iter().map(|_| "-".to_owned()));
        } else {
            line.extend(VALUES.map(|(value, _)| results.cell(MAJJEN, value, 1.0)));
            let text = format!("a read {what}, p99 beside 100 dead look-ups, of that alone");
            row.targets.push(Target::at_most(&text, results.median(MAJJEN, "ratio"), LIMIT, ""));
        }
        table.lines.push(line);
    }
    row.tables.push(table);
}

//! Row 12: the library's calls beside the system's own.

use super::Bench;
use crate::Result;
use crate::contenders::{MAJJEN, SYSTEM_CALLS};
use crate::report::{Row, Target};

const NAMES: &[&str] = &[MAJJEN, SYSTEM_CALLS];

/// One table: what it measures, by which test, and how much of the system's own time it may take.
struct Part {
    caption: &'static str,
    test: &'static str,
    count: (u64, u64),
    value: &'static str,
    most: Option<f64>,
}

const PARTS: [Part; 4] = [
    Part {
        caption: "a message of 1 MiB from one process to another, by TCP",
        test: "stream unix=0 bytes=1048576",
        count: (2000, 200),
        value: "ns",
        most: Some(1.0 / 0.98),
    },
    Part {
        caption: "a message of 1 MiB from one process to another, by a Unix socket",
        test: "stream unix=1 bytes=1048576",
        count: (2000, 200),
        value: "ns",
        most: Some(1.0 / 0.98),
    },
    Part {
        caption: "a poll of 1,000 descriptors, one of which is ready",
        test: "poll_many",
        count: (20_000, 1000),
        value: "ns",
        most: Some(1.2),
    },
    Part {
        caption: "a poll of 1,000 descriptors, one of which gets ready when it waits",
        test: "poll_waits",
        count: (2000, 100),
        value: "ns",
        most: None,
    },
];

pub fn measure(bench: &Bench) -> Result<Row> {
    let repeats = bench.plan.size(11, 1);
    let mut row = Row {
        number: 12,
        title: "Calls",
        work: "`mj_write` and `mj_read_exact` in a task each of two processes, on two processors, beside loops around write(2) \
               and read(2) that block; and `mj_poll` beside poll(2), with 1,000 eventfds.",
        leaves_out: "To make the connection and the descriptors. The descriptor that gets ready later is written to by a \
                     task here, and by a thread there.",
        ..Row::default()
    };
    for part in &PARTS {
        let count = bench.plan.size(part.count.0, part.count.1);
        let arguments = format!("{} count={count}", part.test);
        let is_stream = part.test.starts_with("stream");
        let results = if is_stream {
            bench.compare_unpinned(NAMES, &arguments, count, repeats)
        } else {
            bench.compare(NAMES, &arguments, count, repeats)
        };
        let values: &[(&str, &str)] = if is_stream {
            &[("ns", "on the wall"), ("cpu_ns", "processor time of both")]
        } else {
            &[("ns", "processor time")]
        };
        let caption = format!("us for {}: median (least..most)", part.caption);
        row.tables.push(results.table(&caption, NAMES, values, 1e-3));
        let of_system = results.median(SYSTEM_CALLS, part.value);
        if let (Some(most), Some(of_system)) = (part.most, of_system) {
            let text = format!("{}, at most {most:.2} of the system's", part.caption);
            let measured = results.median(MAJJEN, part.value).map(|ns| ns / 1e3);
            row.targets.push(Target::at_most(&text, measured, of_system * most / 1e3, "us"));
        }
        let majjen = results.get(MAJJEN, part.value);
        row.add_ratio(part.caption, "ns", majjen, results.peers(part.value));
    }
    Ok(row)
}

//! Row 13: child processes.

use super::Bench;
use super::lateness::add_beside;
use crate::Result;
use crate::contenders::{MAJJEN, SYSTEM_CALLS};
use crate::report::{Row, Table, Target};

const NAMES: &[&str] = &[MAJJEN, SYSTEM_CALLS];
const CHILDREN: u64 = 100;
/// How often each of them writes a line.
const PERIOD_NS: u64 = 10_000_000;

pub fn measure(bench: &Bench) -> Result<Row> {
    let mut row = Row {
        number: 13,
        title: "Child processes",
        work: "A task starts /bin/true and waits for its end, again and again, beside posix_spawn(3) and waitpid(2) in a loop. \
               Then 100 children write a line every 10 ms each, of 16 bytes and with its number, and a task for each reads \
               them as lines and looks whether the numbers are all there, beside a task that sleeps for 10 ms at a time.",
        leaves_out: "The start of the 100 children: they begin when all are there. They have the processors that are \
                     left, and those that wake at once take turns with Majjen.",
        ..Row::default()
    };
    let count = bench.plan.size(400, 200);
    let repeats = bench.plan.size(51, 1);
    let results = bench.compare(NAMES, &format!("children count={count}"), count, repeats);
    let caption = "us for a child, start to end: median (least..most)";
    let values = [("ns", "processor time of both"), ("wall_ns", "on the wall")];
    row.tables.push(results.table(caption, NAMES, &values, 1e-3));
    let ratio = results.of_peer(SYSTEM_CALLS, "ns").map(|ratio| ratio.median);
    let text = "start and wait, of posix_spawn and waitpid in the turn beside it";
    row.targets.push(Target::at_most(text, ratio, 1.05, "x"));
    row.add_ratio("a child, start to end", "ns", results.get(MAJJEN, "ns"), results.peers("ns"));
    lines(bench, &mut row);
    Ok(row)
}

fn lines(bench: &Bench, row: &mut Row) {
    let each = bench.plan.size(500, 100);
    let repeats = bench.plan.size(5, 1);
    let mut table = Table::new(
        &format!("us late, a sleep of 10 ms: median (least..most) of {repeats} runs"),
        ["beside", "lines a second", "p50", "p99", "most"],
    );
    let mut alone_us = None;
    for (count, name) in [(0, "nothing"), (CHILDREN, "100 children, 10,000 lines a second")] {
        let arguments = format!("lines children={count} each={each} period_ns={PERIOD_NS}");
        let results = bench.compare_unpinned(&[MAJJEN], &arguments, count * each, repeats);
        let line = vec![name.to_owned(), results.cell(MAJJEN, "lines_per_s", 1.0)];
        add_beside(&results, line, &mut table, &mut alone_us, row);
    }
    row.tables.push(table);
}

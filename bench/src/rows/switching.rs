//! Row 1: yield.

use super::{Bench, count_in_words};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::plot::Plot;
use crate::report::{Row, Table, Target};

const CONTENDERS: &[&str] =
    &[MAJJEN, "State Threads", "Boost.Fiber", "Go", "tokio", "may", "corosensei"];

/// A context switch without a runtime around it.
const BARE: &str = "corosensei";

pub fn measure(bench: &Bench) -> Result<Row> {
    let yields = bench.plan.size(2_000_000, 200_000);
    let repeats = bench.plan.size(7, 3);
    let sizes = [2, 100, 10_000];
    let mut row = Row {
        number: 1,
        title: "Yield",
        work: "Tasks take turns in a ring: each turn adds to a counter, checks that another task ran in between, and \
               yields. Nanoseconds for one yield, with one body for all tasks and with up to 16 different ones, whose \
               calls of yield are at 16 different places, so that returns are predicted only if the contender lets \
               them be. Majjen through its shared library, its counters and histograms on.",
        leaves_out: "The first turn of each task, and the last. Contenders without tasks (libev, libuv, libevent). \
                     corosensei has no scheduler: its ring is a queue of 10 lines, without timers, descriptors or \
                     counters, and it is not among the peers of the targets. State Threads of this version has no yield but `st_usleep(0)`. tokio and Go let \
                     yielding tasks run in an order of their own.",
        ..Row::default()
    };
    let mut table = Table::new("ns for one yield: median (least..most)", ["contender"]);
    table.lines = CONTENDERS.iter().map(|name| vec![(*name).to_owned()]).collect();
    for bodies in [1, 16] {
        for tasks in sizes {
            let rounds = yields / tasks;
            let arguments = format!("yield tasks={tasks} bodies={bodies} rounds={rounds}");
            let results = bench.compare(CONTENDERS, &arguments, rounds * tasks, repeats);
            let kind = if bodies == 1 { "one body" } else { "different" };
            let what = format!("{} tasks, {kind}", count_in_words(tasks));
            table.head.push(what.clone());
            for line in &mut table.lines {
                let cell = results.cell(&line[0], "ns", 1.0);
                line.push(cell);
            }
            let majjen = results.get(MAJJEN, "ns");
            let peers: Vec<_> =
                results.peers("ns").into_iter().filter(|(name, _)| *name != BARE).collect();
            let best = peers.iter().filter_map(|(_, spread)| Some(spread.as_ref()?.median));
            let best = best.min_by(f64::total_cmp);
            row.add_ratio(&format!("yield, {what}"), "ns", majjen, peers);
            let bare = [("corosensei, no scheduler", results.get(BARE, "ns"))];
            row.add_ratio(&format!("yield, {what}"), "ns", majjen, bare);
            let majjen = majjen.map(|spread| spread.median);
            if tasks <= 100 {
                let limit = if bodies == 1 { 20.0 } else { 30.0 };
                row.targets.push(Target::at_most(&format!("yield, {what}"), majjen, limit, "ns"));
            }
            if let Some(best) = best {
                let text = format!("yield, {what}, half of the best peer");
                row.targets.push(Target::at_most(&text, majjen, best / 2.0, "ns"));
            }
            if tasks == 100 {
                let values = CONTENDERS
                    .iter()
                    .filter_map(|name| Some(((*name).to_owned(), results.median(name, "ns")?)));
                row.plots.push(Plot::Bars {
                    title: format!("1. Yield, {what}"),
                    unit: "ns".into(),
                    values: values.collect(),
                });
            }
        }
    }
    row.tables.push(table);
    Ok(row)
}

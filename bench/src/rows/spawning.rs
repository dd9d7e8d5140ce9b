//! Row 2: create, run, end.

use super::Bench;
use crate::Result;
use crate::contenders::MAJJEN;
use crate::plot::Plot;
use crate::report::{Row, Table, Target};

const CONTENDERS: &[&str] =
    &[MAJJEN, "State Threads", "Boost.Fiber", "Go", "tokio", "may", "corosensei"];

pub fn measure(bench: &Bench) -> Result<Row> {
    let count = bench.plan.size(2_000_000, 100_000);
    let arguments = format!("spawn count={count}");
    let results = bench.compare(CONTENDERS, &arguments, count, bench.plan.size(9, 3));
    let mut table =
        Table::new("ns for one task: median (least..most)", ["contender", "create, run, end"]);
    for name in CONTENDERS {
        table.lines.push(vec![(*name).to_owned(), results.cell(name, "ns", 1.0)]);
    }
    let majjen = results.get(MAJJEN, "ns");
    let mut row = Row {
        number: 2,
        title: "Create, run and end a task",
        work: "A task creates 100 tasks that each add to a counter, lets them run and end, and does that again.",
        leaves_out: "The first 100, for which stacks are made. Each contender reuses stacks: Boost.Fiber by its \
                     pooled allocator, corosensei by a list in the benchmark.",
        tables: vec![table],
        targets: vec![Target::at_most("create, run, end", majjen.map(|ns| ns.median), 35.0, "ns")],
        ratios: Vec::new(),
        plots: Vec::new(),
    };
    let is_bare = |name: &&str| *name == "corosensei";
    let (bare, peers): (Vec<_>, Vec<_>) =
        results.peers("ns").into_iter().partition(|(name, _)| is_bare(name));
    row.add_ratio("create, run, end", "ns", majjen, peers);
    let bare = bare.into_iter().map(|(_, spread)| ("corosensei, no scheduler", spread));
    row.add_ratio("create, run, end", "ns", majjen, bare);
    row.plots.push(Plot::Bars {
        title: "2. Create, run and end a task".to_owned(),
        unit: "ns".into(),
        values: CONTENDERS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), results.median(name, "ns")?)))
            .collect(),
    });
    Ok(row)
}

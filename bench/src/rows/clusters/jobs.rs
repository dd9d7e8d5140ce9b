//! Heavy requests among light ones, at half load.

use super::super::{Bench, words};
use super::Line;
use crate::Result;
use crate::contenders::{Built, MAJJEN};
use crate::open_load::{FirstOfAll, OpenLoad, Outcome, rounds_in};
use crate::process::start_server;
use crate::report::{Row, Table, Target};
use crate::sample::{Spread, short};

const CONNECTIONS: usize = 64;
const HEAVY_NS: f64 = 1e6;
/// Of tokio's 99th percentile.
const MOST: f64 = 1.3;

/// The first one of Majjen and of tokio is compared: there a heavy request is nothing special to the program.
const LINES: [Line; 5] = [
    Line {
        label: "Majjen, by the connection's task",
        contender: MAJJEN,
        arguments: "serve_jobs way=0",
    },
    Line {
        label: "Majjen, called on the least loaded core",
        contender: MAJJEN,
        arguments: "serve_jobs way=1",
    },
    Line { label: "Majjen, on the pool", contender: MAJJEN, arguments: "serve_jobs way=2" },
    Line {
        label: "tokio, by the connection's task",
        contender: "tokio",
        arguments: "serve_jobs way=0",
    },
    Line { label: "tokio, on its pool", contender: "tokio", arguments: "serve_jobs way=2" },
];

pub fn add(bench: &Bench, row: &mut Row) -> Result<()> {
    let (count, repeats) = (bench.plan.size(20_000, 1000), bench.plan.size(9, 1));
    let rounds = rounds_in(HEAVY_NS);
    let load = OpenLoad::new(CONNECTIONS, rounds);
    let run = |line: &Line, built: &Built, a_second| {
        let arguments = words(&format!("{} cores=2 rounds={rounds}", line.arguments));
        let server = start_server(&built.program, &arguments, None)?;
        let _first = FirstOfAll::begin();
        let outcome = load.make(count, a_second);
        drop(server);
        outcome
    };
    let lines: Vec<_> =
        LINES.iter().filter_map(|line| Some((line, bench.field.get(line.contender)?))).collect();

    // What the slower one of the compared answers when all are due at once.
    let mut capacity = f64::INFINITY;
    for (line, built) in lines.iter().filter(|(line, _)| line.arguments.ends_with("way=0")) {
        let rates: Result<Vec<f64>> = (0..bench.plan.size(3, 1))
            .map(|_| Ok(count as f64 / run(line, built, None)?.took.as_secs_f64()))
            .collect();
        let rate = Spread::of(&rates?).ok_or("no capacity")?.median;
        capacity = capacity.min(rate);
    }
    let a_second = capacity / 2.0;

    let mut values: Vec<[Vec<f64>; 3]> = lines.iter().map(|_| Default::default()).collect();
    for _ in 0..repeats {
        for ((line, built), values) in lines.iter().zip(&mut values) {
            let Outcome { latencies_ns, .. } = run(line, built, Some(a_second))?;
            for (values, part) in values.iter_mut().zip([0.5, 0.99, 0.999]) {
                let index = (latencies_ns.len() as f64 * part) as usize;
                values.push(latencies_ns[index] as f64 / 1e3);
            }
        }
    }

    let caption = format!(
        "us from when a request was due to its answer, {} a second on {CONNECTIONS} connections, each tenth with 1 ms \
         of computing: median (least..most)",
        short(a_second)
    );
    let mut table = Table::new(&caption, ["a heavy request", "p50", "p99", "p99.9"]);
    let mut compared = Vec::new();
    for ((line, _), values) in lines.iter().zip(values) {
        let spreads = values.map(|values| Spread::of(&values));
        let cells = spreads.map(|spread| spread.map_or("-".to_owned(), Spread::in_words));
        table.lines.push([line.label.to_owned()].into_iter().chain(cells).collect());
        if line.arguments.ends_with("way=0") {
            compared.push((line.contender, spreads[1]));
        }
    }
    row.tables.push(table);
    let of = |name| compared.iter().find(|(contender, _)| *contender == name)?.1;
    if let Some(tokio) = of("tokio") {
        let text = format!("heavy requests, by the connection's task, p99, {MOST} x tokio");
        let measured = of(MAJJEN).map(|spread| spread.median);
        row.targets.push(Target::at_most(&text, measured, tokio.median * MOST, "us"));
    }
    row.add_ratio("heavy requests, p99", "us", of(MAJJEN), [("tokio", of("tokio"))]);
    Ok(())
}

//! Row 14: schedulers on all cores.

mod jobs;
mod messages;

use super::requests::us_a_request;
use super::{Bench, case, words};
use crate::Result;
use crate::contenders::{MAJJEN, SYSTEM_CALLS};
use crate::load::Kind;
use crate::machine::pin;
use crate::open_load::rounds_in;
use crate::process::{by_turns, start_server};
use crate::report::{Row, Table, Target};
use crate::sample::{Samples, Spread, short};

pub fn measure(bench: &Bench) -> Result<Row> {
    let mut row = Row {
        number: 14,
        title: "Clusters",
        work: "Schedulers on several cores, by `mj_cluster_create`, on all processors of the machine: how even \
               connections are; how much faster two cores are for work that is made in the process; what a request takes with two \
               beside one; how long requests wait for others that compute; what a message to another core takes; and \
               what an idle core holds. Each part is described above.",
        leaves_out: "How a cluster does on more processors than this machine has. Listening with tokio, which has one \
                     socket for all workers. The load of the heavy requests is on the same processors, and comes \
                     before the servers' threads there (SCHED_FIFO) if the system permits that.",
        tables: Vec::new(),
        targets: Vec::new(),
        ratios: Vec::new(),
        plots: Vec::new(),
    };
    add_connections(bench, &mut row);
    add_work(bench, &mut row);
    // The load is to have all processors too.
    pin(None);
    let servers = add_keep_alive(bench, &mut row).and_then(|()| jobs::add(bench, &mut row));
    bench.processors.pin_driver();
    servers?;
    messages::add(bench, &mut row);
    add_memory(bench, &mut row);
    Ok(row)
}

/// A line of a table: what is run for it.
struct Line {
    label: &'static str,
    contender: &'static str,
    arguments: &'static str,
}

/// The samples of lines whose contender was built, in alternation, on all processors.
fn samples_of<'l>(
    bench: &Bench,
    lines: &'l [Line],
    arguments: &str,
    work: u64,
    repeats: usize,
) -> Vec<(&'l Line, Result<Samples>)> {
    let built = lines.iter().filter_map(|line| Some((line, bench.field.get(line.contender)?)));
    let (lines, cases): (Vec<_>, Vec<_>) = built
        .map(|(line, built)| (line, case(built, &format!("{} {arguments}", line.arguments), work)))
        .unzip();
    lines.into_iter().zip(by_turns(&cases, repeats, None)).collect()
}

fn value(samples: &Result<Samples>, name: &str) -> Option<Spread> {
    samples.as_ref().ok()?.get(name)
}

/// A table cell: the value, or why there is none.
fn cell(samples: &Result<Samples>, name: &str, factor: f64) -> String {
    match samples {
        Ok(samples) => {
            let value = samples.get(name);
            value.map_or("-".to_owned(), |spread| spread.scaled(factor).in_words())
        }
        Err(reason) => reason.clone(),
    }
}

// ---- connections

fn add_connections(bench: &Bench, row: &mut Row) {
    const LINES: [Line; 2] = [
        Line { label: MAJJEN, contender: MAJJEN, arguments: "held" },
        Line { label: "the kernel's SO_REUSEPORT", contender: SYSTEM_CALLS, arguments: "held" },
    ];
    let (count, repeats) = (bench.plan.size(1000, 400), bench.plan.size(20, 2));
    let caption = format!(
        "connections of the core that has most, of {count}, divided by the mean: median (least..most) of {repeats} runs"
    );
    let mut table = Table::new(&caption, [""]);
    table.lines = LINES.iter().map(|line| vec![line.label.to_owned()]).collect();
    for cores in [2, 4] {
        table.head.push(format!("{cores} cores"));
        let arguments = format!("connections={count} cores={cores}");
        let all = samples_of(bench, &LINES, &arguments, count, repeats);
        for ((line, samples), cells) in all.iter().zip(&mut table.lines) {
            cells.push(cell(samples, "most_of_mean", 1.0));
            if line.contender == MAJJEN {
                let worst = value(samples, "most_of_mean").map(|spread| spread.most);
                let text =
                    format!("{count} connections on {cores} cores, most of the mean, worst run");
                row.targets.push(Target::at_most(&text, worst, 1.10, ""));
            }
        }
    }
    row.tables.push(table);
}

// ---- work that is made in the process

fn add_work(bench: &Bench, row: &mut Row) {
    const LEAST: f64 = 1.9;
    const LINES: [Line; 5] = [
        Line {
            label: "Majjen, to the least loaded core",
            contender: MAJJEN,
            arguments: "made way=0",
        },
        Line { label: "Majjen, to each core in turn", contender: MAJJEN, arguments: "made way=1" },
        Line {
            label: "Majjen, on each core by a task there",
            contender: MAJJEN,
            arguments: "made way=2",
        },
        Line { label: "tokio", contender: "tokio", arguments: "made" },
        Line { label: "plain threads", contender: SYSTEM_CALLS, arguments: "made" },
    ];
    // Fewer than may wait at one core.
    let (count, repeats) = (bench.plan.size(16_000, 1000), bench.plan.size(15, 1));
    let rounds = rounds_in(20_000.0);
    let on = |cores: u64| {
        let arguments = format!("count={count} cores={cores} rounds={rounds}");
        samples_of(bench, &LINES, &arguments, count, repeats)
    };
    let (one, two) = (on(1), on(2));
    let caption = "us for each task of 20 us: median (least..most), and how much faster two cores are by the medians";
    let mut table = Table::new(caption, ["given", "1 core", "2 cores", "times as fast"]);
    let speed_up = |(one, two): (&Result<Samples>, &Result<Samples>)| {
        Some(value(one, "ns")?.median / value(two, "ns")?.median)
    };
    let both = || one.iter().zip(&two).map(|((line, one), (_, two))| (*line, (one, two)));
    let ceiling = both().find(|(line, _)| line.contender == SYSTEM_CALLS);
    let ceiling = ceiling.and_then(|(_, samples)| speed_up(samples));
    let ceiling = ceiling.map_or("not measured".to_owned(), |times| format!("{} x", short(times)));
    for (line, samples) in both() {
        let times = speed_up(samples);
        table.lines.push(vec![
            line.label.to_owned(),
            cell(samples.0, "ns", 1e-3),
            cell(samples.1, "ns", 1e-3),
            times.map_or("-".to_owned(), short),
        ]);
        if line.contender == MAJJEN {
            let text = format!(
                "{}, work on 2 cores times as fast as on 1 (plain threads: {ceiling})",
                line.label
            );
            row.targets.push(Target::at_least(&text, times, LEAST, "x"));
        }
    }
    row.tables.push(table);
    let of = |name| two.iter().find(|(line, _)| line.contender == name);
    let majjen = of(MAJJEN).and_then(|(_, samples)| value(samples, "ns"));
    let tokio = of("tokio").and_then(|(_, samples)| value(samples, "ns"));
    row.add_ratio("a task of 20 us, 2 cores", "ns", majjen, [("tokio", tokio)]);
}

// ---- HTTP with connections that are kept

fn add_keep_alive(bench: &Bench, row: &mut Row) -> Result<()> {
    const MOST: f64 = 1.05;
    let (requests, repeats) = (bench.plan.size(40_000, 3000), bench.plan.size(15, 1));
    let caption = "us of the server's processor time for each request, the load on the same processors: median \
                   (least..most)";
    let mut table = Table::new(caption, ["connections", "1 core", "2 cores", "2 cores of 1"]);
    for clients in [64, 1000] {
        let mut values = [Vec::new(), Vec::new()];
        for _ in 0..repeats {
            for (cores, values) in [1, 2].into_iter().zip(&mut values) {
                let arguments = words(&format!("serve_on_cores cores={cores} kind=1 log=0"));
                let server = start_server(&bench.field.majjen().program, &arguments, None)?;
                values.push(us_a_request(&server, Kind::Kept, clients, requests)?);
            }
        }
        let [Some(one), Some(two)] = values.map(|values| Spread::of(&values)) else { continue };
        table.lines.push(vec![
            clients.to_string(),
            one.in_words(),
            two.in_words(),
            short(two.median / one.median),
        ]);
        let text = format!("HTTP, {clients} connections, 2 cores, {MOST} x 1 core");
        let limit = one.median * MOST;
        row.targets.push(Target::at_most(&text, Some(two.median), limit, "us a request"));
    }
    row.tables.push(table);
    Ok(())
}

// ---- memory

fn add_memory(bench: &Bench, row: &mut Row) {
    const FEW: u64 = 1;
    const MANY: u64 = 33;
    let repeats = bench.plan.size(5, 1);
    let majjen = bench.field.majjen();
    let cases = [FEW, MANY].map(|cores| case(majjen, &format!("idle_cores cores={cores}"), cores));
    let [few, many] = [0, 1].map(|index| {
        let mut all = by_turns(&cases[index..=index], repeats, None);
        all.pop().unwrap_or(Err("not measured".to_owned()))
    });
    // Bytes for each core, without some that are counted besides.
    let each = |name: &str, without: Option<&str>| {
        let one = |samples: &Result<Samples>| {
            let less = match without {
                Some(without) => value(samples, without)?.median,
                None => 0.0,
            };
            Some(value(samples, name)?.median - less)
        };
        Some((one(&many)? - one(&few)?) / (MANY - FEW) as f64 / 1024.0)
    };
    let mut table = Table::new("KiB for each idle core: by the medians", ["memory", "KiB"]);
    let own = each("private_dirty", Some("stacks"));
    let lines = [
        ("private and written to, without the thread's stack", own),
        ("resident, without the thread's stack", each("rss", Some("stacks"))),
        ("the thread's stack", each("stacks", None)),
        ("page tables", each("page_tables", None)),
    ];
    for (what, kib) in lines {
        let reason = few.as_ref().err().or(many.as_ref().err());
        let reason = reason.map_or("-".to_owned(), String::clone);
        table.lines.push(vec![what.to_owned(), kib.map_or(reason, short)]);
    }
    row.tables.push(table);
    row.targets.push(Target::at_most(
        "memory of an idle core besides its thread's stack",
        own,
        256.0,
        "KiB",
    ));
}

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
        ..Row::default()
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

/// The samples of lines whose contender was built, for each of some variants, all in alternation and on all processors.
fn samples_of<'l, const N: usize>(
    bench: &Bench,
    lines: &'l [Line],
    variants: [String; N],
    work: u64,
    repeats: usize,
) -> Vec<(&'l Line, [Result<Samples>; N])> {
    let built = lines.iter().filter_map(|line| Some((line, bench.field.get(line.contender)?)));
    let built: Vec<_> = built.collect();
    let cases: Vec<_> = built
        .iter()
        .flat_map(|(line, built)| {
            let arguments = |variant| format!("{} {variant}", line.arguments);
            variants.iter().map(move |variant| case(built, &arguments(variant), work))
        })
        .collect();
    let mut samples = by_turns(&cases, repeats, None).into_iter();
    let mut next = || samples.next().unwrap_or_else(|| Err("not measured".to_owned()));
    built.into_iter().map(|(line, _)| (line, std::array::from_fn(|_| next()))).collect()
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
    let mut table = Table::new(&caption, ["", "2 cores", "4 cores"]);
    let variants = [2, 4].map(|cores| format!("connections={count} cores={cores}"));
    for (line, [two, four]) in samples_of(bench, &LINES, variants, count, repeats) {
        let cells = [&two, &four].map(|samples| cell(samples, "most_of_mean", 1.0));
        table.lines.push([line.label.to_owned()].into_iter().chain(cells).collect());
        if line.contender == MAJJEN {
            for (cores, samples) in [(2, two), (4, four)] {
                let worst = value(&samples, "most_of_mean").map(|spread| spread.most);
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
    let variants = [1, 2].map(|cores| format!("count={count} cores={cores} rounds={rounds}"));
    let all = samples_of(bench, &LINES, variants, count, repeats);
    let caption = "us for each task of 20 us: median (least..most), and how much faster two cores are by the medians";
    let mut table = Table::new(
        caption,
        ["given", "1 core", "2 cores", "times as fast", "processor time, 2 cores of 1"],
    );
    let one_of_two = |[one, two]: &[Result<Samples>; 2], name| {
        Some(value(one, name)?.median / value(two, name)?.median)
    };
    let speed_up = |samples: &_| one_of_two(samples, "ns");
    let of = |name| all.iter().find(|(line, _)| line.contender == name).map(|(_, samples)| samples);
    let ceiling = of(SYSTEM_CALLS).and_then(speed_up);
    let ceiling = ceiling.map_or("not measured".to_owned(), |times| format!("{} x", short(times)));
    for (line, samples) in &all {
        let times = speed_up(samples);
        let cells = samples.each_ref().map(|samples| cell(samples, "ns", 1e-3));
        let cpu = one_of_two(samples, "cpu_ns").map(f64::recip);
        let ratios = [times, cpu].map(|ratio| ratio.map_or("-".to_owned(), short));
        let label = line.label.to_owned();
        table.lines.push([label].into_iter().chain(cells).chain(ratios).collect());
        if line.contender == MAJJEN {
            let text = format!(
                "{}, work on 2 cores times as fast as on 1 (plain threads: {ceiling})",
                line.label
            );
            row.targets.push(Target::at_least(&text, times, LEAST, "x"));
        }
    }
    row.tables.push(table);
    let two_cores = |name| value(&of(name)?[1], "ns");
    row.add_ratio(
        "a task of 20 us, 2 cores",
        "ns",
        two_cores(MAJJEN),
        [("tokio", two_cores("tokio"))],
    );
}

// ---- HTTP with connections that are kept

fn add_keep_alive(bench: &Bench, row: &mut Row) -> Result<()> {
    const MOST: f64 = 1.05;
    let (requests, repeats) = (bench.plan.size(40_000, 3000), bench.plan.size(15, 1));
    let caption = "us of the server's processor time for each request, the load on the same processors: median \
                   (least..most)";
    let mut table =
        Table::new(caption, ["server", "connections", "1 core", "2 cores", "2 cores of 1"]);
    let servers = [MAJJEN, "tokio"].into_iter().filter_map(|name| bench.field.get(name));
    let servers: Vec<_> = servers.flat_map(|server| [(server, 1), (server, 2)]).collect();
    for clients in [64, 1000] {
        let mut values: Vec<_> = servers.iter().map(|_| Vec::new()).collect();
        for _ in 0..repeats {
            for ((server, cores), values) in servers.iter().zip(&mut values) {
                let arguments = words(&format!("serve_on_cores cores={cores} kind=1 log=0"));
                let running = start_server(&server.program, &arguments, None)?;
                values.push(us_a_request(&running, Kind::Kept, clients, requests)?);
            }
        }
        let spreads: Vec<_> = values.iter().filter_map(|values| Spread::of(values)).collect();
        for ((server, _), both) in servers.iter().step_by(2).zip(spreads.chunks(2)) {
            let [one, two] = both else { continue };
            table.lines.push(vec![
                server.name.to_owned(),
                clients.to_string(),
                one.in_words(),
                two.in_words(),
                short(two.median / one.median),
            ]);
            if server.name == MAJJEN {
                let text = format!("HTTP, {clients} connections, 2 cores, {MOST} x 1 core");
                let limit = one.median * MOST;
                row.targets.push(Target::at_most(&text, Some(two.median), limit, "us a request"));
            }
        }
        let two_cores = |name| {
            let index = servers.iter().position(|(server, _)| server.name == name)?;
            spreads.get(index + 1).copied()
        };
        let what = format!("HTTP, {clients} connections, 2 cores");
        row.add_ratio(&what, "us", two_cores(MAJJEN), [("tokio", two_cores("tokio"))]);
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
    let mut samples = by_turns(&cases, repeats, None).into_iter();
    let [few, many] =
        [0; 2].map(|_| samples.next().unwrap_or_else(|| Err("not measured".to_owned())));
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

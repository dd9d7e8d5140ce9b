//! Row 15: a key-value server beside redis-server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::{Bench, words};
use crate::Result;
use crate::contenders::{MAJJEN, compile};
use crate::machine::{cpu_ns_of, first_line_of};
use crate::process::start_server;
use crate::report::{Row, Table, Target};
use crate::sample::{Samples, Spread, short};

const REDIS: &str = "redis-server";
const LOAD: &str = "redis-benchmark";

/// Of redis-benchmark. `ping_mbulk` is PING as client libraries send it.
const TESTS: [&str; 6] = ["ping_mbulk", "set", "get", "incr", "lpush", "mset"];

/// Commands that a client sends at a time, how many in all in a full run and in a quick one, the most processor
/// time for each, of redis-server's, and that in words.
const PIPELINES: [(u64, u64, u64, f64, &str); 2] =
    [(1, 60_000, 10_000, 1.0, ""), (16, 480_000, 80_000, 1.0 / 1.2, "1.2 x less than ")];

struct Server {
    program: PathBuf,
    arguments: Vec<String>,
}

pub fn measure(bench: &Bench) -> Result<Row> {
    let mut row = Row {
        number: 15,
        title: "A key-value server",
        work: "`examples-c/kv_server.c` beside redis-server without persistence (`--save '' --appendonly no`), by turns, \
               each time a new process. redis-benchmark has 50 connections, on the other processor, and sends one kind \
               of command, one or 16 at a time (`-c 50 -P 1`, `-P 16`). Processor time of the server's whole process for \
               each command, and the latency that 99% of the commands do not exceed, by the client.",
        leaves_out: "What the kernel does for the server on the client's processor. redis-benchmark uses one key for each \
                     kind of command, ten with MSET, so a table of many keys is not measured, and values have 3 bytes. \
                     With `-P 16` the client is the slower side, and its latency is that of a client under full load.",
        ..Row::default()
    };
    let versions = [REDIS, LOAD].map(|program| first_line_of(program, &["--version"]));
    let [Some(version), Some(_)] = versions else {
        return Ok(row.not_measured(format!("{REDIS} or {LOAD} is not installed (Debian: redis)")));
    };
    let version = version.split("v=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("");
    let source = bench.places.root.join("examples-c/kv_server.c");
    let servers = [
        Server {
            program: compile(
                bench.places,
                &source,
                "kv_server",
                &["-std=c99", "-O2"],
                &["-lmajjen"],
            )?,
            arguments: words("8080"),
        },
        Server {
            program: PathBuf::from(REDIS),
            arguments: [&words("--port 8080 --appendonly no --save")[..], &[String::new()]]
                .concat(),
        },
    ];
    for (pipeline, full, quick, most, most_in_words) in PIPELINES {
        let commands = bench.plan.size(full, quick);
        let samples = samples_of(bench, &servers, pipeline, commands)?;
        let caption = format!(
            "{pipeline} at a time, {commands} commands: median (least..most); redis-server {version}"
        );
        let mut table = Table::new(
            &caption,
            [
                "command",
                "kv_server, us",
                "redis-server, us",
                "of redis-server's",
                "p99, ms",
                "its p99, ms",
            ],
        );
        let mut tails = Vec::new();
        for test in TESTS {
            let [cpu, p99] = ["us", "p99"].map(|value| format!("{test} {value}"));
            let [own_us, its_us] = samples.each_ref().map(|samples| samples.get(&cpu));
            let of_its = samples[0].of(&samples[1], &cpu);
            let cells = [own_us, its_us, of_its, samples[0].get(&p99), samples[1].get(&p99)];
            let cells = cells.map(|spread| spread.map_or("-".to_owned(), Spread::in_words));
            table.lines.push([test.to_owned()].into_iter().chain(cells).collect());
            let what = format!("{test}, {pipeline} at a time");
            let limit = its_us.map_or(0.0, |spread| spread.median) * most;
            let own = its_us.zip(of_its).map(|(its, ratio)| its.median * ratio.median);
            let text = format!("{what}, {most_in_words}{REDIS}, by pairs");
            row.targets.push(Target::at_most(&text, own, limit, "us a command"));
            row.add_ratio(&what, "us", own_us, [(REDIS, its_us)]);
            tails.extend(samples[0].of(&samples[1], &p99).map(|spread| spread.median));
        }
        row.tables.push(table);
        let tail = Spread::of(&tails).map(|spread| spread.median);
        let text = format!(
            "p99, {pipeline} at a time, of {REDIS}'s, the median of all kinds ({} at the most)",
            tails.iter().copied().reduce(f64::max).map_or("-".to_owned(), short)
        );
        row.targets.push(Target::at_most(&text, tail, 1.0, ""));
    }
    Ok(row)
}

/// The values of both servers, by turns.
fn samples_of(
    bench: &Bench,
    servers: &[Server; 2],
    pipeline: u64,
    commands: u64,
) -> Result<[Samples; 2]> {
    let mut samples = [Samples::default(), Samples::default()];
    for _ in 0..bench.plan.size(7, 1) {
        let mut values = [BTreeMap::new(), BTreeMap::new()];
        for test in TESTS {
            for (server, values) in servers.iter().zip(&mut values) {
                let (us, p99) = run(bench, server, test, pipeline, commands)?;
                values.insert(format!("{test} us"), us);
                values.insert(format!("{test} p99"), p99);
            }
        }
        for (samples, values) in samples.iter_mut().zip(values) {
            samples.add(values);
        }
    }
    Ok(samples)
}

/// Microseconds of a server's processor time for each command, and the client's p99 in milliseconds.
fn run(
    bench: &Bench,
    server: &Server,
    test: &str,
    pipeline: u64,
    commands: u64,
) -> Result<(f64, f64)> {
    let processor = Some(bench.processors.contender);
    let running = start_server(&server.program, &server.arguments, processor)?;
    let load = |commands: u64| {
        let arguments = format!("-p 8080 -c 50 -P {pipeline} -n {commands} -t {test} --csv");
        let output = Command::new(LOAD).args(words(&arguments)).output();
        let output = output.map_err(|error| format!("{LOAD}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{LOAD}: {}", said.lines().next().unwrap_or("failed")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    load(commands / 10)?; // Warm-up.
    let clock = || cpu_ns_of(running.pid()).ok_or("the server has ended".to_owned());
    let before = clock()?;
    let output = load(commands)?;
    let us = (clock()? - before) as f64 / 1e3 / commands as f64;
    // "test","rps","avg","min","p50","p95","p99","max"
    let p99 = output
        .lines()
        .last()
        .and_then(|line| line.split(',').nth(6)?.trim_matches('"').parse().ok());
    Ok((us, p99.ok_or_else(|| format!("{LOAD} of {MAJJEN}'s row 15 says {output:?}"))?))
}

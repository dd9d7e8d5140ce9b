//! Row 8: doing nothing.

use std::thread::sleep;
use std::time::Duration;

use super::{Bench, words};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::load::{Kind, Load};
use crate::machine::{cpu_ns_of, descriptor_limit, switches_of};
use crate::process::start_server;
use crate::report::{Row, Table, Target};

const SERVERS: &[&str] =
    &[MAJJEN, "libev", "libuv", "libevent", "State Threads", "Go", "tokio", "may"];

pub fn measure(bench: &Bench) -> Result<Row> {
    let wanted = bench.plan.size(10_000, 500);
    let connections = wanted.min(descriptor_limit().saturating_sub(100)) as usize;
    let seconds = bench.plan.size(10, 2);
    let mut row = Row {
        number: 8,
        title: "Idle",
        work: "The echo servers of row 7 with 10,000 connections (fewer where the limit of open files says so), each \
               of which has been served once. Then nothing happens for 10 seconds: how often the threads of the \
               server are given a processor (`ctxt_switches` in `/proc/PID/task`), and the processor time they use.",
        leaves_out: "Nothing.",
        ..Row::default()
    };
    let mut table = Table::new(
        &format!("{connections} connections, {seconds} s"),
        ["server", "wake-ups", "processor time, us"],
    );
    for name in SERVERS {
        let Some(built) = bench.field.get(name) else { continue };
        match one_run(bench, &built.program, connections, seconds) {
            Ok((switches, us)) => {
                table.lines.push(vec![
                    (*name).to_owned(),
                    switches.to_string(),
                    format!("{us:.0}"),
                ]);
                if *name == MAJJEN {
                    for (text, value) in
                        [("idle: wake-ups", switches as f64), ("idle: processor time", us)]
                    {
                        let unit = if text.ends_with("time") { "us" } else { "" };
                        row.targets.push(Target::at_most(text, Some(value), 0.0, unit));
                    }
                }
            }
            Err(reason) => table.lines.push(vec![(*name).to_owned(), reason, "-".to_owned()]),
        }
    }
    row.tables.push(table);
    Ok(row)
}

fn one_run(
    bench: &Bench,
    program: &std::path::Path,
    connections: usize,
    seconds: u64,
) -> Result<(u64, f64)> {
    let running = start_server(
        program,
        &words("serve kind=2 log=0 calls=1"),
        Some(bench.processors.contender),
    )?;
    let mut load = Load::connect(Kind::Echo, connections)?;
    load.make(connections as u64)?;
    sleep(Duration::from_millis(1500)); // Runtimes have initialization to finish.
    let look = || Some((switches_of(running.pid()), cpu_ns_of(running.pid())?));
    let before = look().ok_or("the server has ended")?;
    sleep(Duration::from_secs(seconds));
    let after = look().ok_or("the server has ended")?;
    load.make(connections as u64)?; // All connections still work.
    Ok((after.0 - before.0, (after.1 - before.1) as f64 / 1e3))
}

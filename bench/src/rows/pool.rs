//! Row 17: a web server before a database, in tasks and on threads.

use std::path::PathBuf;
use std::process::Command;

use super::wrk_load::{self, Taken, body_of};
use super::{Bench, words};
use crate::Result;
use crate::contenders::{C_FLAGS, compile};
use crate::load::PORT;
use crate::postgres::Postgres;
use crate::process::start_server;
use crate::report::{Row, Table, Target};
use crate::sample::Spread;

const FEW: usize = 64;
const MANY: usize = 1000;
const CONNECTIONS: usize = 20;
const PATH: &str = "/?name=you";
/// What both targets say.
const PROCESSOR_TIME: f64 = 0.8;
const MEMORY: f64 = 0.5;

pub fn measure(bench: &Bench) -> Result<Row> {
    let row = Row {
        number: 17,
        title: "A web server before a database",
        work: "`examples-c/postgres_pool.c`, unchanged: each request is a query of PostgreSQL, by libpq's blocking calls \
               in tasks (libmajjen-hook), with 20 connections to the database for all clients. Beside it the same \
               handlers on 64 threads with the same pool. wrk keeps 64 connections going; and 1,000, with as many \
               threads. Microseconds of the server's processor time for each request; its memory in the middle of the \
               load: its share of pages (PSS), page tables, and 16 KiB of the kernel's for each thread; and the latency \
               that 99 of 100 requests kept to.",
        leaves_out: "What PostgreSQL and wrk take, which share the other processor and set the pace, and with it the \
                     latency.",
        ..Row::default()
    };
    Ok(row.filled_by(|row| add(bench, row)))
}

fn add(bench: &Bench, row: &mut Row) -> Result<()> {
    wrk_load::is_installed()?;
    let [tasks, threads] = programs(bench)?;
    let postgres = Postgres::start(bench.processors.driver, 2 * CONNECTIONS)?;
    let (repeats, seconds) = (bench.plan.size(9, 1), bench.plan.size(4, 2));
    let servers = [
        ("Majjen", &tasks, FEW),
        ("64 threads", &threads, FEW),
        ("Majjen, 1,000 clients", &tasks, MANY),
        ("1,000 threads, 1,000 clients", &threads, MANY),
    ];
    let mut taken = [(); 4].map(|()| Taken::default());
    for _ in 0..repeats {
        for ((_, program, clients), taken) in servers.iter().zip(&mut taken) {
            let mut arguments = vec![postgres.connection()];
            arguments.extend(words(&format!("{PORT} {CONNECTIONS} {clients}")));
            let running = start_server(program, &arguments, Some(bench.processors.contender))?;
            let body = body_of(PORT, PATH)?;
            if !body.starts_with(b"hello, you, from process ") {
                return Err(format!("an answer is {:?}", String::from_utf8_lossy(&body)));
            }
            taken.add_turn(&running, PORT, PATH, *clients, seconds)?;
        }
    }
    let caption =
        format!("64 clients, if not said otherwise: median (least..most) of {repeats} turns");
    let mut table = Table::new(
        &caption,
        ["server", "us of processor time a request", "memory in MiB", "of it PSS", "p99 in ms"],
    );
    for ((name, ..), taken) in servers.iter().zip(&taken) {
        table.lines.push([(*name).to_owned()].into_iter().chain(taken.cells()).collect());
    }
    row.tables.push(table);
    for (pair, clients) in taken.chunks(2).zip(["64", "1,000"]) {
        let [majjen, threads] = pair else { continue };
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        row.targets.push(Target::at_most(
            &format!("processor time of a request, of that on {clients} threads, by pairs"),
            median(Spread::of_pairs(&majjen.us, &threads.us)),
            PROCESSOR_TIME,
            "x",
        ));
        row.targets.push(Target::at_most(
            &format!("memory, of that of {clients} threads, by pairs"),
            median(Spread::of_pairs(&majjen.mib, &threads.mib)),
            MEMORY,
            "x",
        ));
        let what = format!("a request with a query, {clients} clients");
        let peers = [("threads", Spread::of(&threads.us))];
        row.add_ratio(&what, "us", Spread::of(&majjen.us), peers);
    }
    Ok(())
}

/// The example with the hooks, and its handlers on threads.
fn programs(bench: &Bench) -> Result<[PathBuf; 2]> {
    let asked = Command::new("pg_config").args(["--includedir", "--libdir"]).output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = said.unwrap_or_default();
    let (include, lib) = said.trim().split_once('\n').unwrap_or_default();
    if !std::path::Path::new(include).join("libpq-fe.h").exists() {
        return Err("libpq is not installed (Debian: libpq-dev)".to_owned());
    }
    let [include, lib] = [format!("-I{include}"), format!("-L{lib}")];
    let flags = ["-std=c99", "-O2", &include];
    let link = ["-Wl,--no-as-needed", "-lmajjen-hook", "-lmajjen", &lib, "-lpq"];
    let example = bench.places.root.join("examples-c/postgres_pool.c");
    let tasks = compile(bench.places, &example, "postgres_pool", &flags, &link)?;
    let mut flags = C_FLAGS.to_vec();
    flags.push(&include);
    let source = bench.places.contender("pool_threads.c");
    let threads =
        compile(bench.places, &source, "pool_threads", &flags, &[&lib, "-lpq", "-pthread"])?;
    Ok([tasks, threads])
}

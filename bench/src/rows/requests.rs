//! Rows 6 and 7: servers under load.

use super::{Bench, words};
use crate::Result;
use crate::contenders::MAJJEN;
use crate::load::{Kind, Load};
use crate::machine::cpu_ns_of;
use crate::plot::Plot;
use crate::process::{Running, start_server};
use crate::report::{Row, Table, Target};
use crate::sample::Spread;

const SERVERS: &[&str] =
    &[MAJJEN, "libev", "libuv", "libevent", "State Threads", "Go", "tokio", "may"];

/// Majjen's second server of row 7.
const GUIDES_WAY: &str = "Majjen, as the guide's server";

/// A server, and its name in the table.
struct Server {
    name: &'static str,
    label: String,
    program: std::path::PathBuf,
    arguments: Vec<String>,
}

fn servers(bench: &Bench, arguments: &str, note: &str) -> Vec<Server> {
    let built = SERVERS.iter().filter_map(|name| bench.field.get(name));
    built
        .map(|built| Server {
            name: built.name,
            label: format!("{}{note}", built.name),
            program: built.program.clone(),
            arguments: words(arguments),
        })
        .collect()
}

/// CPU time of the server per request in microseconds, with the servers in alternation.
fn measure(
    bench: &Bench,
    servers: &[Server],
    kind: Kind,
    clients: usize,
    requests: u64,
    repeats: usize,
) -> Vec<Result<Spread>> {
    let mut results: Vec<Result<Vec<f64>>> = servers.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..repeats {
        for (server, result) in servers.iter().zip(&mut results) {
            if let Ok(values) = result {
                match one_run(bench, server, kind, clients, requests) {
                    Ok(value) => values.push(value),
                    Err(error) => *result = Err(error),
                }
            }
        }
    }
    let spread = |values: Vec<f64>| Spread::of(&values).ok_or("not measured".to_owned());
    results.into_iter().map(|result| result.and_then(spread)).collect()
}

fn one_run(
    bench: &Bench,
    server: &Server,
    kind: Kind,
    clients: usize,
    requests: u64,
) -> Result<f64> {
    let processor = Some(bench.processors.contender);
    let running = start_server(&server.program, &server.arguments, processor)?;
    us_a_request(&running, kind, clients, requests)
}

/// CPU time of a server that runs, for each request.
pub fn us_a_request(server: &Running, kind: Kind, clients: usize, requests: u64) -> Result<f64> {
    let mut load = Load::connect(kind, clients)?;
    load.make(requests / 10 + clients as u64)?; // Warm-up.
    let clock = || cpu_ns_of(server.pid()).ok_or("the server has ended".to_owned());
    let before = clock()?;
    load.make(requests)?;
    Ok((clock()? - before) as f64 / 1e3 / requests as f64)
}

fn cell(result: &Result<Spread>) -> String {
    match result {
        Ok(spread) => spread.in_words(),
        Err(reason) => reason.clone(),
    }
}

/// The values by name; the first match counts.
fn find(servers: &[Server], results: &[Result<Spread>], label: &str) -> Option<Spread> {
    let index = servers.iter().position(|server| server.label == label)?;
    results[index].as_ref().ok().copied()
}

pub fn measure_once(bench: &Bench) -> Result<Row> {
    let requests = bench.plan.size(10_000, 2000);
    let repeats = bench.plan.size(5, 2);
    let mut row = Row {
        number: 6,
        title: "One request a connection",
        work: "The guide's `examples-c/http_server.c`, unchanged, and servers that do the same with each peer: accept, \
               log one INFO line, read the request, send 82 bytes, close. Microseconds of processor time that the \
               server uses for each request, user and system, by the process's own clock. Every answer is compared \
               byte for byte. Clients keep so many connections going from the other processor, over loopback. The log \
               goes to /dev/null: one formatted line and one write(2) for each connection in every server.",
        leaves_out: "What the kernel does for the server on the clients' processor. All listen with the guide's backlog \
                     of 128, so with 1,000 clients some connections wait for a second try; that takes the clients' \
                     time, not the server's. The servers written in C share their code but for the waiting. Go and the \
                     servers in Rust format the line by their own means and write it with one write(2). *Without the log*: \
                     the guide's server with its level at WARN, and the peers without the line.",
        ..Row::default()
    };
    let mut servers = servers(bench, "serve kind=0 log=1 calls=0", "");
    let own = servers.iter().position(|server| server.name == MAJJEN);
    // Majjen's is the guide's own program.
    if let Some(own) = own {
        servers[own].label = "Majjen, the guide's server".to_owned();
        servers[own].program = bench.field.guide_server.clone();
        servers[own].arguments.clear();
    }
    let with_log = servers.len();
    let mut without = self::servers(bench, "serve kind=0 log=0 calls=0", ", without the log");
    without[0].program = bench.field.quiet_guide_server.clone();
    without[0].arguments.clear();
    servers.append(&mut without);

    let mut table =
        Table::new("us of processor time for each request: median (least..most)", ["server"]);
    table.lines = servers.iter().map(|server| vec![server.label.clone()]).collect();
    for clients in [64, 1000] {
        let results = measure(bench, &servers, Kind::Once, clients, requests, repeats);
        table.head.push(format!("{clients} clients"));
        for (line, result) in table.lines.iter_mut().zip(&results) {
            line.push(cell(result));
        }
        let majjen = find(&servers, &results, "Majjen, the guide's server");
        let peer = |name: &str| find(&servers, &results, name);
        let peers: Vec<_> =
            servers[1..with_log].iter().map(|server| (server.name, peer(server.name))).collect();
        for (name, spread) in &peers {
            let Some(spread) = spread else { continue };
            let factor = if *name == "libev" { 1.05 } else { 1.0 };
            let times = if *name == "libev" { "1.05 x " } else { "" };
            if ["libev", "libuv", "State Threads", "Go", "tokio"].contains(name) {
                row.targets.push(Target::at_most(
                    &format!("one request a connection, {clients} clients, {times}{name}"),
                    majjen.map(|spread| spread.median),
                    spread.median * factor,
                    "us",
                ));
            }
        }
        row.add_ratio(&format!("one request a connection, {clients} clients"), "us", majjen, peers);
        let quiet = |name: &str| find(&servers, &results, &format!("{name}, without the log"));
        let peers: Vec<_> =
            servers[1..with_log].iter().map(|server| (server.name, quiet(server.name))).collect();
        let what = format!("one request a connection, {clients} clients, without the log");
        row.add_ratio(&what, "us", quiet(MAJJEN), peers);
        if clients == 64 {
            let values = servers[..with_log].iter().zip(&results);
            row.plots.push(Plot::Bars {
                title: "6. One request a connection, 64 clients".to_owned(),
                unit: "us of processor time".into(),
                values: values
                    .filter_map(|(server, result)| {
                        Some((server.name.to_owned(), result.as_ref().ok()?.median))
                    })
                    .collect(),
            });
        }
    }
    row.tables.push(table);
    Ok(row)
}

pub fn measure_kept(bench: &Bench) -> Result<Row> {
    let requests = bench.plan.size(40_000, 5000);
    let repeats = bench.plan.size(11, 2);
    let mut row = Row {
        number: 7,
        title: "Many requests a connection",
        work: "HTTP with connections that are kept, and a server that sends back 512 bytes. Each client sends its next \
               request when it has the whole answer, which is compared byte for byte. Thousands of requests for one \
               second of the server's processor time: what one core can do. Majjen's server reads and writes by \
               `mj_read` and `mj_write`; the other one of Majjen waits for its connection and reads, as the guide's \
               does.",
        leaves_out: "Accepting the connections, and what the kernel does for the server on the clients' processor.",
        ..Row::default()
    };
    let mut table = Table::new(
        "thousand requests for each second of processor time: median (least..most)",
        ["server"],
    );
    let mut header = false;
    for (kind, name) in [(Kind::Kept, "HTTP"), (Kind::Echo, "512-byte echo")] {
        let arguments = format!("serve kind={} log=0", kind as u8);
        let mut servers = servers(bench, &arguments, "");
        if let Some(own) = servers.iter_mut().find(|server| server.name == MAJJEN) {
            own.arguments.push("calls=1".to_owned());
        }
        let as_the_guide = Server {
            name: GUIDES_WAY,
            label: GUIDES_WAY.to_owned(),
            program: servers[0].program.clone(),
            arguments: words(&format!("{arguments} calls=0")),
        };
        servers.insert(1, as_the_guide);
        if !header {
            table.lines = servers.iter().map(|server| vec![server.label.clone()]).collect();
            header = true;
        }
        for clients in [64, 1000] {
            let results = measure(bench, &servers, kind, clients, requests, repeats);
            let what = format!("{name}, {clients} connections");
            table.head.push(what.clone());
            for (line, result) in table.lines.iter_mut().zip(&results) {
                line.push(match result {
                    Ok(us) => {
                        let rate = |us: f64| 1e3 / us;
                        let (median, least, most) =
                            (rate(us.median), rate(us.most), rate(us.least));
                        Spread { median, least, most }.in_words()
                    }
                    Err(reason) => reason.clone(),
                });
            }
            let majjen = find(&servers, &results, MAJJEN);
            let peers: Vec<_> = servers[2..]
                .iter()
                .map(|server| (server.name, find(&servers, &results, &server.label)))
                .collect();
            let best = peers.iter().filter_map(|(_, spread)| Some(spread.as_ref()?.median));
            if let Some(best) = best.min_by(f64::total_cmp) {
                // With few connections each event is a system call of its own, for everyone.
                let (times, in_words) = if clients == 64 { (1.05, "1.05 x ") } else { (1.0, "") };
                row.targets.push(Target::at_most(
                    &format!("{what}, {in_words}the best peer"),
                    majjen.map(|spread| spread.median),
                    best * times,
                    "us a request",
                ));
            }
            row.add_ratio(&what, "us", majjen, peers);
            if clients == 64 {
                let values = servers.iter().zip(&results);
                row.plots.push(Plot::Bars {
                    title: format!("7. {what}"),
                    unit: "us of processor time".into(),
                    values: values
                        .filter_map(|(server, result)| {
                            Some((server.name.to_owned(), result.as_ref().ok()?.median))
                        })
                        .collect(),
                });
            }
        }
    }
    row.tables.push(table);
    Ok(row)
}

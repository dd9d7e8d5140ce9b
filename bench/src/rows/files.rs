//! Row 16: a web server for files beside nginx.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Bench;
use super::nginx;
use super::slow_clients;
use super::wrk_load::{self, H2LOAD, Taken, body_of, can_be_run, us_by_h2load};
use crate::Result;
use crate::contenders::compile;
use crate::load::PORT;
use crate::process::start_server;
use crate::report::{Row, Table, Target};
use crate::sample::{Samples, Spread};

const NGINX: &str = "nginx";

/// What loads the servers. Without the first nothing is measured.
const CLIENTS: [&str; 2] = ["wrk", H2LOAD];

/// Files, how large they are, and that in words.
const FILES: [(&str, usize, &str); 2] =
    [("small.html", 1 << 10, "1 KiB"), ("large.bin", 100 << 10, "100 KiB")];

/// The servers, Majjen's first.
const SERVERS: [&str; 3] = ["http_server2", "nginx, as Debian sets it up", "nginx, tcp_nopush off"];

struct Server {
    program: PathBuf,
    arguments: Vec<String>,
}

pub fn measure(bench: &Bench) -> Result<Row> {
    let mut row = Row {
        number: 16,
        title: "A web server for files",
        work: "`examples-c/http_server2.c` beside nginx with one process (`master_process off`), by turns, each time a \
               new process. wrk keeps 50 connections busy for two seconds from the other processor (`-t1 -c50 -d2`), \
               with one file, which is in memory; and so does h2load (`--h1 -t1 -c50 -D2`). Both servers open the file \
               for each request, send it by sendfile(2) where it is large, and write an access log in the combined \
               format, buffered, to /dev/null. Processor time of the server's whole process for each request; what a \
               first request gets is compared byte for byte.",
        leaves_out: "What the kernel does for the server on the client's processor. Files on a disk, and what nginx does \
                     besides. wrk checks the status of an answer and its length, and not its body.",
        ..Row::default()
    };
    let version =
        version_of_nginx().ok_or("nginx is not installed (Debian: nginx-light)".to_owned());
    let version = match wrk_load::is_installed().and(version) {
        Ok(version) => version,
        Err(reason) => return Ok(row.not_measured(reason)),
    };
    let place = bench.places.build.join("files");
    let servers = servers(bench, &place)?;
    let has_h2load = can_be_run(H2LOAD, "--version");
    let clients = if has_h2load { &CLIENTS[..] } else { &CLIENTS[..1] };
    let samples = samples_of(bench, &servers, clients)?;
    clients.iter().for_each(|client| add_table(&mut row, client, &version, &samples));
    if !has_h2load {
        row.tables.push(Table::new("h2load is not installed (Debian: nghttp2-client)", []));
    }
    if !bench.plan.quick {
        let [own, nginx, _] = &servers;
        let both = [(SERVERS[0], own), (SERVERS[1], nginx)]
            .map(|(name, server)| (name, &server.program, &server.arguments[..]));
        let (table, targets) = slow_clients::measure(&both, PORT, bench.processors.contender)?;
        row.tables.push(table);
        row.targets.extend(targets);
    }
    Ok(row)
}

/// What a client, wrk or h2load, has measured.
fn add_table(row: &mut Row, client: &str, version: &str, samples: &[Samples; 3]) {
    let caption = format!("us a request, by {client}: median (least..most); {version}");
    let mut table = Table::new(&caption, ["server"]);
    table.lines = SERVERS.iter().map(|server| vec![(*server).to_owned()]).collect();
    for (file, _, size) in FILES {
        let name = name_of(client, file);
        let us = samples.each_ref().map(|samples| samples.get(&name));
        table.head.extend([size.to_owned(), format!("{size}: http_server2's of it")]);
        for (index, line) in table.lines.iter_mut().enumerate() {
            let of_it = samples[0].of(&samples[index], &name).filter(|_| index > 0);
            let cells = [us[index], of_it];
            line.extend(cells.map(|spread| spread.map_or("-".to_owned(), Spread::in_words)));
        }
        for (index, server) in SERVERS.iter().enumerate().skip(1) {
            let limit = us[index].map_or(0.0, |spread| spread.median);
            let of_it = samples[0].of(&samples[index], &name);
            let own = of_it.map(|ratio| ratio.median * limit);
            let text = format!("a file of {size}, {server}, {client}, by pairs");
            row.targets.push(Target::at_most(&text, own, limit, "us a request"));
        }
        let peers = [(NGINX, us[1]), ("nginx, tcp_nopush off", us[2])];
        row.add_ratio(&format!("a file of {size}, {client}"), "us", us[0], peers);
    }
    row.tables.push(table);
}

/// The name of a value.
fn name_of(client: &str, file: &str) -> String {
    format!("{client} {file}")
}

/// What `nginx -v` says, on stderr.
fn version_of_nginx() -> Option<String> {
    let output = Command::new(NGINX).arg("-v").output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(said.lines().next()?.rsplit(": ").next()?.replace('/', " "))
}

fn servers(bench: &Bench, place: &Path) -> Result<[Server; 3]> {
    let failed = |error: std::io::Error| format!("{}: {error}", place.display());
    fs::create_dir_all(place).map_err(failed)?;
    for (file, size, _) in FILES {
        fs::write(place.join(file), body(size)).map_err(failed)?;
    }
    let source = bench.places.root.join("examples-c/http_server2.c");
    let flags = ["-std=c99", "-O2", "-Wall", "-Wextra"];
    let own = compile(bench.places, &source, "http_server2", &flags, &["-lmajjen"])?;
    let nginx = |nopush: &str| {
        let program = PathBuf::from(NGINX);
        let of_it = place.with_file_name(format!("nginx.{nopush}"));
        let arguments = nginx::arguments(&of_it, SETTINGS, &serving(place, nopush))?;
        Ok::<Server, String>(Server { program, arguments })
    };
    let arguments = vec![PORT.to_string(), place.display().to_string()];
    Ok([Server { program: own, arguments }, nginx("on")?, nginx("off")?])
}

/// As Debian has it.
const SETTINGS: &str = "error_log /dev/null;\nevents { worker_connections 768; }";

/// Debian's, but for what a server that stays needs.
fn serving(place: &Path, nopush: &str) -> String {
    format!(
        "tcp_nopush {nopush};\nkeepalive_requests 100000000;\n\
         types {{ text/html html; }}\ndefault_type application/octet-stream;\n\
         access_log /dev/null combined buffer=64k flush=1s;\n\
         server {{ listen 127.0.0.1:{PORT}; root {}; }}",
        place.display()
    )
}

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index ^ (index >> 8)) as u8).collect()
}

/// The values of all servers, by turns.
fn samples_of(bench: &Bench, servers: &[Server; 3], clients: &[&str]) -> Result<[Samples; 3]> {
    let mut samples: [Samples; 3] = Default::default();
    for _ in 0..bench.plan.size(9, 1) {
        let mut values: [BTreeMap<String, f64>; 3] = Default::default();
        for (client, (file, size, _)) in clients.iter().flat_map(|it| FILES.map(|file| (it, file)))
        {
            for (server, values) in servers.iter().zip(&mut values) {
                let us = us_a_request(bench, server, client, file, size)?;
                values.insert(name_of(client, file), us);
            }
        }
        for (samples, values) in samples.iter_mut().zip(values) {
            samples.add(values);
        }
    }
    Ok(samples)
}

fn us_a_request(
    bench: &Bench,
    server: &Server,
    client: &str,
    file: &str,
    size: usize,
) -> Result<f64> {
    let processor = Some(bench.processors.contender);
    let running = start_server(&server.program, &server.arguments, processor)?;
    let path = format!("/{file}");
    if body_of(PORT, &path)? != body(size) {
        return Err(format!("{}: another body", server.program.display()));
    }
    if client == H2LOAD {
        return us_by_h2load(&running, PORT, &path, 50);
    }
    let mut taken = Taken::default();
    taken.add_turn(&running, PORT, &path, 50, 2)?;
    Ok(taken.us[0])
}

//! `examples-c/http_server_all_cores.c`, with many clients at once.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use libtest_mimic::Trial;

use super::process::Program;
use super::scenario_trials;
use crate::library;
use crate::running::{self, Running};
use crate::toolchain;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 3] = [
        ("has_the_guides_handlers", has_the_guides_handlers),
        ("serves_many_at_once", serves_many_at_once),
        ("stop_lets_clients_end", stop_lets_clients_end),
    ];
    // The emulator has signals of its own: one may come twice, and a second one ends the clients at once.
    let count = if toolchain::runner().is_some() { 2 } else { 3 };
    scenario_trials("http_server_all_cores_", &scenarios[..count])
}

// The handlers are the guide's, byte for byte.
const GUIDES: [&str; 3] = ["-Wno-unused-parameter", "-Wno-unused-result", "-Wno-sign-compare"];

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct Server {
    running: Running,
    port: u16,
    cores: usize,
}

impl Server {
    fn start() -> Server {
        let running = Program::compile("http_server_all_cores", &GUIDES).start(&["0"]);
        // "[..] [INFO] HTTP server listening on port 40001, on 2 cores"
        let line = running.wait_until("the port", |lines| {
            lines.iter().find(|line| line.contains("listening on port")).cloned()
        });
        let mut numbers = line.rsplit_once("port ").expect("a port").1.split(", on ");
        let port = numbers.next().and_then(|port| port.parse().ok()).expect("a number");
        let cores = numbers.next().and_then(|cores| cores.split(' ').next()?.parse().ok());
        Server { running, port, cores: cores.expect("a number") }
    }

    fn connect(&self) -> TcpStream {
        running::connect(self.port)
    }
}

/// Both servers are to be the guide's, so what serves a connection is its text.
fn has_the_guides_handlers() {
    let [guides, all_cores] = ["http_server", "http_server_all_cores"].map(|name| {
        let path = library::root().join("examples-c").join(name).with_extension("c");
        fs::read_to_string(path).expect("an example")
    });
    let (_, rest) = guides.split_once("// Periodic cleanup task").expect("the guide's");
    let (handlers, _) = rest.split_once("// Accept task").expect("the guide's");
    assert!(all_cores.contains(handlers));
    let added = all_cores.lines().count().saturating_sub(guides.lines().count());
    assert!(added <= 40, "{added} more lines");
}

fn is_answered(mut client: TcpStream) {
    client.write_all(REQUEST).expect("send the request");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("read the answer");
    assert!(answer.ends_with("\r\n\r\nHello, World!"), "{answer:?}");
}

fn serves_many_at_once() {
    const CLIENTS: usize = 300;
    let server = Server::start();
    let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.into_iter().for_each(is_answered);
    server.running.signal(libc::SIGINT);
    let lines = server.running.succeed();
    let of_core = |line: &String| {
        let (core, tasks) = line.strip_prefix("http-")?.split_once(": 0 tasks of ")?;
        Some((core.parse::<usize>().ok()?, tasks.split(',').next()?.parse::<usize>().ok()?))
    };
    let cores: Vec<_> = lines.iter().filter_map(of_core).collect();
    assert_eq!(cores.len(), server.cores, "{lines:?}");
    // Each has one that accepts and one that stops it, and the first one the guide's that cleans up.
    let own = 2 * server.cores + 1;
    assert_eq!(cores.iter().map(|(_, tasks)| tasks).sum::<usize>(), CLIENTS + own, "{lines:?}");
    let fair = CLIENTS / server.cores;
    for (core, tasks) in cores {
        assert!(tasks <= fair + fair / 10 + 6, "core {core} has had {tasks} of {CLIENTS} clients");
    }
}

fn stop_lets_clients_end() {
    let server = Server::start();
    let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    server.running.signal(libc::SIGTERM);
    clients.into_iter().for_each(is_answered);
    server.running.succeed();
}

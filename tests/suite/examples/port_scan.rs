//! `examples-c/port_scan.c`, on ports of the tests' own.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::process::Program;
use super::scenario_trials;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 4] = [
        ("gives_up_in_time", gives_up_in_time),
        ("finds_who_listens", finds_who_listens),
        ("ends_at_a_bad_name", ends_at_a_bad_name),
        ("takes_a_name", takes_a_name),
    ];
    scenario_trials("", &scenarios)
}

/// Where no other test's server listens, which a scan would disturb.
const ADDRESS: &str = "127.0.0.2";

fn finds_who_listens() {
    let program = Program::compile("port_scan", &[]);
    let listeners: Vec<TcpListener> =
        (0..5).map(|_| TcpListener::bind((ADDRESS, 0)).expect("a free port")).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("its address").port();
    let ports: BTreeSet<u16> = listeners.iter().map(port).collect();
    let first = *ports.first().expect("the first one");
    let last = *ports.last().expect("the last one");
    // With few at a time and with the usual number; others may listen in between.
    for at_a_time in [&[][..], &["3"], &["3", "5000"]] {
        let range = [&first.to_string()[..], &last.to_string()];
        let lines = program.start(&[&[ADDRESS], &range[..], at_a_time].concat()).succeed();
        let found: BTreeSet<u16> = lines.iter().map(|line| line.parse().expect("a port")).collect();
        assert!(found.is_superset(&ports), "{found:?} and not {ports:?}");
    }
    // One that is closed is not open.
    drop(listeners);
    let port = first.to_string();
    assert_eq!(program.start(&[ADDRESS, &port, &port]).succeed(), [""; 0]);
}

fn gives_up_in_time() {
    const LIMIT: Duration = Duration::from_millis(300);
    let program = Program::compile("port_scan", &[]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // SAFETY: listen() takes no pointers. A second call changes the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().expect("its address");
    let mut waiting = Vec::new();
    // Until the queue is full, and who comes then is not answered.
    while let Ok(stream) = TcpStream::connect_timeout(&address, LIMIT) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "they are all taken in");
    }
    let port = address.port().to_string();
    let began = Instant::now();
    let limit = LIMIT.as_millis().to_string();
    assert_eq!(program.start(&["127.0.0.1", &port, &port, "10", &limit]).succeed(), [""; 0]);
    assert!(began.elapsed() >= LIMIT);
}

fn ends_at_a_bad_name() {
    let program = Program::compile("port_scan", &[]);
    // No name server is asked for what cannot be a name.
    let mut running = program.start(&["no such name", "1", "2"]);
    assert_eq!(running.wait().code(), Some(1), "{}", running.output());
    let lines = running.stderr();
    assert!(lines.len() == 1 && lines[0].starts_with("port_scan: no such name: "), "{lines:?}");
}

fn takes_a_name() {
    let program = Program::compile("port_scan", &[]);
    // At the address that the name has here, 127.0.0.1 or ::1.
    let listener = TcpListener::bind("localhost:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port().to_string();
    assert_eq!(program.start(&["localhost", &port, &port]).succeed(), [port]);
}

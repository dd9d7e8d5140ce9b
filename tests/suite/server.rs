//! The guide's HTTP server, compiled unchanged with the guide's own flags, as a real process with
//! real clients.
//!
//! The server has port 8080 built in; a preloaded library, `c-tests/server/port.c`, gives each
//! instance another one. Each scenario ends in `Server::stop`, which checks everything that the
//! server printed, and that its counters agree with what the clients did.

pub mod load;
mod process;
mod transcript;

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::library::TempDir;
use libtest_mimic::{Completion, Trial};

pub use process::Server;

use transcript::time_stamp;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
const HALF_A_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: loc";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 13\r\n\
    \r\n\
    Hello, World!";

/// The tasks that the server starts: accept and cleanup.
const OWN_TASKS: u64 = 2;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 10] = [
        ("200_idle_connections_delay_nobody", idle_delay_nobody),
        ("request_one_byte_at_a_time", one_byte_at_a_time),
        ("client_resets_mid_request", reset_mid_request),
        ("client_closes_before_the_answer", close_before_the_answer),
        ("half_close_after_a_request", half_close_after_a_request),
        ("half_close_mid_request", half_close_mid_request),
        ("sigint_prints_metrics_and_exits_0", || stops_on(libc::SIGINT)),
        ("sigterm_prints_metrics_and_exits_0", || stops_on(libc::SIGTERM)),
        ("idle_uses_no_cpu_and_makes_no_wake_ups", idle_costs_nothing),
        ("log_and_metrics_look_like_the_guide", log_and_metrics),
    ];
    let mut trials: Vec<Trial> = scenarios
        .into_iter()
        .map(|(name, scenario)| {
            Trial::test(format!("server::{name}"), move || {
                scenario();
                Ok(())
            })
        })
        .collect();
    trials.push(Trial::ignorable_test("server::curl_gets_the_answer", || Ok(curl())));
    trials.push(Trial::ignorable_test("server::clean_under_memcheck", || Ok(memcheck())));
    trials.extend(load::trials());
    trials
}

// The scenarios.

fn idle_delay_nobody() {
    const IDLE: usize = 200;
    const CLIENTS: usize = 4;
    const REQUESTS_EACH: usize = 250;

    let mut server = Server::start();
    let mut idle = server.open_idle(IDLE);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| (0..REQUESTS_EACH).for_each(|_| server.request()));
        }
    });
    for stream in &idle {
        assert_still_open(stream);
    }
    // An idle connection works like any other: it is served when it sends a request.
    send(&idle[IDLE / 2], REQUEST);
    assert_answer(&idle.swap_remove(IDLE / 2));

    let served = CLIENTS * REQUESTS_EACH;
    let report = server.stop(libc::SIGINT, IDLE + served, served + 1);
    let idle_fds: HashSet<u64> = report.accepted_fds[..IDLE].iter().copied().collect();
    assert_eq!(idle_fds.len(), IDLE, "connections open at one time have different descriptors");
    assert!(report.metrics.peak > OWN_TASKS + IDLE as u64, "at least one client beside the idle");
}

fn one_byte_at_a_time() {
    let mut server = Server::start();
    let slow = server.connect();
    slow.set_nodelay(true).expect("TCP_NODELAY");
    for byte in REQUEST {
        send(&slow, &[*byte]);
        thread::sleep(Duration::from_millis(2));
        server.request();
    }
    assert_answer(&slow);
    let connections = REQUEST.len() + 1;
    server.stop(libc::SIGINT, connections, connections);
}

fn reset_mid_request() {
    let mut server = Server::start();
    for part in [&REQUEST[..0], HALF_A_REQUEST] {
        let stream = server.connect();
        send(&stream, part);
        // Answering another client proves that the server read this part before the reset.
        server.request();
        reset(stream);
        server.request();
    }
    server.stop(libc::SIGINT, 6, 6);
}

fn close_before_the_answer() {
    let mut server = Server::start();

    // A plain close: the answer is written to a socket whose peer does not read.
    let stream = server.connect();
    send(&stream, REQUEST);
    drop(stream);
    server.request();

    // A close and a reset before the server has read the request: the answer's write() raises
    // SIGPIPE, which kills a process that does not handle it. Stopping the server makes the order
    // certain.
    prove_that_the_write_raises_sigpipe();
    server.suspend();
    for _ in 0..8 {
        request_and_abort(server.connect());
    }
    server.signal(libc::SIGCONT);
    server.request();

    server.stop(libc::SIGINT, 11, 11);
}

/// Does what the server does on a connection of its own, to prove that the scenario tests
/// something. The test's own process ignores SIGPIPE, as Rust programs do, and only gets the error.
fn prove_that_the_write_raises_sigpipe() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("the listener's address");
    request_and_abort(TcpStream::connect(address).expect("connect to the listener"));
    let (mut accepted, _) = listener.accept().expect("accept the aborted connection");
    let mut received = vec![0; REQUEST.len()];
    accepted.read_exact(&mut received).expect("the request is still there to read");
    let error = accepted.write_all(RESPONSE).expect_err("the answer's write fails");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "EPIPE comes with SIGPIPE, {error} does not");
}

/// Sends a whole request, ends the stream, and aborts the connection. Only after both the end and
/// the reset does the peer's write() fail with EPIPE; a reset alone gives ECONNRESET.
fn request_and_abort(stream: TcpStream) {
    send(&stream, REQUEST);
    stream.shutdown(Shutdown::Write).expect("end the stream");
    reset(stream);
}

fn half_close_after_a_request() {
    let mut server = Server::start();
    let stream = server.connect();
    send(&stream, REQUEST);
    stream.shutdown(Shutdown::Write).expect("end the stream");
    assert_answer(&stream);
    server.request();
    server.stop(libc::SIGINT, 2, 2);
}

fn half_close_mid_request() {
    let mut server = Server::start();
    let stream = server.connect();
    send(&stream, HALF_A_REQUEST);
    stream.shutdown(Shutdown::Write).expect("end the stream");
    assert_eq!(printable(&receive_all(&stream)), "", "closed without an answer");
    server.request();
    server.stop(libc::SIGINT, 2, 2);
}

fn stops_on(signal: libc::c_int) {
    let mut server = Server::start();
    let idle = server.open_idle(3);
    server.request();
    server.stop(signal, idle.len() + 1, 1);
}

fn idle_costs_nothing() {
    let mut server = Server::start();
    let idle = server.open_idle(50);
    server.request();
    // Waits until all effects of the last request are over.
    thread::sleep(Duration::from_secs(1));

    let before = server.usage();
    thread::sleep(Duration::from_secs(2));
    let after = server.usage();
    assert_eq!(before, after, "nothing ran in 2 s with {} connections open", idle.len());

    server.stop(libc::SIGINT, idle.len() + 1, 1);
}

fn log_and_metrics() {
    let before = time_stamp();
    let mut server = Server::start();
    let idle = server.open_idle(1);
    (0..3).for_each(|_| server.request());
    // Server::stop() checks the format of each line; here are the values.
    let report = server.stop(libc::SIGINT, 4, 3);
    let after = time_stamp();

    assert!(
        report.time_stamps.is_sorted(),
        "time stamps in the order of the lines: {:?}",
        report.time_stamps
    );
    assert!(
        before <= report.time_stamps[0]
            && report.time_stamps[report.time_stamps.len() - 1] <= after,
        "local time from {before} to {after}: {:?}",
        report.time_stamps
    );
    let metrics = &report.metrics;
    assert_eq!(metrics.current, OWN_TASKS + idle.len() as u64, "{metrics:?}");
    // The clients came one after another, and each found the accept task parked.
    assert!(metrics.io_events >= 4, "an event for each connection: {metrics:?}");
    assert_eq!(metrics.cancellations, 0, "{metrics:?}");
}

fn curl() -> Completion {
    if let Some(skipped) = skip_without("curl") {
        return skipped;
    }
    let mut server = Server::start();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "60"])
        .arg(server.url())
        .output()
        .expect("run curl");
    assert!(output.status.success(), "{}: {}", output.status, printable(&output.stderr));
    assert_eq!(printable(&output.stdout), printable(RESPONSE));
    server.stop(libc::SIGINT, 1, 1);
    Completion::Completed
}

fn memcheck() -> Completion {
    if let Some(skipped) = skip_without("valgrind") {
        return skipped;
    }
    if std::env::var_os("MAJJEN_RUNNER").is_some() {
        return Completion::ignored_with("the library is built for another machine");
    }
    let mut server = Server::start_under(&[
        "valgrind",
        "--leak-check=full",
        "--vgdb=no",
        "--error-exitcode=99",
        "--log-file=memcheck.log",
    ]);
    let idle = server.open_idle(5);
    (0..200).for_each(|_| server.request());
    let status = server.end(libc::SIGINT);

    let log = fs::read_to_string(server.directory().join("memcheck.log")).expect("memcheck's log");
    assert!(log.contains("ERROR SUMMARY: 0 errors from 0 contexts"), "{status}, errors:\n{log}");
    assert!(!log.contains("client switching stacks"), "unregistered stacks:\n{log}");
    if !log.contains("All heap blocks were freed -- no leaks are possible") {
        for kind in ["definitely", "indirectly", "possibly"] {
            let nothing = format!("{kind} lost: 0 bytes in 0 blocks");
            assert!(log.contains(&nothing), "{kind} lost:\n{log}");
        }
    }
    server.report(status, idle.len() + 200, 200);
    Completion::Completed
}

/// A server that other code has compiled: it answers, and ends on Ctrl+C as it should.
pub fn serves(command: Command, temp_dir: Arc<TempDir>) {
    let mut server = Server::start_compiled(command, temp_dir);
    (0..20).for_each(|_| server.request());
    server.stop(libc::SIGINT, 20, 20);
}

// A client's steps.

fn send(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("send to the server");
}

fn receive_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("receive until the server closes");
    received
}

fn assert_answer(stream: &TcpStream) {
    assert_eq!(printable(&receive_all(stream)), printable(RESPONSE), "the answer's bytes");
}

fn assert_still_open(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("make the stream non-blocking");
    let peeked = stream.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(peeked, Err(ErrorKind::WouldBlock), "open, with nothing to read");
    stream.set_nonblocking(false).expect("make the stream blocking");
}

/// Closes the connection with a reset, by a linger time of 0.
pub fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open as long as `stream` lives, and pointer and length describe one
    // `linger`.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "SO_LINGER: {}", io::Error::last_os_error());
}

fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn skip_without(tool: &str) -> Option<Completion> {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok();
    (!found).then(|| Completion::ignored_with(format!("{tool} is not installed")))
}

//! The programs in `examples-c/`, each run against a real counterpart: another process, a
//! PostgreSQL server, HTTP clients, promtool. (The guide's server has tests of its own.)
//!
//! The programs check themselves, and end with status 0 only if all is well. Their output is
//! compared with what the test knows: what it sent, how long they ran, and what must have happened
//! in virtual time.

mod all_cores;
mod chat;
mod checksum;
pub mod cluster;
mod http;
mod http_server2;
mod job_server;
mod kv_server;
mod port_scan;
mod process;
mod proxy;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Trial};

use cluster::Cluster;
use process::Program;

use crate::library::TempDir;
use crate::process::run;
use crate::running::{self, PATIENCE, Running};
use crate::toolchain::{find, runner};

/// Trials of scenarios, which panic if they fail. The name of the program is in front of theirs.
fn scenario_trials(program: &str, scenarios: &[(&str, fn())]) -> Vec<Trial> {
    let trial = |&(name, scenario): &(&str, fn())| {
        Trial::test(format!("examples::{program}{name}"), move || {
            scenario();
            Ok(())
        })
    };
    scenarios.iter().map(trial).collect()
}

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 8] = [
        ("wait_hybrid", hybrid),
        ("wait_message_queue", message_queue),
        ("wait_mock", mock),
        ("pipeline", pipeline),
        ("graceful_stop", graceful_stop),
        ("http_metrics_agree_between_two_scrapes", metrics_agree),
        ("http_metrics_drops_slow_clients", slow_clients),
        ("http_metrics_idle_uses_no_cpu", idle_costs_nothing),
    ];
    let mut trials = scenario_trials("", &scenarios);
    trials.push(Trial::ignorable_test("examples::wait_postgresql", || Ok(postgresql())));
    trials.push(Trial::ignorable_test("examples::http_metrics_please_promtool", || Ok(promtool())));
    trials.extend(all_cores::trials());
    trials.extend(chat::trials());
    trials.extend(checksum::trials());
    trials.extend(http_server2::trials());
    trials.extend(job_server::trials());
    trials.extend(kv_server::trials());
    trials.extend(port_scan::trials());
    trials.extend(proxy::trials());
    trials
}

// ---- The wait functions

fn hybrid() {
    const TICK_US: u64 = 2_500;

    let program = Program::compile("wait_hybrid", &["-pthread"]);
    let began = Instant::now();
    let lines = program.start(&[]).succeed();
    let elapsed_us = began.elapsed().as_micros() as u64;

    assert_eq!(
        lines[0],
        "100 questions answered by the epoll set, 100 by the library, of 100 each"
    );
    // Nearly every question had to wake its task, and each source has ended waits.
    let [timer, library, socket] = numbers(&lines[1]);
    assert!(timer >= 10 && library >= 50 && (50..=100).contains(&socket), "{}", lines[1]);
    let [ticks, late_us] = numbers(&lines[2]);
    assert!(ticks >= 10, "the program takes 100 ms at least: {}", lines[2]);
    assert!(ticks * TICK_US <= elapsed_us, "none early: {} in {elapsed_us} us", lines[2]);
    assert!(late_us < elapsed_us, "{} in {elapsed_us} us", lines[2]);
}

fn message_queue() {
    let program = Program::compile("wait_message_queue", &["-lrt"]);
    let running = program.start(&[]);
    let name = CString::new(format!("/majjen-wait-message-queue-{}", running.id())).expect("text");
    let lines = running.succeed();

    let [received, _sender, lost, repeated] = numbers(&lines[0]);
    assert_eq!((received, lost, repeated), (1000, 0, 0), "{lines:?}");
    let [first, second, third, ticks] = numbers(&lines[1]);
    assert_eq!(first + second + third, received, "{lines:?}");
    assert!(first.min(second).min(third) > 0, "all workers had work: {lines:?}");
    assert!(ticks > 0, "{lines:?}");

    // SAFETY: a C string, and flags that need no further argument.
    let queue = unsafe { libc::mq_open(name.as_ptr(), libc::O_RDONLY) };
    let error = std::io::Error::last_os_error();
    assert_eq!((queue, error.raw_os_error()), (-1, Some(libc::ENOENT)), "{name:?} is gone");
}

fn mock() {
    let program = Program::compile("wait_mock", &[]);
    let lines = program.start(&[]).succeed();
    assert_eq!(lines[0], "86400 s: 2880 cleanups, 1920 sessions opened, 1906 closed");
    let digest = simulated_day();
    assert_eq!(lines[1], format!("trace {digest:016x}, again {digest:016x}"));
    let [took_ms] = numbers(&lines[2]);
    assert!(took_ms < 10_000, "{}", lines[2]);

    let again = program.start(&[]).succeed();
    assert_eq!(lines[..2], again[..2], "the same in each run");
}

fn pipeline() {
    const NUMBERS: u64 = 2_000;

    let lines = Program::compile("pipeline", &[]).start(&[]).succeed();
    let steps = |number: u64| {
        let step =
            |&n: &u64| (n != 1).then_some(if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 });
        std::iter::successors(Some(number), step).count() as u64 - 1
    };
    let longest = (1..=NUMBERS).rev().max_by_key(|number| steps(*number)).expect("a number");
    let total: u64 = (1..=NUMBERS).map(steps).sum();
    assert_eq!(numbers(&lines[0]), [NUMBERS, total, longest, steps(longest)]);
    let [least, queued] = numbers(&lines[1]);
    assert!(least > 0 && queued <= 8, "{lines:?}");
    let [stopped] = numbers(&lines[2]);
    assert!((100..120).contains(&stopped), "{lines:?}");
}

fn graceful_stop() {
    let lines = Program::compile("graceful_stop", &[]).start(&[]).succeed();
    assert_eq!(numbers(&lines[0]), [libc::SIGTERM as u64]);
    assert_eq!(numbers(&lines[1]), [4, 4, 4]);
}

/// The day of `wait_mock.c`, computed without tasks: a digest of the events and their times, in
/// order.
fn simulated_day() -> u64 {
    const SESSIONS: usize = 64;
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    let mut note = |second: u64, what: usize| {
        for byte in [second * 1_000_000_000, what as u64].map(u64::to_le_bytes).concat() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    let mut opened_at: [Option<u64>; SESSIONS] = [None; SESSIONS];
    for second in 1..=86_400 {
        // When both are due, the visitor has been waiting longer, and runs first.
        if second % 45 == 0 {
            let place = opened_at.iter().position(Option::is_none).expect("a free place");
            opened_at[place] = Some(second);
            note(second, SESSIONS + 1 + place);
        }
        if second % 30 == 0 {
            for (place, opened_at) in opened_at.iter_mut().enumerate() {
                if opened_at.is_some_and(|at| second - at > 600) {
                    *opened_at = None;
                    note(second, place);
                }
            }
            note(second, SESSIONS);
        }
    }
    digest
}

fn postgresql() -> Completion {
    const HEARTBEAT: Duration = Duration::from_millis(500);
    const QUIET: Duration = Duration::from_millis(2000);
    const COUNT: u64 = 1000;

    if runner().is_some() {
        return Completion::ignored_with("the library is built for another machine");
    }
    let Some(flags) = libpq_flags() else {
        return Completion::ignored_with("libpq-dev is not installed");
    };
    let Some(cluster) = Cluster::start() else {
        return Completion::ignored_with("postgresql is not installed");
    };
    let program = Program::compile("wait_postgresql", &flags.each_ref().map(String::as_str));
    let began = Instant::now();
    let running = program.start(&[&cluster.connection_string(), &COUNT.to_string()]);
    running.wait_for_line("listening");

    let mut sent = 0;
    let mut notifies = |count: u64| {
        sent += count;
        (sent - count + 1..=sent).map(|number| {
            format!("pg_notify('majjen', {number} || ' ' || extract(epoch FROM clock_timestamp()))")
        })
    };
    let in_one_transaction = |calls: &mut dyn Iterator<Item = String>| {
        let calls: String = calls.map(|call| format!("PERFORM {call}; ")).collect();
        format!("DO $$ BEGIN {calls} END $$;\n")
    };
    // In batches, in transactions of 50.
    let bursts: String = (0..10).map(|_| in_one_transaction(&mut notifies(50))).collect();
    cluster.psql(&bursts);
    // One by one, each in its own transaction, between the heartbeats.
    let singles: String =
        notifies(400).map(|call| format!("SELECT {call};\nSELECT pg_sleep(0.002);\n")).collect();
    cluster.psql(&singles);
    // Sessions that connect and disconnect.
    for call in notifies(9) {
        cluster.psql(&format!("SELECT {call};"));
    }
    // Silence: notifications that were read along with an answer have no later one to push them
    // out.
    thread::sleep(QUIET);
    let largest = in_one_transaction(&mut notifies(90));
    cluster.psql(&largest);
    thread::sleep(HEARTBEAT / 2);
    let last = in_one_transaction(&mut notifies(1));
    assert_eq!(sent, COUNT);
    cluster.psql(&last);

    let lines = running.succeed();
    let elapsed = began.elapsed();
    let [received, out_of_order, slowest_ms, _tenths] = numbers(&lines[1]);
    assert_eq!((received, out_of_order), (COUNT, 0), "{lines:?}");
    assert!(u128::from(slowest_ms) < QUIET.as_millis() / 2, "late: {lines:?}");
    let [heartbeats, echoes, late_echoes] = numbers(&lines[2]);
    assert!(heartbeats >= (QUIET.as_millis() / HEARTBEAT.as_millis()) as u64 / 2, "{lines:?}");
    assert!(heartbeats - echoes <= 1, "but for the last one, all came back: {lines:?}");
    assert_eq!(late_echoes, 0, "{lines:?}");
    let [ticks, late_us] = numbers(&lines[3]);
    let due = elapsed.as_millis() as u64 / 10;
    assert!((due / 2..=due).contains(&ticks), "{due} ticks were due: {lines:?}");
    assert!(late_us < 1_000_000, "{lines:?}");

    cluster.stop();
    Completion::Completed
}

/// The flags to compile and link with libpq, if its development files are installed.
pub fn libpq_flags() -> Option<[String; 3]> {
    let directory = |option: &str| {
        let Output { stdout, .. } = Command::new("pg_config").arg(option).output().ok()?;
        Some(String::from_utf8(stdout).expect("a path").trim().to_owned())
    };
    let include = directory("--includedir")?;
    let flags =
        [format!("-I{include}"), format!("-L{}", directory("--libdir")?), "-lpq".to_owned()];
    Path::new(&include).join("libpq-fe.h").exists().then_some(flags)
}

// ---- The server with metrics

/// The server of `http_metrics.c`.
struct Server {
    running: Running,
    port: u16,
}

impl Server {
    fn start(limit: Duration) -> Server {
        let program = Program::compile("http_metrics", &[]);
        let running = program.start(&["0", &limit.as_millis().to_string()]);
        let line = running.wait_for_line("http://127.0.0.1:");
        let port = line
            .strip_prefix("http://127.0.0.1:")
            .and_then(|rest| rest.strip_suffix("/metrics"))
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("{line:?}"));
        Server { running, port }
    }

    fn connect(&self) -> TcpStream {
        running::connect(self.port)
    }

    /// Sends a request, and returns the status and the body of the response.
    fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("send the request");
        answer(stream)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// The metrics by name.
    fn scrape(&self) -> BTreeMap<String, f64> {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200);
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// Ends the server as Ctrl+C does, and returns its output.
    fn stop(self) -> Vec<String> {
        self.running.signal(libc::SIGINT);
        let lines = self.running.succeed();
        assert!(lines.iter().any(|line| line == "=== Majjen Scheduler Metrics ==="), "{lines:?}");
        lines
    }
}

/// Reads a response to its end, and checks its form.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read the answer to its end");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let length = format!("Content-Length: {}", body.len());
    assert!(head.lines().any(|line| line == length), "{length} is missing: {head}");
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    (status.unwrap_or_else(|| panic!("{head:?}")), body.to_owned())
}

fn metrics_agree() {
    const HELLOS: u64 = 25;
    const STRANGERS: u64 = 3;

    let server = Server::start(PATIENCE);
    assert_eq!(server.get("/"), (200, "Hello, World!\n".to_owned()));
    let before = server.scrape();
    assert_metrics_are_consistent(&before);

    for _ in 0..HELLOS {
        assert_eq!(server.get("/"), (200, "Hello, World!\n".to_owned()));
    }
    for _ in 0..STRANGERS {
        assert_eq!(server.get("/stranger").0, 404);
    }
    assert_eq!(server.ask("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi").0, 405);
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8000));
    assert_eq!(server.ask(&endless).0, 431);
    // Clients that disconnect in the middle are not counted.
    for _ in 0..5 {
        let mut stream = server.connect();
        stream.write_all(b"GET /met").expect("send a part of a request");
    }

    let after = server.scrape();
    assert_metrics_are_consistent(&after);
    let grown = |name: &str| after[name] - before[name];
    // A scrape's own response is counted after its text is written: the text includes the first
    // scrape, and not the second.
    assert_eq!(grown(r#"http_answers_total{code="200"}"#), (HELLOS + 1) as f64);
    assert_eq!(grown(r#"http_answers_total{code="404"}"#), STRANGERS as f64);
    assert_eq!(grown(r#"http_answers_total{code="405"}"#), 1.0);
    assert_eq!(grown(r#"http_answers_total{code="431"}"#), 1.0);
    assert_eq!(after[r#"http_answers_total{code="408"}"#], 0.0);
    assert_eq!(after[r#"http_answers_total{code="500"}"#], 0.0);
    let connections = HELLOS + STRANGERS + 2 + 5 + 1;
    assert_eq!(grown("majjen_tasks_created_total"), connections as f64);
    assert!(grown("majjen_task_executions_total") >= connections as f64);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, value) in before.iter().filter(|(name, _)| name.contains("_total")) {
        assert!(after[name] >= *value, "{name} went from {value} back to {}", after[name]);
    }

    let lines = server.stop();
    let created = format!("  Created:       {}", after["majjen_tasks_created_total"]);
    assert!(lines.contains(&created), "{created}: {lines:?}");
}

/// Invariants at any moment, since the text is written without a suspension.
fn assert_metrics_are_consistent(metrics: &BTreeMap<String, f64>) {
    let get = |name: &str| {
        *metrics.get(&format!("majjen_{name}")).unwrap_or_else(|| panic!("no {name}: {metrics:?}"))
    };
    let alive = get("current_tasks");
    assert_eq!(get("tasks_created_total") - get("tasks_exited_total"), alive, "{metrics:?}");
    assert!(alive >= 2.0, "who accepts, and who answers: {metrics:?}");
    assert!(get("peak_tasks") >= alive, "{metrics:?}");
    assert!(get("min_execution_time_seconds") <= get("max_execution_time_seconds"), "{metrics:?}");
    assert!(
        get("execution_time_seconds_total") + get("wait_time_seconds_total")
            <= get("loop_time_seconds_total"),
        "{metrics:?}"
    );
    assert!(get("wait_calls_total") <= get("scheduler_loops_total") * 2.0, "{metrics:?}");
    assert!(get("memory_allocated_bytes") > 0.0, "{metrics:?}");
    for name in ["task_run_time", "timer_lateness"] {
        let [p50, p99, max] =
            ["p50", "p99", "max"].map(|quantile| get(&format!("{name}_{quantile}_seconds")));
        assert!(p50 <= p99 && p99 <= max, "{metrics:?}");
    }
}

fn slow_clients() {
    const LIMIT: Duration = Duration::from_secs(2);

    let server = Server::start(LIMIT);
    let began = Instant::now();
    let silent = server.connect();
    let mut trickling = server.connect();
    let mut staying = server.connect();
    staying.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("send a request");

    // A byte now and then does not extend the deadline.
    let mut trickled = 0;
    while trickling.write_all(b"x").is_ok() {
        trickled += 1;
        assert!(began.elapsed() < PATIENCE, "still taken in");
        thread::sleep(LIMIT / 20);
        if hung_up(&trickling) {
            break;
        }
    }
    assert!(trickled > 1, "the connection was open for some time");
    assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    assert_eq!(answer(silent), (408, "408 Request Timeout\n".to_owned()));
    // Other clients are served, and a client that does not close its side is closed in time too.
    assert_eq!(server.get("/").0, 200);
    assert_eq!(answer(staying).0, 200);
    let metrics = server.scrape();
    assert_eq!(metrics[r#"http_answers_total{code="408"}"#], 2.0, "{metrics:?}");
    while server.scrape()["majjen_current_tasks"] > 2.0 {
        assert!(began.elapsed() < PATIENCE, "connections that nobody has any more are still open");
    }
    server.stop();
}

/// Whether the peer has answered, or closed.
fn hung_up(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("make the stream non-blocking");
    let peeked = stream.peek(&mut [0]).map_err(|error| error.kind());
    stream.set_nonblocking(false).expect("make the stream blocking");
    peeked != Err(ErrorKind::WouldBlock)
}

fn idle_costs_nothing() {
    let server = Server::start(PATIENCE);
    let idle: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    assert_eq!(server.get("/").0, 200);
    let before = server.scrape();
    thread::sleep(Duration::from_secs(1));
    let after = server.scrape();
    assert!(after["majjen_current_tasks"] >= idle.len() as f64 + 2.0, "{after:?}");
    // The waits of the scrapes themselves, and none for the 20 other clients.
    let waits = after["majjen_wait_calls_total"] - before["majjen_wait_calls_total"];
    assert!(waits < 20.0, "{waits} calls of the wait function in a second");
    server.stop();
}

fn promtool() -> Completion {
    if find("promtool").is_none() {
        return Completion::ignored_with("promtool (Debian: prometheus) is not installed");
    }
    let server = Server::start(PATIENCE);
    server.get("/");
    let (status, body) = server.get("/metrics");
    assert_eq!(status, 200);
    let temp_dir = TempDir::new().expect("a directory");
    fs::write(temp_dir.path().join("metrics"), &body).expect("write the metrics");
    let mut promtool = Command::new("sh");
    promtool.args(["-c", "promtool check metrics <metrics"]).current_dir(temp_dir.path());
    let finished = run(&mut promtool, PATIENCE, temp_dir.path()).expect("run promtool");
    assert!(finished.succeeded() && finished.output.is_empty(), "{}\n{body}", finished.describe());
    server.stop();
    Completion::Completed
}

/// The whole numbers in a line, which must be this many.
fn numbers<const COUNT: usize>(line: &str) -> [u64; COUNT] {
    let found: Vec<u64> = line
        .split(|letter: char| !letter.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().expect("digits"))
        .collect();
    found.try_into().unwrap_or_else(|found| panic!("{COUNT} numbers in {line:?}: {found:?}"))
}

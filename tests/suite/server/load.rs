//! The guide's server under load: wrk and ab with 1,000 clients each, while this process opens
//! connections and resets them; with too few descriptors, and with a full disk under its log.
//!
//! The load comes in two halves, each followed by a rest. At rest the server must hold exactly as
//! many descriptors and mappings after the second half as after the first, and memory that differs
//! by at most [`SLACK_KIB`]. Before the first half, as many connections are opened at the same time
//! as the load uses, so that all tables have their final size.
//!
//! `RLIMIT_FSIZE` simulates a full disk for one process, without privileges: a write up to the
//! limit is cut, one beyond it is refused, and a file that is truncated has room again. Only the
//! errno value is another one. A full file system is for the long form.
//!
//! With `MAJJEN_TORTURE` set (`make torture`) a load takes a minute, otherwise a few seconds.

use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Completion, Failed, Trial};

use super::process::{Footprint, Server};
use super::transcript::{ACCEPTED, Report};
use super::{HALF_A_REQUEST, REQUEST, assert_answer, reset, send};
use crate::library::{self, TempDir};
use crate::process;
use crate::program::{self, Link, STRICT};
use crate::running::PATIENCE;
use crate::toolchain::{self, torture};

const CLIENTS: usize = 1000;

/// The permitted difference between two measurements of an idle process's memory. The library keeps
/// 64 idle stacks warm, and which of their pages have been used depends on which connections
/// failed: an error's log line takes some pages more. In the long form it is 4 bytes for each
/// connection.
const SLACK_KIB: u64 = 256 + 64 * 20;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    type Scenario = (&'static str, fn() -> Completion);
    let scenarios: [Scenario; 5] = [
        ("a_thousand_clients", a_thousand_clients),
        ("few_descriptors", few_descriptors),
        ("full_device_under_the_output", full_device_under_the_output),
        ("full_disk_under_the_output", || full_disk_under_the_output(&LIMITED)),
        ("full_disk_under_the_log_file", || full_disk_under_the_log_file(&LIMITED)),
    ];
    let long: [Scenario; 2] = [
        ("full_file_system_under_the_output", || full_disk_under_the_output(&MOUNTED)),
        ("full_file_system_under_the_log_file", || full_disk_under_the_log_file(&MOUNTED)),
    ];
    let cluster = Trial::test("server::load::killed_clients_of_a_cluster", killed_clients);
    scenarios
        .into_iter()
        .chain(long.into_iter().filter(|_| torture()))
        .map(|(name, scenario)| {
            Trial::ignorable_test(format!("server::load::{name}"), move || {
                let missing = ["wrk", "ab"].into_iter().find_map(toolchain::missing);
                raise_descriptor_limit();
                Ok(missing.unwrap_or_else(scenario))
            })
        })
        .chain([cluster])
        .collect()
}

/// Raises this process's limit of descriptors to its maximum: the trials may run side by side.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a whole structure.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

// The scenarios.

fn a_thousand_clients() -> Completion {
    let mut server = Server::start_unwatched(&shell("exec \"$0\" >log"), &[]);
    let before = server.footprint();
    let load = two_halves(&server, before, CLIENTS);
    let left = half_open(&server) as u64;
    let status = server.end(libc::SIGINT);
    assert_eq!(status.code(), Some(0), "{status}; {:?}", server.stderr());
    assert_eq!(server.stderr(), [""; 0], "nothing on stderr");

    let log = fs::read_to_string(server.directory().join("log")).expect("the log");
    let report = Report::parse(&log.lines().map(str::to_owned).collect::<Vec<_>>());
    let accepted = report.accepted_fds.len() as u64;
    assert!(accepted >= load.answers + load.resets, "{accepted} accepted, {load:?}");
    report.assert_consistent(accepted, accepted - left);
    Completion::Completed
}

/// A server on several cores, whose clients are killed at any point: a program that checks itself.
fn killed_clients() -> Result<(), Failed> {
    let temp_dir = TempDir::new()?;
    let source = library::root().join("c-tests/load/killed_clients.c");
    let program = program::compile(&source, &STRICT, Link::Shared, &[], &temp_dir)?;
    let half = if torture() { "30" } else { "1" };
    let limit = Duration::from_secs(300);
    let output = program::run_command(Command::new(program).arg(half), limit, &temp_dir)?;
    println!("{half} s and {half} s: {}", output.lines().last().unwrap_or_default());
    Ok(())
}

/// The accept task only gets errors, and keeps trying: that must not starve the open connections.
fn few_descriptors() -> Completion {
    const LIMIT: usize = 256;
    const WAITING: usize = 20;
    let wrapper = shell("ulimit -n 256 && exec \"$0\" >/dev/null 2>/dev/null");
    let mut server = Server::start_unwatched(&wrapper, &[]);
    let before = server.footprint();

    // More connections than fit. The oldest one has been accepted, and when it is answered the next
    // one takes its place.
    let room = LIMIT - before.descriptors;
    let mut open: VecDeque<TcpStream> = (0..room + WAITING).map(|_| server.connect()).collect();
    for _ in 0..2 * LIMIT {
        wait_until("the limit is reached", || server.footprint().descriptors == LIMIT);
        let oldest = open.pop_front().expect("a connection");
        send(&oldest, REQUEST);
        assert_answer(&oldest);
        open.push_back(server.connect());
    }
    drop(open);

    two_halves(&server, before, room);
    assert_eq!(server.end(libc::SIGINT).code(), Some(0));
    Completion::Completed
}

/// Each write is refused.
fn full_device_under_the_output() -> Completion {
    let mut server = Server::start_unwatched(&shell("exec \"$0\" >/dev/full"), &[]);
    let before = server.footprint();
    two_halves(&server, before, CLIENTS);
    assert_eq!(server.end(libc::SIGINT).code(), Some(0), "{:?}", server.stderr());
    let stderr = server.stderr();
    assert!(
        matches!(&stderr[..], [line] if line.contains("Log lines are being lost: ")),
        "{stderr:?}"
    );
    Completion::Completed
}

/// A disk of [`DISK_BYTES`] that only the server sees.
struct Disk {
    /// A shell command that makes it, as the directory `disk`.
    make: &'static str,
    /// Whether that mounts a file system.
    mounted: bool,
    /// The error that the library reports.
    error: &'static str,
}

const DISK_BYTES: u64 = 64 * 1024;

/// The unit of the limit is 512 bytes. A write beyond it also raises a signal.
const LIMITED: Disk = Disk {
    make: "trap '' XFSZ && ulimit -f 128 && mkdir disk",
    mounted: false,
    error: "File too large",
};

const MOUNTED: Disk = Disk {
    make: "mkdir disk && mount -t tmpfs -o size=64k none disk",
    mounted: true,
    error: "No space left on device",
};

/// Lines are refused completely and partly, until there is room again.
fn full_disk_under_the_output(disk: &Disk) -> Completion {
    on_a_full_disk(disk, "exec \"$0\" >>disk/log", &[])
}

/// The same test with the library's own log file.
fn full_disk_under_the_log_file(disk: &Disk) -> Completion {
    let source = library::root().join("c-tests/load/log_to_file.c");
    let source = source.to_str().expect("a path in UTF-8");
    on_a_full_disk(disk, "MAJJEN_LOG_FILE=disk/log exec \"$0\"", &[source])
}

/// Runs the server by a shell command. Its complete stderr is one line, about the first lost line.
fn on_a_full_disk(disk: &Disk, command: &str, sources: &[&str]) -> Completion {
    // SAFETY: no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let unshare: &[&str] = match (disk.mounted, root) {
        (false, _) => &[],
        (true, true) => &["unshare", "--mount"],
        (true, false) => &["unshare", "--mount", "--user", "--map-root-user"],
    };
    if disk.mounted {
        let temp_dir = TempDir::new().expect("a directory");
        let mut trial = Command::new(unshare[0]);
        trial.args(&unshare[1..]).args(shell(disk.make)).current_dir(temp_dir.path());
        match process::run(&mut trial, PATIENCE, temp_dir.path()) {
            Ok(finished) if finished.succeeded() => {}
            _ => return Completion::ignored_with("no file system may be mounted here"),
        }
    }

    let command = format!("{} && {command}", disk.make);
    let mut server = Server::start_unwatched(&[unshare, &shell(&command)].concat(), sources);
    let log = server.inside("disk/log");
    // Full before the first measurement, as it stays.
    let size = || fs::metadata(&log).expect("the log").len();
    wait_until("the disk is full", || {
        (0..100).for_each(|_| server.request());
        size() == DISK_BYTES
    });
    let before = server.footprint();
    two_halves(&server, before, CLIENTS);
    assert_eq!(size(), DISK_BYTES);

    // Once there is room again, lines are written, and the last one is complete.
    fs::File::options().write(true).truncate(true).open(&log).expect("make room on the disk");
    (0..10).for_each(|_| server.request());
    wait_until("a line is written", || {
        let text = fs::read_to_string(&log).expect("the log");
        let last = text.lines().last().unwrap_or_default();
        text.ends_with('\n') && last.contains("] [INFO] ") && last.contains(ACCEPTED)
    });
    assert_eq!(server.end(libc::SIGINT).code(), Some(0), "{:?}", server.stderr());
    let stderr = server.stderr();
    let said = format!("Log lines are being lost: {}", disk.error);
    assert!(matches!(&stderr[..], [line] if line.contains(&said)), "{stderr:?}");
    Completion::Completed
}

fn shell(command: &str) -> [&str; 3] {
    ["sh", "-c", command]
}

// The load.

/// The clients' counts.
#[derive(Debug, Default)]
struct Load {
    answers: u64,
    resets: u64,
}

/// Loads the server twice, compares its resources after each half, and prints them.
fn two_halves(server: &Server, before: Footprint, at_once: usize) -> Load {
    let half = Duration::from_secs(if torture() { 30 } else { 2 });
    drop((0..at_once).map(|_| server.connect()).collect::<Vec<_>>());
    let mut load = Load::default();
    let [middle, end] = [(); 2].map(|()| {
        let more = put_under_load(server, half);
        load.answers += more.answers;
        load.resets += more.resets;
        server.request();
        at_rest(server, before)
    });
    println!("{half:?} and {half:?}: {load:?}, in the middle {middle:?}, at the end {end:?}");
    assert_eq!(middle.descriptors, end.descriptors, "descriptors at rest");
    // The stacks that are kept warm are in few or in many of the arenas, and these stay. Where each guard is a
    // mapping, a stack is two. What each of the thousands of tasks left behind would be more.
    let slack = if toolchain::on_fallbacks() { 2 * at_once } else { 8 };
    let difference = end.mappings.abs_diff(middle.mappings);
    assert!(difference <= slack, "{difference} more or fewer mappings at rest");
    let grown_kib = end.resident_kib.saturating_sub(middle.resident_kib);
    assert!(grown_kib <= SLACK_KIB, "{grown_kib} KiB more at rest");
    load
}

/// wrk for one half of the time and ab for the other, with resets all the time.
fn put_under_load(server: &Server, time: Duration) -> Load {
    let ended = AtomicBool::new(false);
    let resets = AtomicU64::new(0);
    let mut answers = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                resets.fetch_add(open_and_reset(server.address()), Relaxed);
            }
        });
        let seconds = (time / 2).as_secs();
        // Scoped threads are joined: one that never ends would hide a failure.
        let results = [wrk, ab].map(|client| until_answered(server, seconds, client));
        ended.store(true, Relaxed);
        for result in results {
            let result = result.unwrap_or_else(|failed| panic!("{:?}", failed.message()));
            assert!(result > 0, "the clients got answers");
            answers += result;
        }
    });
    let resets = resets.into_inner();
    assert!(resets > 0, "connections were reset");
    Load { answers, resets }
}

/// Opens four connections, and resets each at a different point. Returns how many were opened: with
/// 1,000 clients the listener's backlog may have no room for more.
fn open_and_reset(address: SocketAddr) -> u64 {
    let mut opened = 0;
    for (part, ends) in
        [(&b""[..], false), (HALF_A_REQUEST, false), (REQUEST, false), (REQUEST, true)]
    {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
            continue;
        };
        opened += 1;
        // These fail if the listener had no room after all.
        let _ = stream.write_all(part);
        if ends {
            let _ = stream.shutdown(Shutdown::Write);
        }
        reset(stream);
    }
    opened
}

/// On a busy machine 1,000 clients may need longer for their first answer than the load takes.
fn until_answered(
    server: &Server,
    seconds: u64,
    client: fn(&Server, &str) -> Result<u64, Failed>,
) -> Result<u64, Failed> {
    let mut answers = Ok(0);
    for seconds in [seconds, 5 * seconds, 20 * seconds] {
        answers = client(server, &seconds.to_string());
        if !matches!(answers, Ok(0)) {
            break;
        }
    }
    answers
}

fn wrk(server: &Server, seconds: &str) -> Result<u64, Failed> {
    let clients = CLIENTS.to_string();
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "2", "--connections", &clients, "--timeout", "30", "--duration"]);
    let output = run_client(wrk.arg(seconds).arg(server.url()))?;
    let before = " requests in ";
    let line = output.lines().find(|line| line.contains(before)).ok_or("wrk has no result")?;
    let answers = line.trim().split(' ').next().unwrap_or_default();
    if output.contains("Non-2xx") {
        return Err(format!("wrong answers:\n{output}").into());
    }
    Ok(answers.parse()?)
}

fn ab(server: &Server, seconds: &str) -> Result<u64, Failed> {
    let clients = CLIENTS.to_string();
    let mut ab = Command::new("ab");
    // The number of requests comes after the time, which would set it.
    ab.args(["-q", "-r", "-c", &clients, "-t", seconds, "-n", "10000000"]);
    let output = run_client(ab.arg(server.url()))?;
    let number = |label: &str| -> Result<u64, Failed> {
        let value = output.lines().find_map(|line| line.strip_prefix(label));
        let value = value.ok_or_else(|| format!("ab does not say {label:?}:\n{output}"))?;
        Ok(value.trim().parse()?)
    };
    if number("Failed requests:")? != 0 || output.contains("Non-2xx") {
        return Err(format!("wrong answers:\n{output}").into());
    }
    number("Complete requests:")
}

fn run_client(command: &mut Command) -> Result<String, Failed> {
    let temp_dir = TempDir::new()?;
    let finished = process::run(command, 3 * PATIENCE, temp_dir.path())?;
    if !finished.succeeded() {
        return Err(format!("{command:?} {}", finished.describe()).into());
    }
    Ok(finished.output)
}

/// The server's resources once it has closed all connections of its clients, which have ended.
/// Connections whose end the kernel has not reported do not count.
fn at_rest(server: &Server, before: Footprint) -> Footprint {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut now = server.footprint();
        now.descriptors -= half_open(server).min(now.descriptors);
        if now.descriptors == before.descriptors {
            return Footprint { descriptors: now.descriptors, ..once_settled(server, deadline) };
        }
        let list = sockets(server).join("\n");
        assert!(Instant::now() < deadline, "{before:?} before, {now:?} at rest:\n{list}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The resources when they do not change any more. Idle stacks release their memory after a whole
/// period of a second, which may take two, and a client that was in the listener's backlog may
/// still arrive.
fn once_settled(server: &Server, deadline: Instant) -> Footprint {
    let mut before = server.footprint();
    loop {
        thread::sleep(Duration::from_millis(2500));
        let now = server.footprint();
        let is_same = (now.resident_kib, now.mappings) == (before.resident_kib, before.mappings);
        if is_same || Instant::now() >= deadline {
            return now;
        }
        before = now;
    }
}

/// How many connections are open in the kernel, with nothing to read, although the client's end is
/// gone. A reset is sent once, and if the listener's backlog is full it may get lost, or overtake
/// the packet that opens the connection.
fn half_open(server: &Server) -> usize {
    let list = sockets(server);
    let sockets: Vec<Vec<&str>> =
        list.iter().map(|line| line.split_whitespace().collect()).collect();
    let port = port_in_hex(server);
    // Its number, local address, remote address, state, and queues.
    let is_half_open = |socket: &&Vec<&str>| match socket[..] {
        [_, local, remote, "01", "00000000:00000000", ..] => {
            local.ends_with(&port) && !sockets.iter().any(|other| other[1] == remote)
        }
        _ => false,
    };
    sockets.iter().filter(is_half_open).count()
}

/// The lines of the kernel's list about connections with the server, at either end, except those
/// that only wait for a timeout.
fn sockets(server: &Server) -> Vec<String> {
    let list = fs::read_to_string("/proc/net/tcp").expect("the list of sockets");
    let port = format!("{} ", port_in_hex(server));
    let is_one = |line: &&str| line.contains(&port) && !line.contains(" 06 ");
    list.lines().filter(is_one).map(str::to_owned).collect()
}

/// The end of an address in that list.
fn port_in_hex(server: &Server) -> String {
    format!(":{:04X}", server.address().port())
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

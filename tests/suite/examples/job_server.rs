//! `examples-c/job_server.c`, with jobs that print, sleep, have children, and never end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use super::process::Program;
use super::scenario_trials;
use crate::library::TempDir;
use crate::running::{PATIENCE, Running};

const LONG: Duration = PATIENCE;

pub fn trials() -> Vec<Trial> {
    let scenarios: [(&str, fn()); 7] = [
        ("hashes_and_runs", hashes_and_runs),
        ("does_jobs_beside_each_other", beside_each_other),
        ("cancels_a_job_and_all_it_has_started", cancels),
        ("keeps_its_limits", limits),
        ("stop_lets_jobs_end", graceful_stop),
        ("stop_cancels_what_takes_too_long", impatient_stop),
        ("a_job_that_prints_without_end_delays_nothing", endless),
    ];
    scenario_trials("job_server_", &scenarios)
}

struct Server {
    running: Running,
    place: TempDir,
}

impl Server {
    fn start(jobs: usize, limit: Duration, stop: Duration) -> Server {
        let place = TempDir::new().expect("a directory");
        let socket = place.path().join("socket");
        let [limit, stop] = [limit, stop].map(|time| time.as_millis().to_string());
        let arguments = [socket.to_str().expect("UTF-8"), &jobs.to_string(), &limit, &stop];
        let running = Program::compile("job_server", &[]).start(&arguments);
        let began = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(began.elapsed() < PATIENCE, "{}", running.output());
            thread::sleep(Duration::from_millis(5));
        }
        Server { running, place }
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("socket")
    }

    /// Sends a line, and is there for the answer.
    fn send(&self, line: &str) -> Answer {
        let mut stream = UnixStream::connect(self.socket()).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("set the read timeout");
        stream.write_all(format!("{line}\n").as_bytes()).expect("send a line");
        Answer(BufReader::new(stream))
    }

    /// A job that has begun, and its number.
    fn job(&self, line: &str) -> (Answer, u64) {
        let mut answer = self.send(line);
        let said = answer.next().expect("an answer");
        let number = said.strip_prefix("job ").and_then(|number| number.parse().ok());
        (answer, number.unwrap_or_else(|| panic!("{said}")))
    }

    /// What a job says, without its number.
    fn does(&self, line: &str) -> Vec<String> {
        self.job(line).0.rest()
    }

    /// How many jobs there are, the number of beats, and how late they are in microseconds.
    fn status(&self) -> [u64; 3] {
        let lines = self.send("STATUS").rest();
        let first = |start: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(start));
            let number = line.and_then(|line| line.split(' ').next()?.parse().ok());
            number.unwrap_or_else(|| panic!("{lines:?}"))
        };
        [first("jobs "), first("beats "), first("late p99 ")]
    }

    /// How late the heartbeat is, from now on.
    fn lateness(&self) -> u64 {
        let until = self.status()[1] + 256;
        loop {
            let [_, beats, late] = self.status();
            if beats >= until {
                return late;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn ends(mut self) {
        assert!(self.running.ends_within(PATIENCE), "{}", self.running.output());
        assert!(!self.socket().exists());
        self.running.succeed();
    }

    fn stops(self) {
        self.running.signal(libc::SIGTERM);
        self.ends();
    }
}

struct Answer(BufReader<UnixStream>);

impl Answer {
    /// The next line; none at the end.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.0.read_line(&mut line).expect("read from the server");
        (bytes > 0).then(|| line.trim_end().to_owned())
    }

    fn rest(mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// Whether a process runs. One that nobody has waited for yet does not.
fn runs(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

fn wait_for_end(pids: &[String]) {
    let began = Instant::now();
    while pids.iter().any(|pid| runs(pid)) {
        assert!(began.elapsed() < PATIENCE, "{pids:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A command that says its number and that of a child, which does not listen to SIGTERM.
const FAMILY: &str = "RUN (trap '' TERM; sleep 100) & echo $$; echo $!; wait";

fn family(server: &Server) -> (Answer, u64, Vec<String>) {
    let (mut answer, number) = server.job(FAMILY);
    let pids = [0; 2].map(|_| answer.next().expect("a number").replace("> ", "")).to_vec();
    assert!(pids.iter().all(|pid| runs(pid)), "{pids:?}");
    (answer, number, pids)
}

fn hashes_and_runs() {
    let server = Server::start(10, LONG, LONG);
    let file = server.place.path().join("file");
    let data: Vec<u8> = (0..100_000_u32).map(|place| (place * 7) as u8).collect();
    fs::write(&file, &data).expect("write a file");
    let hash = format!("hash {:016x}", super::checksum::hash(&data));
    assert_eq!(server.does(&format!("HASH {}", file.display())), [hash]);
    assert_eq!(server.does("HASH /no/such/file"), ["No such file or directory"]);
    assert_eq!(server.does("RUN echo one; echo; echo two >&2"), ["> one", ">", "> two", "exit 0"]);
    assert_eq!(server.does("RUN printf 'no end'; exit 3"), ["> no end", "exit 3"]);
    assert_eq!(server.does("RUN kill -9 $$"), ["exit 137"]);
    assert_eq!(server.send("SING").rest(), ["HASH file, RUN command, CANCEL number or STATUS"]);
    server.stops();
}

/// Each waits for the next one, and the first one's output comes while it runs.
fn beside_each_other() {
    let server = Server::start(10, LONG, LONG);
    let fifo = server.place.path().join("fifo");
    let fifo = fifo.display();
    let (mut reader, _) = server.job(&format!("RUN mkfifo {fifo}; echo ready; cat {fifo}"));
    assert_eq!(reader.next().as_deref(), Some("> ready"));
    assert_eq!(server.status()[0], 1);
    assert_eq!(server.does(&format!("RUN seq 5000 > {fifo}")), ["exit 0"]);
    let mut expected: Vec<String> = (1..=5000).map(|line| format!("> {line}")).collect();
    expected.push("exit 0".to_owned());
    assert_eq!(reader.rest(), expected);
    server.stops();
}

fn cancels() {
    let server = Server::start(10, LONG, LONG);
    let (answer, number, pids) = family(&server);
    assert_eq!(server.send(&format!("CANCEL {number}")).rest(), ["ok"]);
    assert_eq!(answer.rest(), ["Operation canceled"]);
    wait_for_end(&pids);
    for nobody in [number, 0, 1] {
        assert_eq!(server.send(&format!("CANCEL {nobody}")).rest(), ["no such job"]);
    }
    assert_eq!(server.status()[0], 0);
    server.stops();
}

fn limits() {
    let limit = Duration::from_millis(300);
    let server = Server::start(2, limit, LONG);
    let began = Instant::now();
    let (answer, _, pids) = family(&server);
    assert_eq!(answer.rest(), ["out of time"]);
    assert!(began.elapsed() >= limit);
    wait_for_end(&pids);
    server.stops();

    let server = Server::start(2, LONG, LONG);
    let jobs: Vec<_> = (0..2).map(|_| server.job("RUN exec sleep 100")).collect();
    assert_eq!(server.send("RUN true").rest(), ["too many jobs"]);
    assert_eq!(server.status()[0], 2);
    assert_eq!(server.send(&format!("CANCEL {}", jobs[1].1)).rest(), ["ok"]);
    for (answer, number) in jobs.into_iter().rev() {
        server.send(&format!("CANCEL {number}")).rest();
        assert_eq!(answer.rest(), ["Operation canceled"]);
        assert_eq!(server.does("RUN true"), ["exit 0"]);
    }
    server.stops();
}

fn graceful_stop() {
    let server = Server::start(10, LONG, LONG);
    let go_on = server.place.path().join("go on");
    let command = format!("RUN until test -e '{}'; do sleep 0.01; done; echo end", go_on.display());
    let jobs: Vec<_> = (0..3).map(|_| server.job(&command).0).collect();
    server.running.signal(libc::SIGTERM);
    let began = Instant::now();
    while UnixStream::connect(server.socket()).is_ok() {
        assert!(began.elapsed() < PATIENCE, "it takes clients still");
        thread::sleep(Duration::from_millis(5));
    }
    fs::write(go_on, "").expect("write a file");
    for job in jobs {
        assert_eq!(job.rest(), ["> end", "exit 0"]);
    }
    server.ends();
}

fn impatient_stop() {
    // At the limit, or at a second signal.
    for (stop, signals) in [(Duration::from_millis(300), 1), (LONG * 10, 2)] {
        let server = Server::start(10, LONG * 10, stop);
        let (answer, _, pids) = family(&server);
        let began = Instant::now();
        // One that comes between two waits is kept for the next one.
        [libc::SIGTERM, libc::SIGINT][..signals].iter().for_each(|&one| server.running.signal(one));
        assert_eq!(answer.rest(), ["Operation canceled"]);
        assert!(began.elapsed() >= stop.min(Duration::from_millis(300)) || signals == 2);
        wait_for_end(&pids);
        server.ends();
    }
}

fn endless() {
    let server = Server::start(10, LONG, LONG);
    let idle = server.lateness();
    let (mut answer, number) = server.job("RUN yes");
    let reads = thread::spawn(move || {
        let mut count = 0_u64;
        loop {
            match answer.next().expect("an end that is told").as_str() {
                "> y" => count += 1,
                last => return (count, last.to_owned()),
            }
        }
    });
    let busy = server.lateness();
    assert_eq!(server.send(&format!("CANCEL {number}")).rest(), ["ok"]);
    let (count, last) = reads.join().expect("the reader");
    assert_eq!(last, "Operation canceled");
    assert!(count > 10_000, "{count} lines");
    // What the machine does to a server beside a process that is always busy, and its reader, is not its fault.
    assert!(busy <= idle + 50_000, "{busy} us late, {idle} when idle");
    server.stops();
}

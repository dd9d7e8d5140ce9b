//! Does jobs for clients of a Unix socket, several at a time.
//!
//! ```sh
//! cargo run --release --example job_server -- PATH
//! ```
//!
//! A client, such as `nc -U PATH`, sends one line, and reads the answer to its end: `HASH file`, `RUN command`,
//! `CANCEL number` or `STATUS`. On SIGTERM or Ctrl+C it takes no more clients; jobs may go on for some time, and
//! are canceled then.
//!
//! A job is a task of its own, so it can be canceled and be cut off at its limit while its client's task, which
//! waits for it, cleans up and says how it has ended.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use majjen::net::{UnixListener, UnixStream};
use majjen::task::{self, JoinSet, Task};
use majjen::{Scheduler, blocking, process, signal};

const PATIENCE: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);
const LINE_BYTES: u64 = 4096;
const BEAT: Duration = Duration::from_millis(10);
const BEATS: usize = 256;

/// What all clients share.
pub struct Jobs {
    /// How many there may be at a time.
    pub most: usize,
    /// How long each may take.
    pub limit: Duration,
    /// How long they may go on after the signal.
    pub stop: Duration,
    begun: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    late: RefCell<VecDeque<Duration>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("job_server PATH")?;
    let listener = UnixListener::bind(&path)?;
    let scheduler = Scheduler::new()?;
    let jobs = Jobs::new(100, Duration::from_secs(60), Duration::from_secs(10));
    scheduler.spawn(move || serve(listener, &Rc::new(jobs)));
    scheduler.run()?;
    std::fs::remove_file(path)?;
    Ok(())
}

/// Serves clients until SIGTERM or SIGINT, and then for as long as jobs may go on.
pub fn serve(listener: UnixListener, jobs: &Rc<Jobs>) -> majjen::Result<()> {
    let clients = Rc::new(JoinSet::new());
    let (of_acceptor, of_clients) = (jobs.clone(), clients.clone());
    let acceptor = task::spawn(move || {
        for client in listener.incoming() {
            match client {
                Ok(client) => {
                    let jobs = of_acceptor.clone();
                    of_clients.spawn(move || jobs.obey(&Rc::new(client)));
                }
                // Out of descriptors, for example: it may pass.
                Err(_) => drop(task::sleep(Duration::from_millis(10))),
            }
        }
    });
    let of_heart = jobs.clone();
    task::Builder::new().daemon(true).spawn(move || of_heart.beat())?;
    signal::wait(&[signal::SIGTERM, signal::SIGINT])?;
    acceptor.cancel();
    let _ = acceptor.join();
    if clients.wait_timeout(jobs.stop).is_err() {
        jobs.tasks.borrow().values().for_each(Task::cancel);
    }
    clients.wait()
}

impl Jobs {
    /// None yet.
    pub fn new(most: usize, limit: Duration, stop: Duration) -> Jobs {
        let (begun, tasks, late) = Default::default();
        Jobs { most, limit, stop, begun, tasks, late }
    }

    fn obey(&self, client: &Rc<UnixStream>) -> io::Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(&**client).take(LINE_BYTES).read_line(&mut line)?;
        let line = line.trim_end();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("HASH" | "RUN", _) if self.tasks.borrow().len() >= self.most => {
                say(client, "too many jobs")
            }
            ("HASH", path) => {
                let path = path.to_owned();
                self.do_job(client, || blocking::run(move || hash(path.as_ref()))?)
            }
            ("RUN", command) => self.run(client, command),
            ("CANCEL", number) => {
                let job = number.parse().ok().and_then(|it| self.tasks.borrow().get(&it).cloned());
                job.iter().for_each(Task::cancel);
                say(client, if job.is_some() { "ok" } else { "no such job" })
            }
            ("STATUS", _) => say(client, &self.status()),
            _ => say(client, "HASH file, RUN command, CANCEL number or STATUS"),
        }
    }

    /// Runs a job in a task of its own, and says what comes of it.
    fn do_job(
        &self,
        client: &UnixStream,
        work: impl FnOnce() -> io::Result<String> + 'static,
    ) -> io::Result<()> {
        let number = self.begun.get() + 1;
        self.begun.set(number);
        let limit = self.limit;
        say(client, &format!("job {number}"))?;
        let job = task::spawn(move || task::timeout(limit, work));
        self.tasks.borrow_mut().insert(number, job.task().clone());
        let ended = job.join();
        self.tasks.borrow_mut().remove(&number);
        match ended {
            Ok(Ok(Ok(text))) => say(client, &text),
            Ok(Ok(Err(error))) => say(client, &error.to_string()),
            Ok(Err(_elapsed)) => say(client, "out of time"),
            Err(_canceled) => say(client, "Operation canceled"),
        }
    }

    fn run(&self, client: &Rc<UnixStream>, command: &str) -> io::Result<()> {
        let script = format!("exec 2>&1; {command}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = process::spawn_group(&mut shell)?;
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let child = Rc::new(child);
        let (of_job, to) = (child.clone(), client.clone());
        let said = self.do_job(client, move || {
            output.lines().try_for_each(|line| say(&to, &format!("> {}", line?)))?;
            Ok(of_job.wait()?.to_string())
        });
        // The job's task has gone. Its command may be there still, and what that has started.
        Rc::into_inner(child).expect("nobody else has it").end(GRACE)?;
        said
    }

    fn beat(&self) -> majjen::Result<()> {
        let mut due = Instant::now();
        loop {
            due += BEAT;
            task::sleep_until(due)?;
            let mut late = self.late.borrow_mut();
            late.push_back(due.elapsed());
            if late.len() > BEATS {
                late.pop_front();
            }
        }
    }

    fn status(&self) -> String {
        let mut late: Vec<Duration> = self.late.borrow().iter().copied().collect();
        late.sort_unstable();
        let p99 = late.get(late.len() * 99 / 100).copied().unwrap_or_default();
        let count = self.tasks.borrow().len();
        format!("jobs {count} of {}\nlate p99 {} us", self.most, p99.as_micros())
    }
}

fn say(mut client: &UnixStream, text: &str) -> io::Result<()> {
    client.write_all(format!("{text}\n").as_bytes())
}

/// FNV-1a, on a thread of the library.
fn hash(path: &Path) -> io::Result<String> {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut piece) = (0xcbf2_9ce4_8422_2325, [0; 1 << 14]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 || blocking::is_canceled() {
            return Ok(format!("hash {hash:016x}"));
        }
        hash = piece[..count].iter().fold(hash, mix);
    }
}

//! `examples-c/worker_postgres.c`: processes that do the jobs of one queue, and are killed, stopped and cut off
//! while they do. The ledger has a line for each effect of a job, and nothing in it forbids a second one.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::{Completion, Failed, Trial};

use super::servers::{compile_example, not_installed};
use crate::examples::cluster::Cluster;
use crate::examples::libpq_flags;
use crate::library::TempDir;
use crate::program;
use crate::running::{PATIENCE, Running};
use crate::toolchain::torture;

/// What is tried with a queue.
type Scenario = fn(Queue) -> Result<(), Failed>;

/// The trials of this module.
pub fn trials() -> Vec<Trial> {
    let all: [(&str, Scenario); 9] = [
        ("does_all_once_though_it_is_killed", killed),
        ("goes_on_with_a_server_that_has_crashed", server_crashes),
        ("tries_again_and_puts_aside", failures),
        ("is_not_stopped_by_what_the_server_refuses", refused),
        ("asks_whether_the_server_is_there", keeps_alive),
        ("does_more_in_more_processes", scales),
        ("finishes_what_has_begun", stops),
        ("gives_back_what_takes_too_long", gives_back),
        ("hears_of_jobs_or_looks", wakes),
    ];
    let trial = |(name, scenario): (&str, Scenario)| {
        Trial::ignorable_test(format!("hook::worker::{name}"), move || with_queue(scenario))
    };
    all.into_iter().map(trial).collect()
}

/// A queue of its own server, and the program.
struct Queue {
    cluster: Cluster,
    program: PathBuf,
    temp_dir: Arc<TempDir>,
}

fn with_queue(scenario: Scenario) -> Result<Completion, Failed> {
    let Some(flags) = libpq_flags() else { return not_installed("libpq-dev") };
    let settings = ["listen_addresses=", "max_connections=60", "autovacuum_naptime=2s"];
    let Some(cluster) = Cluster::start_with(&settings, 5432, None) else {
        return not_installed("postgresql");
    };
    let temp_dir = Arc::new(TempDir::new()?);
    let program = compile_example("worker_postgres", &flags, &temp_dir)?;
    let queue = Queue { cluster, program, temp_dir };
    queue.say(&["setup"])?;
    scenario(queue)?;
    Ok(Completion::Completed)
}

impl Queue {
    /// Runs a command to its end, and returns what it says.
    fn say(&self, words: &[&str]) -> Result<String, Failed> {
        let mut command = program::command(&self.program);
        command.arg(self.cluster.connection_string()).args(words);
        program::run_command(&mut command, PATIENCE, &self.temp_dir)
    }

    fn enqueue(&self, kind: &str, count: u64, argument: &str) -> Result<(), Failed> {
        self.say(&["enqueue", kind, &count.to_string(), argument]).map(|_| ())
    }

    fn start_worker(&self, options: &[&str]) -> Running {
        let mut command = program::command(&self.program);
        command.arg(self.cluster.connection_string()).arg("work").args(options);
        Running::start(command, libc::SIGKILL, Arc::clone(&self.temp_dir))
    }

    fn count(&self, query: &str) -> u64 {
        let answer = self.cluster.ask(query);
        answer.parse().unwrap_or_else(|_| panic!("{query}: {answer}"))
    }

    fn jobs(&self) -> u64 {
        self.count("select count(*) from worker.jobs")
    }

    fn effects(&self) -> u64 {
        self.count("select count(*) from worker.ledger")
    }

    /// Waits until the answer is this number.
    fn wait_for(&self, query: &str, number: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(query) != number {
            assert!(Instant::now() < deadline, "{query} is {}", self.count(query));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Checks that of jobs 1 to `all` each is in the ledger once, or else dead.
    fn assert_each_once(&self, all: u64) {
        let lost = format!(
            "select count(*) from generate_series(1, {all}) job where job not in \
             (select job from worker.ledger union all select id from worker.dead)"
        );
        assert_eq!(self.count(&lost), 0, "none is lost");
        let doubles = "select count(*) - count(distinct job) from worker.ledger";
        assert_eq!(self.count(doubles), 0, "none has its effect twice");
        let dead = self.count("select count(*) from worker.dead");
        assert_eq!(self.effects() + dead, all, "a dead one has no effect");
    }
}

/// Ends a worker as an administrator does, and returns how many jobs it has done, retried and given up, and how often
/// it has connected again.
fn stop(mut worker: Running) -> [u64; 4] {
    worker.signal(libc::SIGTERM);
    assert!(worker.wait().success(), "{}", worker.output());
    said(&worker)
}

/// The numbers in the last line of a worker that has ended.
fn said(worker: &Running) -> [u64; 4] {
    let lines = worker.stdout();
    let words = lines.last().into_iter().flat_map(|line| line.split([' ', ',']));
    let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    numbers.try_into().unwrap_or_else(|_| panic!("{}", worker.output()))
}

/// Numbers that are random enough to choose whom to kill, and when.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time");
        Random(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn killed(queue: Queue) -> Result<(), Failed> {
    const PROCESSES: usize = 4;
    const BAD: u64 = 20;
    let (good, limit, pause_ms) = if torture() {
        (100_000, Duration::from_secs(1800), 1000)
    } else {
        (3_000, 3 * PATIENCE, 200)
    };
    // Those that take a little make sure that some are under way whenever a process is killed.
    queue.enqueue("flaky", BAD, "")?;
    queue.enqueue("fail", BAD, "")?;
    queue.enqueue("slow", good / 50, "0.01")?;
    queue.enqueue("credit", good - good / 50, "")?;
    let all = good + 2 * BAD;

    let start = || queue.start_worker(&["-n", "4", "-a", "4", "-r", "50", "-p", "500"]);
    let mut workers: Vec<Running> = (0..PROCESSES).map(|_| start()).collect();
    let mut random = Random::new();
    let deadline = Instant::now() + limit;
    let mut kills = 0;
    while queue.jobs() > 0 {
        assert!(Instant::now() < deadline, "{} jobs are left", queue.jobs());
        thread::sleep(Duration::from_millis(random.below(pause_ms)));
        let victim = &mut workers[random.below(PROCESSES as u64) as usize];
        victim.signal(libc::SIGKILL);
        victim.wait();
        kills += 1;
        *victim = start();
    }
    assert!(kills >= 3, "{kills} were killed before all was done");
    for mut worker in workers {
        worker.signal(libc::SIGTERM);
        // One that was just begun may not have come to what it does about the signal.
        let ended_well = worker.wait().success() || worker.output().is_empty();
        assert!(ended_well, "{}", worker.output());
    }
    queue.assert_each_once(all);
    assert_eq!(queue.count("select count(*) from worker.dead where kind = 'fail'"), BAD);
    assert_eq!(queue.count("select count(*) from worker.dead"), BAD, "the others are done");
    eprintln!("worker: {all} jobs, {kills} processes killed");
    queue.cluster.stop();
    Ok(())
}

fn server_crashes(mut queue: Queue) -> Result<(), Failed> {
    const JOBS: u64 = 1500;
    queue.enqueue("slow", JOBS, "0.005")?;
    let workers = [(); 2].map(|()| queue.start_worker(&["-n", "4", "-p", "500"]));
    for (part, signal) in [(1, libc::SIGQUIT), (2, libc::SIGINT)] {
        let deadline = Instant::now() + PATIENCE;
        while queue.effects() < part * JOBS / 4 {
            assert!(Instant::now() < deadline, "{} are done", queue.effects());
            thread::sleep(Duration::from_millis(10));
        }
        queue.cluster.restart(signal);
        assert!(queue.jobs() > 0, "the server is gone in the middle");
    }
    queue.wait_for("select count(*) from worker.jobs", 0);
    let said = workers.map(stop);
    // Four tasks and the one that listens, twice. Of some jobs the worker never heard that they are done.
    assert!(said.iter().all(|it| it[3] >= 10), "all have connected again: {said:?}");
    assert!(said.iter().map(|it| it[0]).sum::<u64>() <= JOBS, "{said:?}");
    assert_eq!(said.map(|it| it[1] + it[2]), [0, 0], "that is no failure of a job");
    queue.assert_each_once(JOBS);
    queue.cluster.stop();
    Ok(())
}

fn failures(queue: Queue) -> Result<(), Failed> {
    queue.enqueue("flaky", 5, "")?;
    queue.enqueue("fail", 5, "")?;
    queue.enqueue("unheard-of", 1, "")?;
    let began = Instant::now();
    let worker = queue.start_worker(&["-n", "3", "-a", "3", "-r", "300", "-p", "60000"]);
    queue.wait_for("select count(*) from worker.jobs", 0);
    // 300 ms and 600 ms, each up to a quarter less. Nobody looks by itself within a minute.
    assert!(began.elapsed() >= Duration::from_millis(675), "{:?}", began.elapsed());
    let [done, retried, died, _] = stop(worker);
    assert_eq!([done, retried, died], [5, 2 * 11, 6]);
    let dead = "select distinct kind, attempts, error from worker.dead order by kind";
    let told = "fail|3|ERROR:  division by zero\nunheard-of|3|no worker knows this kind of job";
    assert_eq!(queue.cluster.ask(dead), told);
    queue.assert_each_once(11);
    let status = queue.say(&["status"])?;
    assert!(status.starts_with("waiting 0, put off 0, dead 6, in the ledger 5\n"), "{status}");
    assert!(status.contains("\ndead: job 11, unheard-of : no worker knows"), "{status}");

    queue.say(&["revive"])?;
    let status = queue.say(&["status"])?;
    assert_eq!(status.trim_end(), "waiting 6, put off 0, dead 0, in the ledger 5");
    assert_eq!(queue.count("select max(id) from worker.jobs"), 11, "they keep their ids");
    queue.cluster.stop();
    Ok(())
}

/// A job whose failure cannot be stored as it is would be the first one for ever, if it were left as it was.
fn refused(queue: Queue) -> Result<(), Failed> {
    queue.cluster.psql(
        "-- The errors of these two are cut, and not within a character, wherever the limit is.
         insert into worker.jobs (kind, argument)
             select 'credit', start || repeat(chr(233), 2000) from unnest(array['', 'x']) start;
         -- One that fails at its commit.
         create function worker.refuse() returns trigger language plpgsql as
             $$ begin raise 'unlucky'; end $$;
         create constraint trigger late after insert on worker.ledger deferrable initially deferred
             for each row when (new.amount = 13) execute function worker.refuse();
         -- One whose error is refused itself.
         alter table worker.jobs add check (error not like '%vocal%');
         alter table worker.dead add check (error not like '%vocal%');",
    );
    queue.enqueue("credit", 1, "13")?;
    queue.enqueue("credit", 1, "vocal")?;
    queue.enqueue("credit", 3, "-5")?;
    let worker = queue.start_worker(&["-n", "2", "-a", "2", "-r", "50", "-p", "500"]);
    queue.wait_for("select count(*) from worker.jobs", 0);
    assert_eq!(stop(worker), [3, 4, 4, 0]);
    let dead = "select id, attempts, case when octet_length(error) in (998, 999) then 'cut' \
                else error end from worker.dead order by id";
    let told = "1|2|cut\n2|2|cut\n3|2|ERROR:  unlucky\n\
                4|2|failed, and its failure could not be stored";
    assert_eq!(queue.cluster.ask(dead), told);
    assert_eq!(queue.cluster.ask("select sum(amount) from worker.ledger"), "-15");
    queue.assert_each_once(7);

    let mut restless = queue.start_worker(&["-p", "0"]);
    assert_eq!(restless.wait().code(), Some(2), "{}", restless.output());
    queue.cluster.stop();
    Ok(())
}

/// A machine that vanishes says nothing. The kernel asks it, and sooner than after two hours, its default.
fn keeps_alive(queue: Queue) -> Result<(), Failed> {
    for (words, limit_s) in [("", 30), ("keepalives_idle=300", 300)] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let mut command = program::command(&queue.program);
        command.arg(format!("host=127.0.0.1 port={port} user=postgres {words}"));
        command.args(["work", "-n", "1"]);
        let _worker = Running::start(command, libc::SIGKILL, Arc::clone(&queue.temp_dir));
        let (mut server, _) = listener.accept()?;
        server.read_exact(&mut [0; 8])?;
        let deadline = Instant::now() + PATIENCE;
        let left_s = loop {
            if let Some(seconds) = until_keepalive(port)? {
                break seconds;
            }
            assert!(Instant::now() < deadline, "the kernel never asks");
            thread::sleep(Duration::from_millis(20));
        };
        // Less by what has gone by.
        assert!(left_s <= limit_s && left_s + 25 > limit_s, "{words}: {left_s} s of {limit_s}");
    }
    queue.cluster.stop();
    Ok(())
}

/// In how many seconds the kernel asks after the other end of a connection to this port; `None` if it does not.
fn until_keepalive(port: u16) -> Result<Option<u64>, Failed> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    let other_end = format!(":{port:04X}");
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // An established connection, whose timer is that of keepalive, in hundredths of seconds.
        let [_, _, to, "01", _, timer, ..] = fields[..] else { continue };
        let Some(left) = timer.strip_prefix("02:") else { continue };
        if to.ends_with(&other_end) {
            return Ok(Some(u64::from_str_radix(left, 16)? / 100));
        }
    }
    Ok(None)
}

/// The processor is not what these jobs need, so four processes could do four times as much. They take turns with the
/// one, and on a machine that is busy with something else the best of some rounds counts.
fn scales(queue: Queue) -> Result<(), Failed> {
    const JOBS: u64 = 60;
    let options = ["-n", "3", "-p", "500"];
    let mut ratios = Vec::new();
    for _ in 0..4 {
        let took = [1, 4].map(|processes| {
            let workers: Vec<Running> =
                (0..processes).map(|_| queue.start_worker(&options)).collect();
            let connected = "select count(*) from pg_stat_activity where query like 'rollback%'";
            queue.wait_for(connected, 3 * processes);
            let began = Instant::now();
            queue.enqueue("slow", JOBS, "0.1").expect("jobs");
            queue.wait_for("select count(*) from worker.jobs", 0);
            let took = began.elapsed();
            workers.into_iter().for_each(|worker| {
                stop(worker);
            });
            took
        });
        let [one, four] = took.map(|it| it.as_secs_f64());
        eprintln!("worker: {JOBS} jobs took {one:.2} s in one process, {four:.2} s in four");
        assert!(one >= 2.0, "each waits for a tenth of a second, three at a time");
        ratios.push(one / four);
        if one / four >= 2.0 {
            queue.cluster.stop();
            return Ok(());
        }
    }
    Err(format!("four processes do only so many times as much as one: {ratios:.1?}").into())
}

/// How many jobs sleep in the server.
const UNDER_WAY: &str = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' \
                         and state = 'active'";

fn stops(queue: Queue) -> Result<(), Failed> {
    const TASKS: u64 = 4;
    queue.enqueue("slow", 3 * TASKS, "1.5")?;
    let mut worker = queue.start_worker(&["-n", "4", "-g", "50000"]);
    queue.wait_for(UNDER_WAY, TASKS);
    worker.signal(libc::SIGTERM);
    assert!(worker.wait().success(), "{}", worker.output());
    let [done, ..] = said(&worker);
    assert!((TASKS..2 * TASKS).contains(&done), "what was under way is done, and no more: {done}");
    assert_eq!((queue.effects(), queue.jobs()), (done, 3 * TASKS - done));
    assert_eq!(worker.stderr(), [""; 0]);

    // One that has nothing to do ends at once, and says nothing.
    queue.cluster.psql("delete from worker.jobs;");
    let idle = queue.start_worker(&["-g", "50000", "-p", "50000"]);
    queue.wait_for("select count(*) from pg_stat_activity where query like 'rollback%'", 8);
    let began = Instant::now();
    idle.signal(libc::SIGINT);
    assert_eq!(idle.succeed(), ["done 0, retried 0, died 0, reconnected 0"]);
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    queue.cluster.stop();
    Ok(())
}

fn gives_back(queue: Queue) -> Result<(), Failed> {
    const TASKS: u64 = 4;
    queue.enqueue("slow", TASKS, "50")?;
    let began = Instant::now();
    let worker = queue.start_worker(&["-n", "4", "-g", "300"]);
    queue.wait_for(UNDER_WAY, TASKS);
    assert_eq!(stop(worker), [0; 4], "none was done, and none has failed");
    // The server sees that they are gone, and the jobs are as they were.
    let free = "select count(*) from (select from worker.jobs where attempts = 0 and error is null \
                for update skip locked) free";
    queue.wait_for(free, TASKS);
    assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    assert_eq!(queue.effects(), 0);
    queue.cluster.stop();
    Ok(())
}

fn wakes(queue: Queue) -> Result<(), Failed> {
    // Longer than a test takes: who does the job has heard of it.
    let worker = queue.start_worker(&["-n", "3", "-p", "90000000"]);
    for count in 1..=3 {
        thread::sleep(Duration::from_millis(100));
        queue.enqueue("credit", 1, "")?;
        queue.wait_for("select count(*) from worker.ledger", count);
    }
    // One notice of three jobs: each of the tasks has one.
    queue.enqueue("slow", 3, "2")?;
    queue.wait_for(UNDER_WAY, 3);
    assert_eq!(stop(worker)[0], 6);
    // Nobody is told any more.
    queue.cluster.psql("drop trigger ring on worker.jobs;");
    let worker = queue.start_worker(&["-n", "2", "-p", "200"]);
    queue.wait_for("select count(*) from pg_stat_activity where query like 'rollback%'", 2);
    queue.enqueue("credit", 1, "")?;
    queue.wait_for("select count(*) from worker.ledger", 7);
    assert_eq!(stop(worker)[0], 1);
    queue.cluster.stop();
    Ok(())
}

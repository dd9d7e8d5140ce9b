//! may: tasks with stacks, on one worker thread. Its timers are another thread's, and so not in row 3.

#[path = "../contender.rs"]
mod contender;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::Duration;

use contender::*;
use may::coroutine::{self, yield_now};
use may::go;

fn main() {
    may::config().set_workers(1);
    match test().as_str() {
        "yield" => test_yield(),
        "spawn" => test_spawn(),
        "lateness" => test_lateness(),
        "parked" => test_parked(),
        "serve" => test_serve(),
        test => panic!("no test {test:?}"),
    }
}

/// Plain cells would do on one worker, but tasks must be `Send`. Loads and stores, no locked instructions.
struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
    fn count_up(&self) -> u64 {
        let before = self.get();
        self.set(before + 1);
        before
    }
}

// ---- row 1

struct Ring {
    rounds: Counter,
    started: Counter,
    yields: Counter,
    last: Counter,
    alone: Counter,
    begin_yields: Counter,
    begin_ns: Counter,
    end_yields: Counter,
    end_ns: Counter,
    body_uses: [Counter; 16],
}

static RING: Ring = Ring {
    rounds: Counter::new(),
    started: Counter::new(),
    yields: Counter::new(),
    last: Counter::new(),
    alone: Counter::new(),
    begin_yields: Counter::new(),
    begin_ns: Counter::new(),
    end_yields: Counter::new(),
    end_ns: Counter::new(),
    body_uses: [const { Counter::new() }; 16],
};

/// `BODY` makes a function of its own, with a call of its own.
fn take_turns<const BODY: usize>() {
    let me = RING.started.count_up();
    yield_now();
    if me == 0 {
        RING.begin_yields.set(RING.yields.get());
        RING.begin_ns.set(cpu_ns());
    }
    for _ in 0..RING.rounds.get() {
        if RING.last.get() == me {
            RING.alone.count_up();
        }
        RING.last.set(me);
        RING.yields.count_up();
        yield_now();
    }
    if me == 0 {
        RING.end_ns.set(cpu_ns());
        RING.end_yields.set(RING.yields.get());
    }
    RING.body_uses[BODY].count_up();
}

fn test_yield() {
    let (tasks, bodies) = (argument("tasks"), argument("bodies"));
    RING.rounds.set(argument("rounds"));
    RING.last.set(u64::MAX);
    let spawner = go!(move || {
        let mut handles = Vec::new();
        for index in 0..tasks {
            macro_rules! spawn_one_of {
                ($($body:literal)*) => {
                    match index % bodies {
                        $($body => go!(take_turns::<$body>),)*
                        _ => unreachable!(),
                    }
                };
            }
            handles.push(spawn_one_of!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15));
        }
        handles
    });
    for handle in spawner.join().unwrap() {
        handle.join().unwrap();
    }
    let used = RING.body_uses.iter().filter(|uses| uses.get() > 0).count() as u64;
    assert_eq!(used, bodies.min(tasks));
    report("work", RING.yields.get() as f64);
    report("alone", RING.alone.get() as f64);
    let ns = RING.end_ns.get() - RING.begin_ns.get();
    report("ns", ns as f64 / (RING.end_yields.get() - RING.begin_yields.get()) as f64);
}

// ---- row 2

fn test_spawn() {
    static ENDED: Counter = Counter::new();
    const BATCH: u64 = 100;
    let batches = argument("count") / BATCH;
    let spawner = go!(move || {
        let mut took = 0;
        for batches in [1, batches] {
            ENDED.set(0);
            let began = cpu_ns();
            for _ in 0..batches {
                // Not by yielding until they have ended: a task that yields is preferred to new ones.
                let batch: Vec<_> = (0..BATCH).map(|_| go!(|| ENDED.count_up())).collect();
                batch.into_iter().for_each(|task| drop(task.join().unwrap()));
            }
            took = cpu_ns() - began;
        }
        took
    });
    let took = spawner.join().unwrap();
    report("work", ENDED.get() as f64);
    report("ns", took as f64 / ENDED.get() as f64);
}

// ---- row 4

fn test_lateness() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let (count, busy) = (argument("count"), argument("busy") != 0);
    let sleeper = go!(move || {
        if busy {
            go!(|| {
                while !DONE.load(Acquire) {
                    yield_now();
                }
            });
        }
        let mut lateness = Vec::new();
        for index in 0..count {
            let length_ns = sleep_length_ns(index);
            let began_ns = wall_ns();
            coroutine::sleep(Duration::from_nanos(length_ns));
            lateness.push((wall_ns() - began_ns) as i64 - length_ns as i64);
        }
        DONE.store(true, Release);
        lateness
    });
    report_lateness(sleeper.join().unwrap());
}

// ---- row 5

fn test_parked() {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let count = argument("count");
    let (memory_before, tables_before) = resident_bytes();
    let began = cpu_ns();
    let spawner = go!(move || {
        for _ in 0..count {
            go!(|| {
                STARTED.fetch_add(1, AcqRel);
                coroutine::sleep(Duration::from_secs(3600));
            });
        }
        while STARTED.load(Acquire) < count {
            coroutine::sleep(Duration::from_millis(1));
        }
    });
    spawner.join().unwrap();
    let took = cpu_ns() - began;
    let (memory, tables) = resident_bytes();
    report("work", STARTED.load(Acquire) as f64);
    report("ns", took as f64 / count as f64);
    report("bytes", (memory as f64 - memory_before as f64) / count as f64);
    report("page_table_bytes", (tables as f64 - tables_before as f64) / count as f64);
    std::process::exit(0);
}

// ---- rows 6 to 8

fn test_serve() {
    let (kind, log) = (argument("kind"), argument("log") != 0);
    let server = go!(move || {
        // SAFETY: a descriptor that nobody else owns.
        let listener: may::net::TcpListener =
            unsafe { std::os::fd::FromRawFd::from_raw_fd(listen().into_raw_fd()) };
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            if log {
                log_accepted(stream.as_raw_fd());
            }
            go!(move || {
                let mut conversation = Conversation::new(kind);
                while let Ok(bytes) = stream.read(conversation.room()) {
                    if bytes == 0 {
                        break;
                    }
                    if let Some(answer) = conversation.answer(bytes)
                        && (stream.write_all(answer).is_err() || kind == SERVE_ONCE)
                    {
                        break;
                    }
                }
            });
        }
    });
    server.join().unwrap();
}

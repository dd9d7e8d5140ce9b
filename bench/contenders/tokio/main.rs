//! tokio: tasks without stacks (futures), on its single-threaded runtime; in row 14 also on the other one.

#[path = "../contender.rs"]
mod contender;
mod cores;
#[path = "../threads.rs"]
mod threads;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use contender::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::sleep;

fn main() {
    match test().as_str() {
        "yield" => run(test_yield()),
        "spawn" => run(test_spawn()),
        "timers" => run(test_timers()),
        "lateness" => run(test_lateness()),
        "parked" => run(test_parked()),
        "serve" => run(test_serve()),
        "lifecycle" => test_lifecycle(),
        "posts" => run(test_posts()),
        "post_once" => run(test_post_once()),
        "elements" => run(test_elements()),
        "offload" => run(test_offload()),
        "made" => cores::test_made(),
        "serve_on_cores" => cores::test_serve_on_cores(),
        "serve_jobs" => cores::test_serve_jobs(),
        "round_trips" => cores::test_round_trips(),
        "messages" => cores::test_messages(),
        test => panic!("no test {test:?}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs a test and the tasks that it spawns.
fn run(test: impl Future<Output = ()>) {
    runtime().block_on(test);
}

// ---- row 1

thread_local!(static RING: Ring = Ring::default());

#[derive(Default)]
struct Ring {
    rounds: Cell<u64>,
    started: Cell<u64>,
    yields: Cell<u64>,
    last: Cell<u64>,
    alone: Cell<u64>,
    begin: Cell<(u64, u64)>,
    end: Cell<(u64, u64)>,
    body_uses: RefCell<[u64; 16]>,
}

fn with<T>(cell: impl Fn(&Ring) -> &Cell<T>, update: impl Fn(T) -> T) -> T
where
    T: Copy,
{
    RING.with(|ring| {
        let before = cell(ring).get();
        cell(ring).set(update(before));
        before
    })
}

/// What each task does; `BODY` makes a future of a type of its own, with a poll function of its own.
async fn take_turns<const BODY: usize>() {
    let me = with(|ring| &ring.started, |started| started + 1);
    yield_now().await;
    if me == 0 {
        RING.with(|ring| ring.begin.set((ring.yields.get(), cpu_ns())));
    }
    for _ in 0..RING.with(|ring| ring.rounds.get()) {
        RING.with(|ring| {
            ring.alone.set(ring.alone.get() + u64::from(ring.last.get() == me));
            ring.last.set(me);
            ring.yields.set(ring.yields.get() + 1);
        });
        yield_now().await;
    }
    if me == 0 {
        RING.with(|ring| ring.end.set((ring.yields.get(), cpu_ns())));
    }
    RING.with(|ring| ring.body_uses.borrow_mut()[BODY] += 1);
}

async fn test_yield() {
    let (tasks, bodies) = (argument("tasks"), argument("bodies"));
    RING.with(|ring| {
        ring.rounds.set(argument("rounds"));
        ring.last.set(u64::MAX);
    });
    let mut handles = Vec::new();
    for index in 0..tasks {
        macro_rules! spawn_one_of {
            ($($body:literal)*) => {
                match index % bodies {
                    $($body => tokio::spawn(take_turns::<$body>()),)*
                    _ => unreachable!(),
                }
            };
        }
        handles.push(spawn_one_of!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15));
    }
    for handle in handles {
        handle.await.unwrap();
    }
    RING.with(|ring| {
        let used = ring.body_uses.borrow().iter().filter(|uses| **uses > 0).count() as u64;
        assert_eq!(used, bodies.min(tasks));
        let ((yields, ns), (end_yields, end_ns)) = (ring.begin.get(), ring.end.get());
        report("work", ring.yields.get() as f64);
        report("alone", ring.alone.get() as f64);
        report("ns", (end_ns - ns) as f64 / (end_yields - yields) as f64);
    });
}

// ---- row 2

thread_local!(static ENDED: Cell<u64> = const { Cell::new(0) });

async fn test_spawn() {
    const BATCH: u64 = 100;
    let batches = argument("count") / BATCH;
    let mut took = 0;
    for batches in [1, batches] {
        ENDED.set(0);
        let began = cpu_ns();
        for batch in 1..=batches {
            for _ in 0..BATCH {
                tokio::spawn(async { ENDED.set(ENDED.get() + 1) });
            }
            while ENDED.get() < batch * BATCH {
                yield_now().await;
            }
        }
        took = cpu_ns() - began;
    }
    report("work", ENDED.get() as f64);
    report("ns", took as f64 / ENDED.get() as f64);
}

// ---- row 3

#[derive(Default)]
struct Sleepers {
    started: Cell<u64>,
    turned: Cell<u64>,
    asleep: Cell<u64>,
    woken: Cell<u64>,
    ended: Cell<u64>,
    first_woken_ns: Cell<u64>,
}

fn count_up(counter: &Cell<u64>) -> u64 {
    counter.replace(counter.get() + 1)
}

async fn test_timers() {
    let local = LocalSet::new();
    local.run_until(timers()).await;
}

async fn timers() {
    let (count, rounds, cancel) = (argument("count"), argument("rounds"), argument("cancel") != 0);
    let (least_ns, spread_ns) = (argument("least_ns"), argument("spread_ns"));
    let delays: Rc<[u64]> = random_delays(count, least_ns, spread_ns).into();
    let order = random_order(count);
    let [mut create, mut turn, mut insert, mut pop, mut wake, mut end] = [0.0; 6];
    let mut work = 0;
    for _ in 0..rounds {
        let state = Rc::new(Sleepers::default());
        let mut handles = Vec::with_capacity(count as usize);
        let began = cpu_ns();
        for index in 0..count as usize {
            let (state, delays) = (state.clone(), delays.clone());
            handles.push(spawn_local(async move {
                count_up(&state.started);
                yield_now().await;
                count_up(&state.turned);
                yield_now().await;
                count_up(&state.asleep);
                sleep(Duration::from_nanos(delays[index])).await;
                if count_up(&state.woken) == 0 {
                    state.first_woken_ns.set(cpu_ns());
                }
                yield_now().await;
                count_up(&state.ended);
            }));
        }
        while state.started.get() < count {
            yield_now().await;
        }
        let created = cpu_ns();
        while state.turned.get() < count {
            yield_now().await;
        }
        let (turned, began_wall) = (cpu_ns(), wall_ns());
        while state.asleep.get() < count {
            yield_now().await;
        }
        let inserted = cpu_ns();
        assert!(state.woken.get() == 0 && wall_ns() - began_wall < least_ns, "too slow");
        let due;
        if cancel {
            due = cpu_ns();
            for index in &order {
                handles[*index].abort();
            }
            pop += (cpu_ns() - due) as f64;
            for handle in &mut handles {
                assert!(handle.await.unwrap_err().is_cancelled());
                work += 1;
            }
        } else {
            pass_time(least_ns + spread_ns + 2_000_000);
            assert_eq!(state.woken.get(), 0);
            due = cpu_ns();
            while state.woken.get() < count {
                yield_now().await;
            }
            pop += (state.first_woken_ns.get() - due) as f64;
        }
        let woken = cpu_ns();
        if !cancel {
            while state.ended.get() < count {
                yield_now().await;
            }
            work += state.ended.get();
        }
        let ended = cpu_ns();
        create += (created - began) as f64;
        turn += (turned - created) as f64;
        insert += (inserted - turned) as f64;
        wake += (woken - due) as f64;
        end += (ended - woken) as f64;
    }
    let each = (count * rounds) as f64;
    report("work", work as f64);
    report("create_ns", create / each);
    report("turn_ns", turn / each);
    report("insert_ns", insert / each);
    report("pop_ns", pop / each);
    report(if cancel { "cancel_ns" } else { "expire_ns" }, wake / each);
    report("end_ns", end / each);
    report("whole_ns", (create + insert + wake + end) / each);
}

// ---- row 4

async fn test_lateness() {
    let local = LocalSet::new();
    let lateness = Rc::new(RefCell::new(Vec::new()));
    let filled = lateness.clone();
    local
        .run_until(async move {
            let done = Rc::new(Cell::new(false));
            if argument("busy") != 0 {
                let done = done.clone();
                spawn_local(async move {
                    while !done.get() {
                        yield_now().await;
                    }
                });
            }
            let sleeper = spawn_local(async move {
                for index in 0..argument("count") {
                    let length_ns = sleep_length_ns(index);
                    let began_ns = wall_ns();
                    sleep(Duration::from_nanos(length_ns)).await;
                    filled.borrow_mut().push((wall_ns() - began_ns) as i64 - length_ns as i64);
                }
            });
            sleeper.await.unwrap();
            done.set(true);
        })
        .await;
    report_lateness(lateness.take());
}

// ---- row 5

async fn test_parked() {
    thread_local!(static STARTED: Cell<u64> = const { Cell::new(0) });
    let count = argument("count");
    let (memory_before, tables_before) = resident_bytes();
    let began = cpu_ns();
    for _ in 0..count {
        tokio::spawn(async {
            STARTED.set(STARTED.get() + 1);
            sleep(Duration::from_secs(3600)).await;
        });
    }
    while STARTED.get() < count {
        yield_now().await;
    }
    let took = cpu_ns() - began;
    let (memory, tables) = resident_bytes();
    report("work", STARTED.get() as f64);
    report("ns", took as f64 / count as f64);
    report("bytes", (memory as f64 - memory_before as f64) / count as f64);
    report("page_table_bytes", (tables as f64 - tables_before as f64) / count as f64);
    std::process::exit(0); // Ending the others is not part of the work.
}

// ---- rows 6 to 8

async fn test_serve() {
    use std::os::fd::AsRawFd;
    let (kind, log) = (argument("kind"), argument("log") != 0);
    let listener = tokio::net::TcpListener::from_std(listen()).unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        if log {
            log_accepted(stream.as_raw_fd());
        }
        tokio::spawn(async move {
            let mut conversation = Conversation::new(kind);
            while let Ok(bytes) = stream.read(conversation.room()).await {
                if bytes == 0 {
                    break;
                }
                if let Some(answer) = conversation.answer(bytes)
                    && (stream.write_all(answer).await.is_err() || kind == SERVE_ONCE)
                {
                    break;
                }
            }
        });
    }
}

// ---- row 10

fn test_lifecycle() {
    let count = argument("count");
    let began = cpu_ns();
    for _ in 0..count {
        drop(runtime());
    }
    let took = cpu_ns() - began;
    report("work", count as f64);
    report("ns", took as f64 / count as f64);
}

// ---- row 11

async fn test_posts() {
    use std::sync::atomic::Ordering::Relaxed;
    let count = argument("count");
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<threads::Posted>(16_384);
    let shared = threads::Shared::default();
    let began = (wall_ns(), cpu_ns());
    let posters = threads::post_many(count, move |posted| sender.try_send(posted).is_ok());
    while shared.begun.load(Relaxed) < count {
        let (function, argument) = receiver.recv().await.unwrap();
        function(&shared, argument);
    }
    threads::report_posts(&shared, count, began);
    posters.into_iter().for_each(|poster| poster.join().unwrap());
}

async fn test_post_once() {
    use std::sync::atomic::Ordering::Relaxed;
    let (count, idle) = (argument("count"), argument("idle") != 0);
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<threads::Posted>(16_384);
    let shared = std::sync::Arc::new(threads::Shared::default());
    let poster = threads::post_one_by_one(&shared, count, idle, move |posted| {
        sender.try_send(posted).is_ok()
    });
    while shared.begun.load(Relaxed) < count {
        let (function, argument) = if idle {
            receiver.recv().await.unwrap()
        } else {
            loop {
                match receiver.try_recv() {
                    Ok(posted) => break posted,
                    Err(_) => yield_now().await,
                }
            }
        };
        function(&shared, argument);
    }
    poster.join().unwrap();
    threads::report_post_once(&shared);
}

async fn test_elements() {
    let count = argument("count");
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<u64>(16_384);
    let began = (wall_ns(), cpu_ns());
    let thread =
        threads::send_elements(count, move |element| sender.blocking_send(element).unwrap());
    let mut sum = 0;
    while let Some(element) = receiver.recv().await {
        sum += element;
        if element == count {
            break;
        }
    }
    threads::report_elements(count, sum, began);
    thread.join().unwrap();
}

#[derive(Default)]
struct Offloads {
    begun: Cell<u64>,
    began: Cell<(u64, u64)>,
    took_ns: RefCell<Vec<i64>>,
}

async fn test_offload() {
    let (count, tasks) = (argument("count"), argument("tasks"));
    let offloads = Rc::new(Offloads::default());
    let local = LocalSet::new();
    local
        .run_until(async {
            let each = |_| {
                let offloads = offloads.clone();
                spawn_local(async move {
                    while offloads.begun.get() < count {
                        offloads.begun.set(offloads.begun.get() + 1);
                        let began = wall_ns();
                        tokio::task::spawn_blocking(|| ()).await.unwrap();
                        let mut took_ns = offloads.took_ns.borrow_mut();
                        if took_ns.len() as u64 == count / 10 {
                            offloads.began.set((wall_ns(), cpu_ns()));
                        }
                        took_ns.push((wall_ns() - began) as i64);
                    }
                })
            };
            let tasks: Vec<_> = (0..tasks).map(each).collect();
            for task in tasks {
                task.await.unwrap();
            }
        })
        .await;
    let (wall, cpu) = offloads.began.get();
    let measured = (count - count / 10) as f64;
    report("ns", (wall_ns() - wall) as f64 / measured);
    report("cpu_ns", (cpu_ns() - cpu) as f64 / measured);
    report_lateness(offloads.took_ns.take());
}

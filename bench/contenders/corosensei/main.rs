//! corosensei: coroutines with stacks, and nothing else. The run queue is this program's own, the least that takes
//! turns: no timers, no descriptors, no counters. So it is what a switch costs, not what a runtime does.

#[path = "../contender.rs"]
mod contender;

use std::cell::Cell;
use std::collections::VecDeque;

use contender::*;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

type Task = Coroutine<(), (), (), DefaultStack>;

fn main() {
    match test().as_str() {
        "yield" => test_yield(),
        "spawn" => test_spawn(),
        "parked" => test_parked(),
        test => panic!("no test {test:?}"),
    }
}

/// Runs tasks in turn until all have ended. Their stacks go to `stacks`.
fn run(queue: &mut VecDeque<Task>, stacks: &mut Vec<DefaultStack>) {
    while let Some(mut task) = queue.pop_front() {
        match task.resume(()) {
            CoroutineResult::Yield(()) => queue.push_back(task),
            CoroutineResult::Return(()) => stacks.push(task.into_stack()),
        }
    }
}

// ---- row 1

#[derive(Default)]
struct Ring {
    started: Cell<u64>,
    yields: Cell<u64>,
    last: Cell<u64>,
    alone: Cell<u64>,
    begin: Cell<(u64, u64)>,
    end: Cell<(u64, u64)>,
    body_uses: [Cell<u64>; 16],
}

/// `BODY` makes a function of its own, with a call of its own. Through a function that is not inlined, as a call
/// into a library is.
fn take_turns<const BODY: usize>(ring: &'static Ring, rounds: u64, yielder: &Yielder<(), ()>) {
    let me = ring.started.replace(ring.started.get() + 1);
    yield_now(yielder);
    if me == 0 {
        ring.begin.set((ring.yields.get(), cpu_ns()));
    }
    for _ in 0..rounds {
        ring.alone.set(ring.alone.get() + u64::from(ring.last.get() == me));
        ring.last.set(me);
        ring.yields.set(ring.yields.get() + 1);
        yield_now(yielder);
    }
    if me == 0 {
        ring.end.set((ring.yields.get(), cpu_ns()));
    }
    ring.body_uses[BODY].set(ring.body_uses[BODY].get() + 1);
}

#[inline(never)]
fn yield_now(yielder: &Yielder<(), ()>) {
    yielder.suspend(());
}

fn test_yield() {
    let (tasks, bodies, rounds) = (argument("tasks"), argument("bodies"), argument("rounds"));
    let ring: &'static Ring = Box::leak(Box::default());
    ring.last.set(u64::MAX);
    let mut queue = VecDeque::new();
    for index in 0..tasks {
        macro_rules! spawn_one_of {
            ($($body:literal)*) => {
                match index % bodies {
                    $($body => Task::new(move |yielder, ()| take_turns::<$body>(ring, rounds, yielder)),)*
                    _ => unreachable!(),
                }
            };
        }
        queue.push_back(spawn_one_of!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15));
    }
    run(&mut queue, &mut Vec::new());
    let used = ring.body_uses.iter().filter(|uses| uses.get() > 0).count() as u64;
    assert_eq!(used, bodies.min(tasks));
    let ((yields, ns), (end_yields, end_ns)) = (ring.begin.get(), ring.end.get());
    report("work", ring.yields.get() as f64);
    report("alone", ring.alone.get() as f64);
    report("ns", (end_ns - ns) as f64 / (end_yields - yields) as f64);
}

// ---- row 2

fn test_spawn() {
    thread_local!(static ENDED: Cell<u64> = const { Cell::new(0) });
    const BATCH: u64 = 100;
    let batches = argument("count") / BATCH;
    let (mut queue, mut stacks, mut took) = (VecDeque::new(), Vec::new(), 0);
    for batches in [1, batches] {
        ENDED.set(0);
        let began = cpu_ns();
        for _ in 0..batches {
            for _ in 0..BATCH {
                let stack = stacks.pop().unwrap_or_default();
                queue.push_back(Task::with_stack(stack, |_, ()| ENDED.set(ENDED.get() + 1)));
            }
            run(&mut queue, &mut stacks);
        }
        took = cpu_ns() - began;
    }
    report("work", ENDED.get() as f64);
    report("ns", took as f64 / ENDED.get() as f64);
}

// ---- row 5

fn test_parked() {
    let count = argument("count");
    let mut tasks = Vec::with_capacity(count as usize);
    let (memory_before, tables_before) = resident_bytes();
    let began = cpu_ns();
    let mut started = 0;
    for _ in 0..count {
        let Ok(stack) = DefaultStack::new(1 << 20) else {
            eprintln!("no stack for task {started}: {}", std::io::Error::last_os_error());
            std::process::exit(1);
        };
        let mut task = Task::with_stack(stack, |yielder, ()| yielder.suspend(()));
        task.resume(());
        started += 1;
        tasks.push(task);
    }
    let took = cpu_ns() - began;
    let (memory, tables) = resident_bytes();
    report("work", started as f64);
    report("ns", took as f64 / count as f64);
    report("bytes", (memory as f64 - memory_before as f64) / count as f64);
    report("page_table_bytes", (tables as f64 - tables_before as f64) / count as f64);
    std::process::exit(0);
}

//! What the programs have in common: blocking code, in tasks of one thread or, with `MAJJEN_HOOK_THREADS` set, in
//! threads, so that what is expected is known to be right.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use majjen_hook::counts;

/// How many do the same at once.
pub const MANY: usize = 100;

/// How long each of them waits.
pub const A_WHILE: Duration = Duration::from_millis(100);

/// Where each waits for all.
#[derive(Clone)]
pub struct Gate {
    expected: usize,
    arrived: Arc<AtomicUsize>,
    opened: Arc<OnceLock<Instant>>,
}

impl Gate {
    /// Waits until all have come so far.
    pub fn pass(&self) {
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.expected {
            let _ = self.opened.set(Instant::now());
        }
        self.wait();
    }

    /// Waits until all the others have.
    pub fn wait(&self) {
        while self.opened.get().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs a function many times at once, with the number of each, and another beside them. Returns the time since
/// all of the many were at the gate.
pub fn at_once(
    body: impl Fn(usize, &Gate) + Clone + Send + 'static,
    beside: impl FnOnce(&Gate) + Send + 'static,
) -> Duration {
    let gate = Gate { expected: MANY, arrived: Arc::default(), opened: Arc::default() };
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for number in 0..MANY {
        let (body, gate) = (body.clone(), gate.clone());
        bodies.push(Box::new(move || body(number, &gate)));
    }
    let others = gate.clone();
    bodies.push(Box::new(move || beside(&others)));
    if std::env::var_os("MAJJEN_HOOK_THREADS").is_some() {
        let threads: Vec<_> = bodies.into_iter().map(thread::spawn).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    } else {
        let before = counts();
        let scheduler = majjen::Scheduler::new().expect("a scheduler");
        let tasks: Vec<_> = bodies.into_iter().map(|body| scheduler.spawn(body)).collect();
        scheduler.run().expect("a run");
        tasks.into_iter().for_each(|task| task.join().expect("a task"));
        assert_eq!(counts().pinned, before.pinned, "nothing blocks the thread");
    }
    gate.opened.get().expect("all have come").elapsed()
}

/// Checks that many have waited at once: one after another they would take more than this.
pub fn assert_at_once(what: &str, took: Duration) {
    eprintln!("{MANY} {what} of 0.1 s took {:.3} s", took.as_secs_f64());
    assert!(took >= A_WHILE && took < A_WHILE * MANY as u32 / 5, "{took:?}");
}

/// Nobody beside the many.
pub fn nobody(_: &Gate) {}

//! Helpers of the Rust API's tests.
#![allow(dead_code)] // None of them uses all.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Output};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use majjen::logger::{self, Level};
use majjen::{JoinError, JoinHandle, Scheduler, task};

/// Counts drops.
#[derive(Clone, Default)]
pub struct Drops(Rc<Cell<u32>>);

impl Drops {
    pub fn count(&self) -> u32 {
        self.0.get()
    }

    /// A value whose drop is counted.
    pub fn guard(&self) -> Guard {
        Guard(self.clone())
    }
}

/// The value returned by [`Drops::guard`].
pub struct Guard(Drops);

impl Guard {
    /// Another guard with the same counter.
    pub fn clone_count(&self) -> Guard {
        self.0.guard()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Drops(count) = &self.0;
        count.set(count.get() + 1);
    }
}

/// Calls a function when it is dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A scheduler, in a process that logs warnings and errors only.
pub fn scheduler() -> Scheduler {
    logger::set_level(Level::Warn);
    Scheduler::new().unwrap()
}

pub const HOUR: Duration = Duration::from_secs(3600);

/// Adds a task that sleeps for an hour.
pub fn spawn_sleeper(scheduler: &Scheduler, drops: &Drops) -> JoinHandle<()> {
    let guard = drops.guard();
    scheduler.spawn(move || {
        let _guard = guard;
        let _ = task::sleep(HOUR);
        unreachable!("a canceled sleep does not return");
    })
}

/// Runs until all tasks have had a few turns.
pub fn run_for_a_moment(scheduler: &Scheduler) {
    let stop = scheduler.stop_handle();
    scheduler.spawn(move || {
        for _ in 0..5 {
            task::yield_now().unwrap();
        }
        stop.stop().unwrap();
    });
    scheduler.run().unwrap();
}

/// Runs a test in which tasks are given up. Their thread must not end while there are others.
pub fn on_a_thread_that_stays(test: impl FnOnce() + Send + 'static) {
    let (send, result) = mpsc::channel();
    thread::spawn(move || {
        let _ = send.send(catch_unwind(AssertUnwindSafe(test)));
        loop {
            thread::park();
        }
    });
    result.recv().unwrap().unwrap_or_else(|payload| resume_unwind(payload));
}

/// Runs a test's body in a task, and propagates its panic to the test.
pub fn in_a_task<T: 'static>(body: impl FnOnce() -> T + 'static) -> T {
    let scheduler = scheduler();
    let task = scheduler.spawn(body);
    scheduler.run().unwrap();
    match task.join() {
        Ok(result) => result,
        Err(JoinError::Panicked(panic)) => panic.resume(),
        Err(error) => panic!("{error}"),
    }
}

/// Runs a function in a process of its own, which ends with 3 if the function returns. That
/// process does not return from here.
pub fn in_child(test: &str, body: impl FnOnce()) -> Output {
    const CHILD: &str = "MAJJEN_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        body();
        std::process::exit(3);
    }
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "")
        .output()
        .unwrap()
}

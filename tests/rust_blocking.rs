//! Closures on threads of the library, where Rust differs: panics, unwinding, and where what is left is dropped.
//! What C has as well is in tests/behaviour/offload.rs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use majjen::blocking;
use majjen::{JoinError, Scheduler, task};

/// Runs a closure in a task of a new scheduler.
fn in_a_task<T: 'static>(body: impl FnOnce() -> T + 'static) -> Result<T, JoinError> {
    let scheduler = Scheduler::new().unwrap();
    let handle = scheduler.spawn(body);
    scheduler.run().unwrap();
    handle.join()
}

/// Sends the thread that it is dropped on.
struct Told(mpsc::Sender<ThreadId>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn a_panic_goes_on_in_the_caller() {
    let caught = in_a_task(|| {
        let panics = || blocking::run(|| -> u32 { panic!("of the closure") });
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        *payload.downcast::<&str>().unwrap()
    });
    assert_eq!(caught.unwrap(), "of the closure");
}

/// A closure that runs until it is told, or canceled, and what it returns.
fn waits(began: &Arc<AtomicBool>, held: Told) -> impl FnOnce() -> Told + Send + use<> {
    let began = began.clone();
    move || {
        began.store(true, SeqCst);
        while !blocking::is_canceled() {
            thread::yield_now();
        }
        held
    }
}

#[test]
fn a_canceled_task_is_unwound_and_the_result_is_dropped_on_the_thread() {
    let scheduler = Scheduler::new().unwrap();
    let (dropped, told) = mpsc::channel();
    let began = Arc::new(AtomicBool::new(false));
    let closure = waits(&began, Told(dropped));
    let waiting = scheduler.spawn(move || blocking::run(closure).map(drop));
    scheduler.spawn(move || {
        while !began.load(SeqCst) {
            task::sleep(Duration::from_millis(1)).unwrap();
        }
        waiting.cancel();
        assert!(matches!(waiting.join(), Err(JoinError::Canceled)));
    });
    scheduler.run().unwrap();
    assert_ne!(told.recv().unwrap(), thread::current().id());
}

#[test]
fn a_time_limit_ends_the_call() {
    let (dropped, told) = mpsc::channel();
    let began = Arc::new(AtomicBool::new(false));
    let closure = waits(&began, Told(dropped));
    let timed_out = in_a_task(move || {
        task::timeout(Duration::from_millis(5), || blocking::run(closure).map(drop)).is_err()
    });
    assert!(timed_out.unwrap());
    told.recv().unwrap();
}

#[test]
fn a_scheduler_is_dropped_with_closures_that_are_done() {
    for _ in 0..20 {
        let scheduler = Scheduler::new().unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let ended = ended.clone();
            scheduler.spawn(move || blocking::run(move || ended.fetch_add(1, SeqCst)));
        }
        let stop = scheduler.stop_handle();
        scheduler.spawn(move || {
            while ended.load(SeqCst) < 4 {
                thread::yield_now();
            }
            stop.stop().unwrap();
        });
        scheduler.run().unwrap();
    }
}

#[test]
fn a_closure_that_is_not_run_and_whose_destructor_panics() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("of a destructor");
        }
    }
    let held = Panics;
    let scheduler = Scheduler::new().unwrap();
    let canceled = scheduler.spawn(move || blocking::run(move || std::mem::forget(held)));
    canceled.cancel();
    scheduler.run().unwrap();
    assert!(canceled.join().is_err());
}

//! Lifetimes: schedulers that are moved, forgotten, nested, captured, or dropped at unusual
//! moments, and handles that outlive them.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use majjen::{Error, JoinError, JoinHandle, Scheduler, StopHandle, task};
use support::{Drops, HOUR, OnDrop, run_for_a_moment, scheduler, spawn_sleeper};

#[test]
fn a_scheduler_is_moved_while_tasks_are_parked() {
    let scheduler = scheduler();
    let task = scheduler.spawn(|| {
        task::sleep(Duration::from_millis(1)).unwrap();
        let child = task::spawn(|| 1);
        child.join().unwrap() + 1
    });
    run_for_a_moment(&scheduler);
    let moved = Box::new([scheduler]);
    moved[0].run().unwrap();
    assert_eq!(task.join().unwrap(), 2);
}

#[test]
fn handles_outlive_the_scheduler() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let parked = spawn_sleeper(&scheduler, &drops);
    let done = scheduler.spawn(|| String::from("result"));
    let unknown = scheduler.spawn(task::current);
    run_for_a_moment(&scheduler);
    let (stop, metrics, task) =
        (scheduler.stop_handle(), scheduler.metrics(), parked.task().clone());
    drop(scheduler);
    assert_eq!(stop.stop(), Err(Error::Disconnected));
    assert_eq!(stop.clone().stop(), Err(Error::Disconnected));
    assert_eq!(metrics.current_tasks, 1);
    task.wake();
    task.cancel();
    parked.cancel();
    assert!(task.is_finished() && task.name().is_none() && task.stack_used() == 0);
    assert_eq!(done.join().unwrap(), "result");
    assert!(matches!(parked.join(), Err(JoinError::Canceled)));
    assert!(unknown.join().unwrap().unwrap().is_finished());
}

#[test]
fn a_forgotten_scheduler_leaks_and_its_handles_work() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let parked = spawn_sleeper(&scheduler, &drops);
    run_for_a_moment(&scheduler);
    std::mem::forget(scheduler);
    parked.cancel();
    assert!(!parked.is_finished());
    assert!(matches!(parked.join(), Err(JoinError::Failed(Error::NotInTask))));
    assert_eq!(drops.count(), 0);
}

#[test]
fn a_task_that_owns_its_scheduler_leaks_it() {
    let scheduler = Rc::new(scheduler());
    let drops = Drops::default();
    let (own, guard) = (scheduler.clone(), drops.guard());
    scheduler.spawn(move || {
        let _guard = guard;
        own.spawn(|| ());
        task::sleep(HOUR)
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(drops.count(), 0);
}

#[test]
fn a_task_that_ends_can_drop_a_clone_of_its_scheduler() {
    let scheduler = Rc::new(scheduler());
    let own = scheduler.clone();
    scheduler.spawn(move || drop(own));
    scheduler.run().unwrap();
    assert_eq!(Rc::strong_count(&scheduler), 1);
}

#[test]
fn a_scheduler_in_a_task_of_another_one_is_dropped_with_its_tasks() {
    let outer = scheduler();
    let drops = Drops::default();
    let inner = scheduler();
    for _ in 0..5 {
        spawn_sleeper(&inner, &drops);
    }
    run_for_a_moment(&inner);
    let count = drops.clone();
    let owner = outer.spawn(move || {
        let _guard = count.guard();
        assert_eq!(inner.run(), Err(Error::Busy));
        task::yield_now().unwrap();
        drop(inner);
        assert_eq!(count.count(), 5);
        task::yield_now().unwrap(); // Still in the outer task.
        task::current().unwrap().id()
    });
    let others = outer.spawn(|| (0..10).for_each(|_| task::yield_now().unwrap()));
    outer.run().unwrap();
    let id = owner.task().id();
    assert_eq!(owner.join().unwrap(), id);
    others.join().unwrap();
    assert_eq!(drops.count(), 6);
}

/// Dropped by a destructor that runs while the outer task is unwound by a cancellation.
#[test]
fn a_scheduler_is_dropped_by_the_unwinding_of_a_task_of_another_one() {
    let outer = scheduler();
    let drops = Drops::default();
    let inner = scheduler();
    spawn_sleeper(&inner, &drops);
    run_for_a_moment(&inner);
    outer.spawn(move || {
        let _inner = inner;
        task::sleep(HOUR)
    });
    run_for_a_moment(&outer);
    drop(outer);
    assert_eq!(drops.count(), 1);
    assert!(!std::thread::panicking());
}

#[test]
fn a_task_of_one_scheduler_does_not_join_one_of_another() {
    let (one, other) = (scheduler(), scheduler());
    let (foreign, joined) = (one.spawn(|| 1), one.spawn(|| 2));
    let joins = other.spawn(move || (joined.join(), foreign.wait(), foreign));
    other.run().unwrap();
    let (joined, waited, foreign) = joins.join().unwrap();
    assert!(matches!(joined, Err(JoinError::Failed(Error::WrongScheduler))), "{joined:?}");
    assert_eq!(waited, Err(Error::WrongScheduler));
    one.run().unwrap();
    assert_eq!(foreign.join().unwrap(), 1);
}

#[test]
fn a_run_in_a_wait_function_is_refused() {
    let result = Rc::new(Cell::new(None));
    let (inner, seen) = (scheduler(), result.clone());
    let outer = majjen::Builder::new()
        .wait(move |timeout, _| {
            seen.set(Some((inner.run(), task::sleep(HOUR))));
            std::thread::sleep(timeout.unwrap());
            Ok(0)
        })
        .build()
        .unwrap();
    outer.spawn(|| task::sleep(Duration::from_millis(1)));
    outer.run().unwrap();
    assert_eq!(result.get(), Some((Err(Error::Busy), Err(Error::NotInTask))));
}

#[test]
fn a_run_in_a_destructor_that_unwinding_runs_is_refused() {
    let scheduler = scheduler();
    let result = Cell::new(None);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = OnDrop(|| result.set(Some(scheduler.run())));
        panic!("on purpose");
    }));
    assert!(unwound.is_err());
    assert_eq!(result.get(), Some(Err(Error::Unwinding)));
}

#[test]
fn destructors_of_a_dropped_scheduler_can_use_it_but_add_no_tasks() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let other = Rc::new(spawn_sleeper(&scheduler, &drops));
    let result = Rc::new(RefCell::new(None));
    let (handle, seen, guard) = (other.clone(), result.clone(), drops.guard());
    scheduler.spawn(move || {
        let _guard = OnDrop(move || {
            handle.cancel();
            handle.task().wake();
            let guard = guard.clone_count();
            let spawned = task::spawn(move || drop(guard));
            assert!(spawned.is_finished());
            *seen.borrow_mut() = Some(spawned.join());
        });
        task::sleep(HOUR)
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert!(matches!(*result.borrow(), Some(Err(JoinError::Failed(Error::Canceled)))));
    assert_eq!(drops.count(), 3);
}

#[test]
fn closures_results_and_payloads_that_panic_when_dropped_end_nothing() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("a destructor panics on purpose");
            }
        }
    }
    let scheduler = scheduler();
    let drops = Drops::default();
    scheduler.spawn(|| Bomb); // The result is never taken.
    scheduler.spawn(|| std::panic::panic_any(Bomb));
    scheduler.spawn(|| {
        let _bomb = Bomb;
        task::sleep(HOUR)
    });
    spawn_sleeper(&scheduler, &drops);
    run_for_a_moment(&scheduler);
    let bomb = Bomb;
    scheduler.spawn(move || drop(bomb)); // Never starts.
    spawn_sleeper(&scheduler, &drops);
    drop(scheduler);
    assert_eq!(drops.count(), 2);
}

thread_local! {
    static BORROWED: OnThreadEnd = const { OnThreadEnd(RefCell::new(Vec::new())) };
    static KEPT: RefCell<Option<Scheduler>> = const { RefCell::new(None) };
}

/// Clears its strings when it is dropped, and records the drop, to show what runs later.
struct OnThreadEnd(RefCell<Vec<String>>);

impl Drop for OnThreadEnd {
    fn drop(&mut self) {
        self.0.get_mut().clear();
        DROPPED.with(|dropped| dropped.set(true));
    }
}

thread_local!(static DROPPED: Cell<bool> = const { Cell::new(false) });

/// A frame that has borrowed a thread-local is unwound before the thread-local is destroyed, and not
/// when its scheduler is dropped later.
#[test]
fn tasks_of_a_scheduler_in_a_thread_local_are_not_unwound_late_when_the_thread_ends() {
    static LATE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    static KEPT_IS_DROPPED_LATER: std::sync::atomic::AtomicBool =
        std::sync::atomic::AtomicBool::new(false);
    let thread = std::thread::spawn(|| {
        KEPT.with(|kept| *kept.borrow_mut() = Some(scheduler()));
        KEPT.with(|kept| {
            let kept = kept.borrow();
            let scheduler = kept.as_ref().unwrap();
            scheduler.spawn(|| {
                BORROWED.with(|borrowed| {
                    let text = borrowed.0.borrow();
                    let _guard = OnDrop(|| {
                        let late = DROPPED.with(Cell::get);
                        LATE.store(late, std::sync::atomic::Ordering::Relaxed);
                        std::hint::black_box(&text);
                    });
                    task::sleep(HOUR)
                })
            });
            let closure = OnDrop(|| {
                let later = DROPPED.with(Cell::get);
                KEPT_IS_DROPPED_LATER.store(later, std::sync::atomic::Ordering::Relaxed);
            });
            run_for_a_moment(scheduler);
            scheduler.spawn(move || drop(closure)); // Dropped with the scheduler.
        });
    });
    thread.join().unwrap();
    assert!(
        KEPT_IS_DROPPED_LATER.load(std::sync::atomic::Ordering::Relaxed),
        "not put to the test"
    );
    assert!(!LATE.load(std::sync::atomic::Ordering::Relaxed));
}

/// Dropped before the thread ends, the same scheduler unwinds its tasks.
#[test]
fn tasks_that_have_borrowed_a_thread_local_are_unwound_before_the_thread_ends() {
    let drops = Drops::default();
    let scheduler = scheduler();
    let guard = drops.guard();
    scheduler.spawn(move || {
        BORROWED.with(|_| {
            let _guard = guard;
            task::sleep(HOUR)
        })
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(drops.count(), 1);
}

#[test]
fn stops_race_with_runs_and_drops() {
    for round in 0..200 {
        let scheduler = scheduler();
        let stops: Vec<StopHandle> = (0..3).map(|_| scheduler.stop_handle()).collect();
        let threads: Vec<_> = stops
            .into_iter()
            .map(|stop| {
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        // An error means that it has been dropped.
                        assert!(matches!(stop.stop(), Ok(()) | Err(Error::Disconnected)));
                        std::thread::yield_now();
                    }
                })
            })
            .collect();
        scheduler.spawn(|| (0..20).for_each(|_| task::yield_now().unwrap()));
        if round % 2 == 0 {
            scheduler.run().unwrap();
        }
        drop(scheduler);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn a_detached_task_goes_on_and_its_result_is_dropped() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let guard = drops.guard();
    drop(scheduler.spawn(move || {
        task::sleep(Duration::from_millis(1)).unwrap();
        guard
    }));
    assert_eq!(drops.count(), 0);
    scheduler.run().unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_handle_keeps_the_result_until_it_is_dropped() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let guard = drops.guard();
    let handle: JoinHandle<_> = scheduler.spawn(move || guard);
    scheduler.run().unwrap();
    drop(scheduler);
    assert_eq!(drops.count(), 0);
    drop(handle);
    assert_eq!(drops.count(), 1);
}

/// `exit()` drops thread-locals on the stack of the calling task, in a run that never returns.
#[test]
fn a_scheduler_in_a_thread_local_is_left_alone_when_a_task_ends_the_process() {
    const CHILD: &str = "MAJJEN_TEST_EXITS_IN_A_TASK";
    thread_local!(static RUNS: Scheduler = scheduler());
    if std::env::var_os(CHILD).is_none() {
        let name = "a_scheduler_in_a_thread_local_is_left_alone_when_a_task_ends_the_process";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact"])
            .env(CHILD, "")
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(3));
        return;
    }
    RUNS.with(|scheduler| {
        scheduler.spawn(|| {
            BORROWED.with(|_| {
                // Once the thread-local is destroyed, this must not run.
                let _guard = OnDrop(|| std::process::abort());
                task::sleep(HOUR)
            })
        });
        scheduler.spawn(|| {
            task::yield_now().unwrap();
            std::process::exit(3)
        });
        scheduler.run()
    })
    .unwrap();
}

//! The life of Rust tasks: panics, cancellation, and what a dropped scheduler leaves behind.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use majjen::sync::Semaphore;
use majjen::{Error, JoinError, JoinHandle, task};
use support::{
    Drops, HOUR, OnDrop, on_a_thread_that_stays, run_for_a_moment, scheduler, spawn_sleeper,
};

#[test]
fn a_panic_is_delivered_by_join_with_its_payload() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let guard = drops.guard();
    let fails = scheduler.spawn(move || {
        let _guard = guard;
        task::yield_now().unwrap();
        std::panic::panic_any(7)
    });
    let others = scheduler.spawn(|| {
        for _ in 0..3 {
            task::yield_now().unwrap();
            assert!(!std::thread::panicking());
        }
    });
    scheduler.run().unwrap();
    match fails.join() {
        Err(JoinError::Panicked(panic)) => {
            assert_eq!(panic.into_payload().downcast_ref(), Some(&7))
        }
        other => panic!("{other:?}"),
    }
    others.join().unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_dropped_scheduler_unwinds_the_tasks_that_have_begun_and_drops_the_closures_of_others() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let begun: Vec<_> = (0..50).map(|_| spawn_sleeper(&scheduler, &drops)).collect();
    run_for_a_moment(&scheduler);
    let fresh = spawn_sleeper(&scheduler, &drops);
    assert_eq!(drops.count(), 0);
    drop(scheduler);
    assert_eq!(drops.count(), 51);
    for handle in begun.into_iter().chain([fresh]) {
        assert!(handle.is_finished());
        assert!(matches!(handle.join(), Err(JoinError::Canceled)));
    }
}

#[test]
fn cancel_unwinds_at_the_point_of_suspension_and_only_that_task() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let sleeper = spawn_sleeper(&scheduler, &drops);
    let other = scheduler.spawn(|| task::sleep(Duration::from_millis(5)));
    scheduler.spawn(move || {
        task::yield_now().unwrap();
        sleeper.cancel();
        assert!(matches!(sleeper.join(), Err(JoinError::Canceled)));
    });
    scheduler.run().unwrap();
    other.join().unwrap().unwrap();
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_task_canceled_before_its_first_turn_does_not_run() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let guard = drops.guard();
    let handle = scheduler.spawn(move || {
        let _guard = &guard;
        unreachable!()
    });
    handle.cancel();
    scheduler.run().unwrap();
    assert!(matches!(handle.join(), Err::<(), _>(JoinError::Canceled)));
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_cancellation_calls_no_panic_hook() {
    let hooked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (seen, thread) = (hooked.clone(), std::thread::current().id());
    let before = std::sync::Arc::new(std::panic::take_hook());
    let inner = before.clone();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == thread {
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        inner(info);
    }));
    let scheduler = scheduler();
    spawn_sleeper(&scheduler, &Drops::default());
    run_for_a_moment(&scheduler);
    drop(scheduler);
    std::panic::set_hook(Box::new(move |info| before(info)));
    assert!(!hooked.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn a_task_that_catches_the_unwinding_is_unwound_again() {
    let scheduler = scheduler();
    let caught = Rc::new(Cell::new(0));
    let count = caught.clone();
    scheduler.spawn(move || {
        for _ in 0..10 {
            let result = catch_unwind(|| task::sleep(HOUR));
            assert!(result.is_err());
            count.set(count.get() + 1);
        }
        let result = catch_unwind(task::yield_now);
        resume_unwind(result.unwrap_err())
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(caught.get(), 10);
}

#[test]
fn a_task_that_does_not_unwind_is_leaked() {
    on_a_thread_that_stays(|| {
        let scheduler = scheduler();
        let drops = Drops::default();
        let guard = drops.guard();
        let stubborn: JoinHandle<()> = scheduler.spawn(move || {
            let _guard = guard;
            loop {
                let _ = catch_unwind(|| task::sleep(HOUR));
            }
        });
        let other = spawn_sleeper(&scheduler, &drops);
        run_for_a_moment(&scheduler);
        drop(scheduler);
        assert_eq!(drops.count(), 1); // Those of the other task.
        assert!(matches!(other.join(), Err(JoinError::Canceled)));
        assert!(!stubborn.is_finished());
        assert!(matches!(stubborn.join(), Err(JoinError::Failed(_))));
    });
}

/// The stack of a task that was leaked stays readable and unused.
#[test]
fn a_scope_in_a_leaked_task_stays_sound() {
    on_a_thread_that_stays(|| {
        let (send, receive) = std::sync::mpsc::channel::<u64>();
        let (answer, answers) = std::sync::mpsc::channel();
        let scheduler = scheduler();
        scheduler.spawn(move || {
            let on_the_stack = [7u64; 1000];
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for expected in receive {
                        let same = on_the_stack.iter().all(|number| *number == expected);
                        answer.send(same).unwrap();
                    }
                });
                loop {
                    let _ = catch_unwind(|| task::sleep(HOUR));
                }
            })
        });
        run_for_a_moment(&scheduler);
        drop(scheduler);
        // On new stacks, had the memory been released.
        let again = support::scheduler();
        for _ in 0..16 {
            again.spawn(|| std::hint::black_box([1u64; 10_000]).len());
        }
        again.run().unwrap();
        send.send(7).unwrap();
        assert_eq!(answers.recv(), Ok(true));
    });
}

#[test]
fn a_scope_in_a_task_that_is_unwound_waits_for_its_threads() {
    let scheduler = scheduler();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = ended.clone();
    scheduler.spawn(move || {
        let borrowed = (String::from("on the stack"), std::sync::Mutex::new(released));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                borrowed.1.lock().unwrap().recv().unwrap();
                assert_eq!(borrowed.0, "on the stack");
                flag.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            task::sleep(HOUR)
        })
    });
    run_for_a_moment(&scheduler);
    release.send(()).unwrap();
    drop(scheduler);
    assert!(ended.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn a_destructor_that_unwinding_runs_cannot_suspend() {
    let scheduler = scheduler();
    let seen = Rc::new(RefCell::new(Vec::new()));
    for panics in [true, false] {
        let seen = seen.clone();
        let handle = scheduler.spawn(move || {
            let _guard = OnDrop(move || {
                seen.borrow_mut().push(task::sleep(HOUR));
                seen.borrow_mut().push(task::yield_now());
                seen.borrow_mut().push(task::park(None));
            });
            if panics {
                panic!("on purpose");
            }
            task::sleep(HOUR)
        });
        if !panics {
            scheduler.spawn(move || handle.cancel());
        }
    }
    let watching = scheduler.spawn(|| {
        for _ in 0..10 {
            assert!(!std::thread::panicking());
            task::yield_now().unwrap();
        }
    });
    scheduler.run().unwrap();
    watching.join().unwrap();
    assert_eq!(*seen.borrow(), [Err(Error::Unwinding); 6]);
}

#[test]
fn a_scheduler_dropped_by_a_panic_unwinds_its_tasks() {
    let drops = Drops::default();
    let refused = Rc::new(Cell::new(None));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let scheduler = scheduler();
        for _ in 0..3 {
            spawn_sleeper(&scheduler, &drops);
        }
        let refused = refused.clone();
        scheduler.spawn(move || {
            let _guard = OnDrop(move || refused.set(Some(task::sleep(HOUR))));
            task::sleep(HOUR)
        });
        run_for_a_moment(&scheduler);
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(drops.count(), 3);
    assert_eq!(refused.get(), Some(Err(Error::Unwinding)));
    assert!(!std::thread::panicking());
}

#[test]
fn a_task_that_catches_everything_is_leaked_also_when_a_panic_drops_its_scheduler() {
    on_a_thread_that_stays(|| {
        let drops = Drops::default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let scheduler = scheduler();
            scheduler.spawn(|| {
                loop {
                    let _ = catch_unwind(task::yield_now);
                }
            });
            spawn_sleeper(&scheduler, &drops);
            run_for_a_moment(&scheduler);
            panic!("on purpose");
        }));
        assert!(result.is_err());
        assert_eq!(drops.count(), 1);
        assert!(!std::thread::panicking());
    });
}

/// Raising a cancellation would panic in a destructor that a panic runs, which aborts the process.
#[test]
fn a_task_that_panics_while_a_panic_drops_its_scheduler_cannot_suspend_in_destructors() {
    let refused = Rc::new(RefCell::new(Vec::new()));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let scheduler = scheduler();
        let yields = || {
            let refused = refused.clone();
            OnDrop(move || refused.borrow_mut().push(task::yield_now()))
        };
        let (shielded, served) = (yields(), yields());
        scheduler.spawn(move || {
            let _yields = shielded;
            task::shield(|| task::sleep(HOUR)).expect("canceled in a shield");
        });
        let semaphore = Rc::new(Semaphore::new(1));
        let first = semaphore.clone();
        scheduler.spawn(move || first.acquire(2).map(drop));
        scheduler.spawn(move || {
            let _yields = served;
            let _permits = semaphore.acquire(1).unwrap(); // Once the first task has left the queue.
            panic!("on purpose, too");
        });
        run_for_a_moment(&scheduler);
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(*refused.borrow(), [Err(Error::Unwinding); 2]);
    assert!(!std::thread::panicking());
}

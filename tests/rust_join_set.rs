//! Sets of tasks, handles that cancel, and what a cancellation is to code that catches panics.

mod support;

use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use majjen::task::{self, JoinSet};
use majjen::{Error, JoinError, Scheduler};
use support::{Drops, HOUR, OnDrop, in_a_task, run_for_a_moment, scheduler};

const MS: Duration = Duration::from_millis(1);

#[test]
fn results_come_as_the_tasks_end() {
    in_a_task(|| {
        let mut set = JoinSet::new();
        for number in [3, 1, 2] {
            set.spawn(move || {
                for _ in 0..10 * number {
                    task::yield_now().unwrap();
                }
                number
            });
        }
        set.spawn(|| if true { resume_unwind(Box::new("told")) } else { 0 });
        let canceled = set.spawn(|| {
            let _ = task::sleep(HOUR);
            0
        });
        let Some(Err(JoinError::Panicked(panic))) = set.join_next() else { panic!("not told") };
        assert_eq!(panic.message(), "told");
        canceled.cancel();
        assert!(matches!(set.join_next(), Some(Err(JoinError::Canceled))));
        assert_eq!(set.len(), 3); // They have not ended yet.
        let rest: Vec<u32> = std::iter::from_fn(|| set.join_next()).map(Result::unwrap).collect();
        assert_eq!(rest, [1, 2, 3]);
        assert!(set.is_empty() && set.join_next().is_none());
        set.spawn(|| 4); // It may be used again.
        assert!(matches!(set.join_next(), Some(Ok(4))));
    });
}

#[test]
fn a_wait_for_a_result_has_a_limit() {
    in_a_task(|| {
        let mut set = JoinSet::new();
        let waits = set.spawn(|| task::park(None));
        for _ in 0..2 {
            let late = set.join_next_timeout(Duration::ZERO);
            assert!(matches!(late, Some(Err(JoinError::Failed(Error::TimedOut)))));
        }
        waits.wake();
        assert!(matches!(set.join_next_timeout(HOUR), Some(Ok(Ok(())))));
        assert!(set.join_next_timeout(HOUR).is_none());
    });
}

#[test]
fn results_can_be_taken_without_waiting() {
    in_a_task(|| {
        let mut set = JoinSet::new();
        assert!(set.try_join_next().is_none());
        let waits = set.spawn(|| task::park(None).map(|()| 1));
        set.spawn(|| Ok(2));
        assert!(set.try_join_next().is_none()); // None has run.
        task::yield_now().unwrap();
        assert!(matches!(set.try_join_next(), Some(Ok(Ok(2)))));
        assert!(set.try_join_next().is_none() && !set.is_empty());
        waits.wake();
        set.wait().unwrap();
        assert!(matches!(set.try_join_next(), Some(Ok(Ok(1)))));
        assert!(set.try_join_next().is_none() && set.is_empty());
    });
}

#[test]
fn results_are_taken_when_the_run_is_over() {
    let scheduler = scheduler();
    let fills = scheduler.spawn(|| {
        let set = JoinSet::new();
        set.spawn(|| 1);
        set.spawn(|| {
            let _ = task::park(None);
            2
        });
        set
    });
    scheduler.run().unwrap_err(); // One is parked for good.
    let mut set = fills.join().unwrap();
    assert!(matches!(set.join_next(), Some(Ok(1))));
    assert!(matches!(set.join_next(), Some(Err(JoinError::Failed(Error::NotInTask)))));
    drop(scheduler);
    assert!(matches!(set.join_next(), Some(Err(JoinError::Canceled))));
    assert!(set.join_next().is_none());
}

#[test]
fn a_set_that_is_dropped_cancels_its_tasks() {
    let drops = Drops::default();
    let (counted, seen) = (drops.guard(), drops.clone());
    in_a_task(move || {
        let set = JoinSet::new();
        for _ in 0..3 {
            let counted = counted.clone_count();
            set.spawn(move || {
                let counted = counted;
                let _ = task::sleep(HOUR);
                counted
            });
        }
        task::yield_now().unwrap();
        drop(set);
        assert_eq!(seen.count(), 0); // It does not wait for them.
    });
    assert_eq!(drops.count(), 4);
}

#[test]
fn results_that_nobody_takes_are_dropped() {
    let drops = Drops::default();
    let counted = drops.guard();
    in_a_task(move || {
        let set = JoinSet::new();
        for _ in 0..3 {
            let counted = counted.clone_count();
            set.spawn(move || counted);
        }
        set.wait().unwrap();
    });
    assert_eq!(drops.count(), 4);
}

/// In a destructor that unwinding runs it cannot wait.
#[test]
fn an_unwinding_task_cancels_its_set() {
    let ended = Rc::new(Cell::new(false));
    let seen = ended.clone();
    let result = {
        let scheduler = scheduler();
        let owner = scheduler.spawn(move || {
            let set = JoinSet::new();
            set.spawn(move || {
                let _ended = OnDrop(|| ended.set(true));
                let _ = task::sleep(HOUR);
            });
            task::yield_now().unwrap();
            let _ends = OnDrop(|| assert_eq!(set.end(HOUR), Err(Error::Unwinding)));
            if true {
                resume_unwind(Box::new(1));
            }
        });
        scheduler.run().unwrap();
        owner.join()
    };
    assert!(matches!(result, Err(JoinError::Panicked(_))));
    assert!(seen.get());
}

/// The owner may come before its tasks, and is not given up since they have not ended.
#[test]
fn a_scheduler_is_dropped_while_a_set_ends() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let (owner, member) = (drops.guard(), drops.guard());
    scheduler.spawn(move || {
        let _owner = owner;
        let set = JoinSet::new();
        set.spawn(move || {
            let _member = member;
            task::sleep(HOUR)
        });
        task::yield_now().unwrap();
        let _ = set.end(HOUR);
        unreachable!("it is unwound");
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(drops.count(), 2);
}

#[test]
fn a_canceled_task_is_unwound_after_the_end_of_its_set() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let (owner, member) = (drops.guard(), drops.guard());
    let (seen, reached) = (drops.clone(), Rc::new(Cell::new(false)));
    let ended = reached.clone();
    let owner = scheduler.spawn(move || {
        let _owner = owner;
        let set = JoinSet::new();
        set.spawn(move || {
            let _member = member;
            let _ = task::sleep(HOUR);
        });
        task::yield_now().unwrap();
        task::current().unwrap().cancel();
        assert_eq!(set.end(MS), Ok(()));
        assert_eq!(seen.count(), 1);
        ended.set(true);
        task::yield_now()
    });
    scheduler.run().unwrap();
    assert!(matches!(owner.join(), Err(JoinError::Canceled)));
    assert!(reached.get());
}

#[test]
fn a_handle_that_is_dropped_cancels_if_it_is_to() {
    in_a_task(|| {
        let task = {
            let handle = task::spawn(|| task::sleep(HOUR)).cancel_on_drop();
            assert_eq!(handle.wait_timeout(MS), Err(Error::TimedOut));
            let said = format!("CancelOnDrop({:?})", *handle);
            assert_eq!(format!("{handle:?}"), said);
            handle.task().clone()
        };
        task::yield_now().unwrap();
        assert!(task.is_finished());
        assert_eq!(task::spawn(|| 3).cancel_on_drop().join().unwrap(), 3);
    });
}

#[test]
fn a_set_that_has_ended_takes_no_task() {
    in_a_task(|| {
        let mut set = JoinSet::default();
        set.end(HOUR).unwrap();
        set.spawn(|| ());
        assert_eq!(format!("{set:?}"), "JoinSet { len: 1 }");
        assert!(matches!(set.join_next(), Some(Err(JoinError::Canceled))));
    });
}

#[test]
fn a_join_that_is_unwound_cancels_too() {
    let scheduler = scheduler();
    let child = Rc::new(Cell::new(None));
    let seen = child.clone();
    let parent = scheduler.spawn(move || {
        let handle = task::spawn(|| task::sleep(HOUR)).cancel_on_drop();
        seen.set(Some(handle.task().clone()));
        handle.join().map(drop)
    });
    scheduler.spawn(move || {
        task::yield_now().unwrap();
        parent.cancel();
        parent.wait().unwrap();
    });
    scheduler.run().unwrap(); // It does not take an hour.
    assert!(child.take().unwrap().is_finished());
}

#[test]
fn who_catches_panics_can_tell_a_cancellation() {
    let scheduler = scheduler();
    let caught = Rc::new(Cell::new(0));
    let seen = caught.clone();
    let serves = scheduler.spawn(move || {
        assert!(!task::is_canceled());
        loop {
            let request = || {
                task::park(None).unwrap();
                if true {
                    resume_unwind(Box::new("failed"));
                }
            };
            let payload = catch_unwind(request).map_err(task::resume_if_canceled).unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&"failed"));
            seen.set(seen.get() + 1);
        }
    });
    scheduler.spawn(move || {
        for _ in 0..3 {
            task::yield_now().unwrap();
            serves.task().wake();
        }
        task::yield_now().unwrap();
        serves.cancel();
        assert!(matches!(serves.join(), Err(JoinError::Canceled)));
    });
    scheduler.run().unwrap();
    assert_eq!(caught.get(), 3);
}

#[test]
fn a_cancellation_is_a_payload_of_its_own() {
    let scheduler = scheduler();
    let told = scheduler.spawn(|| {
        task::current().unwrap().cancel();
        let payload = catch_unwind(task::yield_now).unwrap_err();
        (payload.is::<task::Canceled>(), task::is_canceled(), task::shield(task::is_canceled))
    });
    scheduler.run().unwrap();
    assert_eq!(told.join().unwrap(), (true, true, true));
    assert!(!task::is_canceled());
}

/// Tasks that are spawned and the one that spawns are of one scheduler.
#[test]
fn a_set_is_of_one_scheduler() {
    let (one, other) = (scheduler(), Scheduler::new().unwrap());
    let set = one.spawn(|| {
        let mut set = JoinSet::new();
        set.spawn(|| task::park(None));
        let waited = set.join_next_timeout(MS);
        assert!(matches!(waited, Some(Err(JoinError::Failed(Error::TimedOut)))));
        set
    });
    one.run().unwrap_err();
    let mut set = set.join().unwrap();
    let foreign = other.spawn(move || {
        set.spawn(|| Ok(()));
        let refused = set.join_next();
        assert!(matches!(refused, Some(Err(JoinError::Failed(Error::WrongScheduler)))));
        let refused = set.try_join_next();
        assert!(matches!(refused, Some(Err(JoinError::Failed(Error::WrongScheduler)))));
        assert_eq!(set.wait(), Err(Error::WrongScheduler));
    });
    other.run().unwrap();
    foreign.join().unwrap();
}

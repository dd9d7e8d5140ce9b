//! What `task::shield` and the budget are in Rust only: unwinding, and calls that do not reach the core.

mod support;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use majjen::sync::channel;
use majjen::{Error, JoinError, Scheduler, task};
use support::{HOUR, run_for_a_moment};

/// By this clock only calls count.
fn scheduler() -> Scheduler {
    Scheduler::builder().clock(|| Duration::ZERO).build().unwrap()
}

#[test]
fn a_panic_leaves_a_shield() {
    let scheduler = scheduler();
    let unwound = scheduler.spawn(|| {
        let panics = || {
            task::shield(|| {
                if true {
                    panic!("on purpose")
                }
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        task::current().unwrap().cancel();
        let _ = task::yield_now();
        unreachable!("it is shielded still");
    });
    scheduler.run().unwrap();
    assert!(matches!(unwound.join(), Err(JoinError::Canceled)));
}

#[test]
fn a_shielded_task_is_told_when_its_scheduler_is_dropped() {
    let scheduler = support::scheduler();
    let results = Rc::new(Cell::new(None));
    let told = results.clone();
    let handle = scheduler.spawn(move || {
        told.set(Some(task::shield(|| task::sleep(HOUR))));
        let _ = task::sleep(HOUR);
        unreachable!("it is not unwound");
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(results.get(), Some(Err(Error::Canceled)));
    assert!(matches!(handle.join(), Err(JoinError::Canceled)));
}

/// A task that is canceled, and can always go on, is unwound in the end.
#[test]
fn a_canceled_task_that_never_waits_is_unwound() {
    let scheduler = scheduler();
    let (sender, receiver) = channel(1);
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    let goes_on = scheduler.spawn(move || {
        task::current().unwrap().cancel();
        while counted.get() < 1000 {
            sender.send(()).unwrap();
            counted.set(counted.get() + 1);
            receiver.recv().unwrap();
        }
    });
    scheduler.run().unwrap();
    assert!(matches!(goes_on.join(), Err(JoinError::Canceled)));
    assert_eq!(count.get(), 32);
}

/// Makes calls until another task has had its turn, and counts them.
type Calls = Box<dyn FnOnce(&Cell<bool>) -> usize>;

/// Those that have ended already, and wake-ups that are there already, are found without the core.
#[test]
fn joins_and_parks_that_need_not_wait_yield() {
    let scheduler = scheduler();
    let ended: Vec<_> = (0..200).map(|number| scheduler.spawn(move || number)).collect();
    scheduler.run().unwrap();
    let joins: Calls = Box::new(move |others| {
        let results = ended.into_iter().take_while(|_| !others.get()).map(|task| task.join());
        results.filter(Result::is_ok).count()
    });
    let parks: Calls = Box::new(|others| {
        let wakes_itself = |_: &usize| {
            task::current().unwrap().wake();
            !others.get() && task::park(None).is_ok()
        };
        (0..200).take_while(wakes_itself).count()
    });
    for calls in [joins, parks] {
        let others = Rc::new(Cell::new(false));
        let seen = others.clone();
        let count = scheduler.spawn(move || calls(&seen));
        scheduler.spawn(move || others.set(true));
        scheduler.run().unwrap();
        assert_eq!(count.join().unwrap(), 65);
    }
}

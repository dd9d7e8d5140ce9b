//! Tasks that borrow: a scope is left when its children have ended, however it is left.

mod support;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use majjen::{Error, JoinError, Scheduler, task};
use support::{
    Drops, HOUR, OnDrop, in_a_task, on_a_thread_that_stays, run_for_a_moment, scheduler,
};

const MS: Duration = Duration::from_millis(1);

/// What is borrowed. It says when its frame is left, and whether somebody uses it then.
struct Borrowed<'l> {
    log: &'l RefCell<Vec<&'static str>>,
    users: Cell<u32>,
}

impl<'l> Borrowed<'l> {
    fn new(log: &'l RefCell<Vec<&'static str>>) -> Borrowed<'l> {
        Borrowed { log, users: Cell::new(0) }
    }

    /// Uses it until this is dropped.
    fn used(&self, drops: &'static str) -> impl Drop {
        self.users.set(self.users.get() + 1);
        OnDrop(move || {
            self.users.set(self.users.get() - 1);
            self.log.borrow_mut().push(drops);
        })
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        assert_eq!(self.users.get(), 0, "it is dropped while somebody uses it");
        self.log.borrow_mut().push("owner");
    }
}

type Log = &'static RefCell<Vec<&'static str>>;

fn log() -> Log {
    Box::leak(Box::default())
}

#[track_caller]
fn check(log: Log, expected: &[&str]) {
    assert_eq!(*log.borrow(), expected);
}

#[test]
fn children_borrow_and_return() {
    in_a_task(|| {
        let (mut numbers, text, mut count) = (vec![3, 1, 2], String::from("text"), 0);
        let (length, first) = task::scope(|scope| {
            let sorts = scope.spawn(|| {
                numbers.sort_unstable();
                &numbers[0]
            });
            let length = scope.spawn(|| text.len()).join().unwrap();
            scope.spawn(|| {
                task::sleep(MS).unwrap();
                count += 1;
            });
            let first = sorts.join().unwrap();
            scope.wait().unwrap();
            (length, first)
        });
        assert_eq!((length, *first, count), (4, 1, 1));
    });
}

#[test]
fn scopes_are_nested() {
    fn sum(numbers: &[u64]) -> u64 {
        let (low, high) = numbers.split_at(numbers.len() / 2);
        if low.is_empty() {
            return high.iter().sum();
        }
        task::scope(|scope| {
            let (low, high) = (scope.spawn(|| sum(low)), scope.spawn(|| sum(high)));
            low.join().unwrap() + high.join().unwrap()
        })
    }
    let numbers: Vec<u64> = (1..=1000).collect();
    assert_eq!(in_a_task(move || sum(&numbers)), 500_500);
}

#[test]
fn children_that_are_left_are_canceled_when_the_closure_returns() {
    let log = log();
    in_a_task(|| {
        let borrowed = Borrowed::new(log);
        task::scope(|scope| {
            scope.spawn(|| {
                let _used = borrowed.used("begun");
                task::sleep(HOUR)
            });
            task::yield_now().unwrap();
            let waits = borrowed.used("closure");
            scope.spawn(move || {
                let _waits = waits;
                unreachable!("it does not begin");
            });
        });
        log.borrow_mut().push("after");
    });
    check(log, &["closure", "begun", "after", "owner"]);
}

#[test]
fn a_child_that_cannot_be_canceled_is_waited_for() {
    let log = log();
    let scheduler = scheduler();
    let owner = scheduler.spawn(|| {
        let borrowed = Borrowed::new(log);
        task::scope(|scope| {
            scope.spawn(|| {
                let _used = borrowed.used("child");
                task::shield(|| task::sleep(5 * MS)).unwrap();
            });
            task::park(None)
        })
    });
    scheduler.spawn(move || {
        for _ in 0..4 {
            task::yield_now().unwrap();
            owner.cancel(); // Again and again.
            owner.task().wake();
        }
        assert!(matches!(owner.join(), Err(JoinError::Canceled)));
    });
    scheduler.run().unwrap();
    check(log, &["child", "owner"]);
}

#[test]
fn a_panic_of_the_closure_goes_on_when_the_children_have_ended() {
    let log = log();
    in_a_task(|| {
        let payload = catch_unwind(AssertUnwindSafe(|| {
            let borrowed = Borrowed::new(log);
            task::scope(|scope| -> () {
                scope.spawn(|| {
                    let _used = borrowed.used("child");
                    task::sleep(HOUR)
                });
                task::yield_now().unwrap();
                let _spawns = OnDrop(|| {
                    let late = task::Builder::new().spawn_scoped(scope, || ());
                    assert_eq!(late.map(drop), Err(Error::Unwinding));
                    // A scope that begins here could not wait for its children.
                    task::scope(|within| {
                        let late = task::Builder::new().spawn_scoped(within, || ());
                        assert_eq!(late.map(drop), Err(Error::Unwinding));
                    });
                });
                resume_unwind(Box::new(7));
            })
        }));
        assert_eq!(payload.unwrap_err().downcast_ref(), Some(&7));
        task::yield_now().unwrap(); // It is not unwinding any more.
    });
    check(log, &["child", "owner"]);
}

#[test]
fn a_canceled_owner_is_unwound_after_its_children() {
    let log = log();
    let scheduler = scheduler();
    let owner = scheduler.spawn(|| {
        let borrowed = Borrowed::new(log);
        task::scope(|scope| {
            scope.spawn(|| {
                let _used = borrowed.used("child");
                task::scope(|inner| {
                    inner.spawn(|| {
                        let _used = borrowed.used("grandchild");
                        task::sleep(HOUR)
                    });
                    task::sleep(HOUR)
                })
            });
            scope.wait()
        })
    });
    scheduler.spawn(move || {
        for _ in 0..5 {
            task::yield_now().unwrap(); // Until all have begun.
        }
        owner.cancel();
        assert!(matches!(owner.join(), Err(JoinError::Canceled)));
    });
    scheduler.run().unwrap();
    check(log, &["grandchild", "child", "owner"]);
}

#[test]
fn a_panic_of_a_child_is_told_by_its_handle() {
    in_a_task(|| {
        let payload = task::scope(|scope| {
            let panics = scope.spawn(|| {
                if true {
                    resume_unwind(Box::new("told"))
                }
            });
            let result = panics.join();
            scope.spawn(|| ()).join().unwrap(); // The others go on.
            result
        });
        let Err(JoinError::Panicked(panic)) = payload else { panic!("it has panicked") };
        assert_eq!(panic.message(), "told");
    });
}

#[test]
fn a_forgotten_handle_changes_nothing() {
    let log = log();
    in_a_task(|| {
        let borrowed = Borrowed::new(log);
        task::scope(|scope| {
            let sleeps = scope.spawn(|| {
                let _used = borrowed.used("child");
                task::sleep(HOUR)
            });
            let returns = scope.spawn(|| &borrowed.users);
            std::mem::forget((sleeps, returns));
            task::yield_now().unwrap();
        });
    });
    check(log, &["child", "owner"]);
}

#[test]
fn a_child_does_not_wait_for_its_scope_nor_itself() {
    in_a_task(|| {
        task::scope(|scope| {
            let own: RefCell<Option<task::ScopedJoinHandle<'_, ()>>> = RefCell::new(None);
            let own = Rc::new(own);
            let child = own.clone();
            let waits = scope.spawn(move || {
                assert_eq!(scope.wait(), Err(Error::Deadlock));
                assert_eq!(scope.wait_timeout(HOUR), Err(Error::Deadlock));
                let handle = child.take().unwrap();
                assert!(matches!(handle.join(), Err(JoinError::Failed(Error::Deadlock))));
            });
            *own.borrow_mut() = Some(waits);
            assert_eq!(scope.wait(), Ok(()));
        });
    });
}

#[test]
fn a_scope_outside_of_tasks_has_no_children() {
    let two = task::scope(|scope| {
        let refused = scope.spawn(|| 1).join();
        assert!(matches!(refused, Err(JoinError::Failed(Error::NotInTask))));
        let refused = task::Builder::new().spawn_scoped(scope, || 1);
        assert_eq!(refused.map(drop), Err(Error::NotInTask));
        assert_eq!(scope.wait(), Ok(()));
        2
    });
    assert_eq!(two, 2);
    let payload = catch_unwind(|| task::scope(|_| panic_any(3))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&3));
}

#[test]
fn a_child_that_cannot_be_started_holds_nothing_up() {
    in_a_task(|| {
        task::scope(|scope| {
            let too_small = task::Builder::new().stack_size(1).spawn_scoped(scope, || ());
            assert_eq!(too_small.map(drop), Err(Error::InvalidArgument));
            scope.wait().unwrap();
            scope.cancel_all();
            let late = task::Builder::new().spawn_scoped(scope, || ());
            assert_eq!(late.map(drop), Err(Error::Disconnected));
        });
    });
}

// ---- Where the scheduler ends the tasks ----

/// Suspends an owner, in one of these places, with a child, a grandchild, and a child that has not
/// begun. In some the slots of the task objects are such that children come before those whose they are.
fn suspended_owner(log: Log, place: u32) -> Scheduler {
    let scheduler = scheduler();
    let spare: Vec<_> =
        (0..if place < 3 { 8 } else { 0 }).map(|_| scheduler.spawn(|| task::sleep(MS))).collect();
    let stop = scheduler.stop_handle();
    scheduler.spawn(move || {
        let borrowed = Borrowed::new(log);
        for task in &spare {
            task.wait().unwrap(); // Their slots are free for the children.
        }
        task::scope(|scope| {
            scope.spawn(|| {
                let _used = borrowed.used("child");
                task::scope(|inner| {
                    inner.spawn(|| {
                        let _used = borrowed.used("grandchild");
                        task::sleep(HOUR)
                    });
                    inner.wait()
                })
            });
            while borrowed.users.get() < 2 {
                task::yield_now().unwrap(); // Until the grandchild has begun.
            }
            stop.stop().unwrap();
            let waits = borrowed.used("closure");
            scope.spawn(move || {
                let _waits = waits;
                task::sleep(HOUR)
            });
            match place % 3 {
                0 => task::sleep(HOUR),
                1 => scope.wait(),
                _ => Ok(()),
            }
        })
    });
    scheduler.run().unwrap();
    check(log, &[]);
    scheduler
}

#[track_caller]
fn check_all_ended(log: Log) {
    let mut names = log.take();
    assert_eq!(names.pop(), Some("owner"), "{names:?}");
    let place = |name| names.iter().position(|other| *other == name).unwrap();
    assert!(place("grandchild") < place("child"));
    names.sort_unstable();
    assert_eq!(names, ["child", "closure", "grandchild"]);
}

#[test]
fn a_scheduler_that_is_dropped_ends_children_first() {
    for place in 0..6 {
        let log = log();
        drop(suspended_owner(log, place));
        check_all_ended(log);
    }
}

#[test]
fn a_panic_that_drops_the_scheduler_ends_children_first() {
    for place in 0..6 {
        let log = log();
        let scheduler = suspended_owner(log, place);
        let payload = catch_unwind(AssertUnwindSafe(move || {
            let _scheduler = scheduler;
            resume_unwind(Box::new(1));
        }));
        payload.unwrap_err();
        check_all_ended(log);
    }
}

#[test]
fn a_thread_that_ends_ends_children_first() {
    for place in 0..6 {
        let log = thread::spawn(move || {
            let log = log();
            std::mem::forget(suspended_owner(log, place));
            log as *const _ as usize
        });
        // The thread has ended, and the log is leaked.
        let log = log.join().unwrap() as *const RefCell<Vec<&'static str>>;
        // SAFETY: as said.
        check_all_ended(unsafe { &*log });
    }
}

thread_local!(static KEPT: RefCell<Option<Scheduler>> = const { RefCell::new(None) });

/// What has not begun is discarded before the owner's frame is left, not when the scheduler is dropped.
#[test]
fn a_scheduler_in_a_thread_local_ends_children_first() {
    let log = thread::spawn(move || {
        let log = log();
        KEPT.with(|kept| kept.replace(Some(suspended_owner(log, 3))));
        log as *const _ as usize
    });
    let log = log.join().unwrap() as *const RefCell<Vec<&'static str>>;
    // SAFETY: as above.
    check_all_ended(unsafe { &*log });
}

#[test]
fn an_owner_whose_child_is_given_up_is_given_up_too() {
    static LEFT: AtomicU32 = AtomicU32::new(0);
    on_a_thread_that_stays(|| {
        let scheduler = scheduler();
        let other = scheduler.spawn(|| {
            let _other = OnDrop(|| _ = LEFT.fetch_add(100, SeqCst));
            task::sleep(HOUR)
        });
        scheduler.spawn(|| {
            let borrowed = Cell::new(1);
            let _left = OnDrop(|| _ = LEFT.fetch_add(1, SeqCst));
            task::scope(|scope| {
                scope.spawn(|| {
                    // Somebody may have it for good: another thread, for example.
                    let _borrowed = &borrowed;
                    loop {
                        let _ = catch_unwind(|| task::sleep(HOUR));
                    }
                });
                scope.wait()
            })
        });
        run_for_a_moment(&scheduler);
        drop(scheduler);
        assert!(matches!(other.join(), Err(JoinError::Canceled)));
        assert_eq!(LEFT.load(SeqCst), 100); // Only the other one.
    });
}

#[test]
fn nothing_is_spawned_while_the_scheduler_is_dropped() {
    let scheduler = scheduler();
    let drops = Drops::default();
    let counted = drops.guard();
    scheduler.spawn(move || {
        let counted = counted;
        task::scope(|scope| {
            let counted = &counted;
            scope.spawn(move || {
                let _ = catch_unwind(AssertUnwindSafe(|| task::sleep(HOUR)));
                // Canceled, but not unwinding.
                let refused = scope.spawn(|| counted.clone_count()).join();
                assert!(matches!(refused, Err(JoinError::Failed(Error::Canceled))));
            });
            task::sleep(HOUR)
        })
    });
    run_for_a_moment(&scheduler);
    drop(scheduler);
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_handle_of_a_child_does_what_every_handle_does() {
    in_a_task(|| {
        task::scope(|scope| {
            let child = scope.spawn(|| task::park(None));
            assert_eq!(format!("{scope:?}"), "Scope { children: 1 }");
            assert!(format!("{child:?}").starts_with("ScopedJoinHandle(JoinHandle"));
            assert_eq!(child.wait_timeout(MS), Err(Error::TimedOut));
            assert!(!child.is_finished());
            child.task().wake();
            child.wait().unwrap();
            assert!(child.is_finished());
            assert_eq!(child.join().unwrap(), Ok(()));
            let canceled = scope.spawn(|| task::park(None));
            task::yield_now().unwrap();
            canceled.cancel();
            assert!(matches!(canceled.join(), Err(JoinError::Canceled)));
        });
    });
}

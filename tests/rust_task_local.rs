//! `task_local!`: when values are made, inherited and dropped.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use majjen::{Error, JoinError, task, task_local};
use support::{Drops, HOUR, run_for_a_moment, scheduler};

/// Tells of its end.
#[derive(Default)]
struct Tells(Option<support::Guard>);

task_local! {
    static GUARD: RefCell<Tells> = RefCell::default();
    static NUMBER: Cell<u32> = Cell::new(7);
    inherited static NAME: RefCell<Rc<str>> = RefCell::new("nobody".into());
}

#[test]
fn a_key_can_be_shown() {
    assert_eq!(format!("{NUMBER:?}"), "LocalKey { .. }");
}

#[test]
fn a_value_is_dropped_however_the_task_ends() {
    type Body = fn();
    let ways: [Body; 4] = [
        || (),
        || panic!("on purpose"),
        || task::sleep(HOUR).unwrap(),
        || drop(std::panic::catch_unwind(|| task::sleep(HOUR))),
    ];
    for way in ways {
        let (scheduler, drops) = (scheduler(), Drops::default());
        let guard = drops.guard();
        let handle = scheduler.spawn(move || {
            GUARD.with(|value| value.borrow_mut().0 = Some(guard)).unwrap();
            way();
        });
        run_for_a_moment(&scheduler);
        drop(scheduler);
        assert!(handle.is_finished());
        assert_eq!(drops.count(), 1);
    }
}

#[test]
fn each_task_has_its_own() {
    let scheduler = scheduler();
    let tasks: Vec<_> = (0..5)
        .map(|number| {
            scheduler.spawn(move || {
                assert_eq!(NUMBER.with(Cell::get), Ok(7));
                NUMBER.with(|value| value.set(number)).unwrap();
                task::yield_now().unwrap();
                NUMBER.with(|value| {
                    task::yield_now().unwrap(); // It may suspend in there.
                    value.get()
                })
            })
        })
        .collect();
    scheduler.run().unwrap();
    for (number, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), Ok(number));
    }
    assert_eq!(NUMBER.with(Cell::get), Err(Error::NotInTask));
}

/// Suspends while it is dropped.
struct Slow(Rc<Cell<u32>>);

impl Drop for Slow {
    fn drop(&mut self) {
        for _ in 0..3 {
            let result = task::shield(|| task::sleep(Duration::from_millis(1)));
            self.0.set(self.0.get() + u32::from(result == Ok(())));
        }
    }
}

task_local!(static SLOW: RefCell<Option<Slow>> = RefCell::new(None));

#[test]
fn a_destructor_may_suspend() {
    for cancel in [false, true] {
        let (scheduler, slept) = (scheduler(), Rc::new(Cell::new(0)));
        let value = Slow(slept.clone());
        let handle = scheduler.spawn(move || {
            SLOW.with(|slow| slow.replace(Some(value))).unwrap();
            task::sleep(if cancel { HOUR } else { Duration::ZERO }).unwrap();
        });
        let seen = slept.clone();
        scheduler.spawn(move || {
            if cancel {
                task::yield_now().unwrap();
                handle.cancel();
            }
            assert_eq!(handle.join().is_err(), cancel);
            assert_eq!(seen.get(), 3); // It has not ended before.
        });
        scheduler.run().unwrap();
        assert_eq!(slept.get(), 3);
    }
}

/// Is in the middle of its destructor when the scheduler is dropped.
#[test]
fn a_destructor_is_unwound_with_the_scheduler() {
    struct Waits(Drops);
    impl Drop for Waits {
        fn drop(&mut self) {
            let _guard = self.0.guard();
            let _ = task::park(None);
            unreachable!("it is unwound");
        }
    }
    task_local!(static WAITS: RefCell<Option<Waits>> = RefCell::new(None));
    let (scheduler, drops) = (scheduler(), Drops::default());
    let value = Waits(drops.clone());
    scheduler.spawn(move || drop(WAITS.with(|waits| waits.replace(Some(value)))));
    run_for_a_moment(&scheduler);
    assert_eq!(drops.count(), 0);
    drop(scheduler);
    assert_eq!(drops.count(), 1);
}

#[test]
fn a_new_task_begins_with_a_clone_of_what_is_inherited() {
    let scheduler = scheduler();
    let name = || NAME.with(|name| name.borrow().to_string()).unwrap();
    let parent = scheduler.spawn(move || {
        let before = task::spawn(name);
        NAME.with(|name| name.replace("ada".into())).unwrap();
        NUMBER.with(|number| number.set(1)).unwrap();
        let child = task::spawn(move || {
            assert_eq!(NUMBER.with(Cell::get), Ok(7));
            NAME.with(|own| own.replace(format!("{}'s child", name()).into())).unwrap();
            (name(), task::spawn(name).join().unwrap())
        });
        let scoped = task::scope(|scope| scope.spawn(name).join().unwrap());
        (before.join().unwrap(), child.join().unwrap(), scoped, name())
    });
    let outside = scheduler.spawn(name);
    scheduler.run().unwrap();
    let (before, (child, grandchild), scoped, own) = parent.join().unwrap();
    assert_eq!([&*before, &outside.join().unwrap()], ["nobody"; 2]);
    assert_eq!([&*child, &*grandchild], ["ada's child"; 2]);
    assert_eq!([&*scoped, &*own], ["ada"; 2]);
}

/// Counts how many there are, and does not like to be cloned.
struct Fussy(Rc<Cell<i32>>);

impl Clone for Fussy {
    fn clone(&self) -> Fussy {
        assert!(self.0.get() < 2, "enough");
        self.0.set(self.0.get() + 1);
        Fussy(self.0.clone())
    }
}

impl Drop for Fussy {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

task_local!(inherited static FUSSY: RefCell<Option<Fussy>> = RefCell::new(None));

#[test]
fn a_clone_that_panics_is_no_value() {
    let (scheduler, count) = (scheduler(), Rc::new(Cell::new(1)));
    let first = Fussy(count.clone());
    let has_one = || FUSSY.with(|fussy| fussy.borrow().is_some()).unwrap();
    let parent = scheduler.spawn(move || {
        FUSSY.with(|fussy| fussy.replace(Some(first))).unwrap();
        let children = [task::spawn(has_one), task::spawn(has_one)];
        children.map(|child| child.join().unwrap())
    });
    scheduler.run().unwrap();
    assert_eq!(parent.join().unwrap(), [true, false]);
    assert_eq!(count.get(), 0);
}

/// Tries to suspend while it is cloned.
struct Suspends(Rc<Cell<Option<majjen::Result<()>>>>);

impl Clone for Suspends {
    fn clone(&self) -> Suspends {
        assert!(task::current().is_none());
        assert_eq!(NUMBER.with(Cell::get), Err(Error::NotInTask));
        self.0.set(Some(task::sleep(Duration::from_millis(1))));
        drop(task::spawn(|| ())); // No parent, no clone.
        Suspends(self.0.clone())
    }
}

task_local!(inherited static SUSPENDS: RefCell<Option<Suspends>> = RefCell::new(None));

#[test]
fn a_clone_cannot_suspend() {
    let (scheduler, result) = (scheduler(), Rc::new(Cell::new(None)));
    let value = Suspends(result.clone());
    let parent = scheduler.spawn(move || {
        SUSPENDS.with(|own| own.replace(Some(value))).unwrap();
        let child = task::spawn(|| SUSPENDS.with(|own| own.borrow().is_some()).unwrap());
        assert!(child.join().unwrap());
        assert_eq!(NUMBER.with(Cell::get), Ok(7));
    });
    scheduler.run().unwrap();
    parent.join().unwrap();
    assert_eq!(result.get(), Some(Err(Error::NotInTask)));
}

/// Those that have no turn.
#[test]
fn values_that_were_inherited_are_dropped_with_the_scheduler() {
    let (scheduler, count) = (scheduler(), Rc::new(Cell::new(1)));
    let first = Fussy(count.clone());
    let seen = count.clone();
    let stop = scheduler.stop_handle();
    let parent = scheduler.spawn(move || {
        FUSSY.with(|fussy| fussy.replace(Some(first))).unwrap();
        let child = task::spawn(|| ());
        assert_eq!(seen.get(), 2);
        stop.stop().unwrap();
        child.join()
    });
    scheduler.run().unwrap();
    drop(scheduler);
    assert_eq!(count.get(), 0);
    assert!(matches!(parent.join(), Err(JoinError::Canceled)));
}

task_local! {
    static OUTER: Cell<u32> = Cell::new(INNER.with(Cell::get).unwrap() + 1);
    static INNER: Cell<u32> = Cell::new(1);
    static ITSELF: Cell<u32> = {
        let depth = DEPTH.with(|depth| depth.replace(depth.get() + 1)).unwrap();
        Cell::new(if depth == 0 { ITSELF.with(Cell::get).unwrap() + 10 } else { 1 })
    };
    static DEPTH: Cell<u32> = Cell::new(0);
    static FAILS: Cell<u32> = if true { panic!("on purpose") } else { Cell::new(0) };
}

#[test]
fn a_value_may_be_made_of_others() {
    let scheduler = scheduler();
    let task = scheduler.spawn(|| {
        assert_eq!(OUTER.with(Cell::get), Ok(2));
        // The value that was there first stays: somebody may use it.
        assert_eq!(ITSELF.with(Cell::get), Ok(1));
        for _ in 0..2 {
            assert!(std::panic::catch_unwind(|| FAILS.with(Cell::get)).is_err());
        }
    });
    scheduler.run().unwrap();
    task.join().unwrap();
}

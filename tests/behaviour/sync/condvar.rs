//! Condition variables.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::{Events, HOUR, LIMIT, MS, Sync, api_that_pretends, compute, settle};

behaviours!(
    a_notification_wakes_one_and_all,
    a_wait_for_a_condition_has_a_timeout,
    a_notification_wakes_current_waiters_only,
    a_notification_in_time_counts,
    an_ended_wait_takes_no_notification,
    relocking_fails_when_the_owner_has_ended,
    a_bounded_queue_loses_nothing,
);

fn a_notification_wakes_one_and_all<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, condvar) = (api.mutex(), api.condvar());
    for name in ["a", "b", "c"] {
        let events = events.clone();
        api.spawn(move || {
            D::lock(mutex, None).unwrap();
            D::wait(condvar, mutex, None).unwrap();
            events.push(name);
            D::unlock(mutex).unwrap();
        });
    }
    let log = events.clone();
    api.spawn(move || {
        D::notify_one(condvar);
        D::yield_now().unwrap();
        log.push("one");
        D::lock(mutex, None).unwrap();
        D::notify_all(condvar);
        D::yield_now().unwrap();
        log.push("all");
        D::unlock(mutex).unwrap();
    });
    api.run();
    events.are(&["a", "one", "all", "b", "c"]);
}

fn a_wait_for_a_condition_has_a_timeout<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, condvar, log) = (api.mutex(), api.condvar(), events.clone());
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        let began = Instant::now();
        log.push(D::wait(condvar, mutex, Some(2 * MS)));
        assert!(began.elapsed() >= 2 * MS);
        log.push(D::try_lock(mutex));
        D::unlock(mutex).unwrap();
    });
    api.run();
    events.are(&[Err(libc::ETIMEDOUT), Err(libc::EDEADLK)]);
}

/// Not for later waiters; and a waiter has unlocked the mutex.
fn a_notification_wakes_current_waiters_only<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, condvar) = (api.mutex(), api.condvar());
    let (inner, log) = (api.clone(), events.clone());
    api.spawn(move || {
        D::notify_one(condvar);
        D::notify_all(condvar);
        let waits = |name| {
            let log = log.clone();
            inner.spawn(move || {
                D::lock(mutex, None).unwrap();
                D::wait(condvar, mutex, None).unwrap();
                log.push(name);
                D::unlock(mutex).unwrap();
            });
        };
        waits("first");
        waits("second");
        settle::<D>();
        log.push("nobody");
        D::try_lock(mutex).unwrap();
        D::notify_all(condvar);
        D::unlock(mutex).unwrap();
        waits("later");
        settle::<D>();
        log.push("all");
        D::notify_one(condvar);
    });
    api.run();
    events.are(&["nobody", "first", "second", "all", "later"]);
}

/// A deadline that passes while the task waits for the mutex does not undo the notification.
fn a_notification_in_time_counts<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, condvar, log) = (api.mutex(), api.condvar(), events.clone());
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        log.push(D::wait(condvar, mutex, Some(HOUR)).map(|()| "notified"));
        D::unlock(mutex).unwrap();
    });
    let log = events.clone();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::notify_one(condvar);
        compute();
        D::sleep(MS).unwrap();
        log.push(Ok("unlocked"));
        D::unlock(mutex).unwrap();
    });
    api.run();
    events.are(&[Ok("unlocked"), Ok("notified")]);
}

/// Whatever has ended a wait, the task waits for the mutex, and the next notification is for
/// another waiter.
fn an_ended_wait_takes_no_notification<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, condvar) = (api.mutex(), api.condvar());
    let waits = |timeout| {
        let log = events.clone();
        api.spawn(move || {
            D::lock(mutex, None).unwrap();
            log.push(D::wait(condvar, mutex, timeout));
            let _ = D::unlock(mutex); // A guard of the Rust API does not survive a cancellation.
        })
    };
    let canceled = waits(None);
    waits(Some(LIMIT));
    waits(None);
    let log = events.clone();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::cancel(&canceled);
        D::sleep(2 * LIMIT).unwrap();
        log.are(&[]);
        D::notify_one(condvar);
        D::unlock(mutex).unwrap();
    });
    api.run();
    events.are(&[Err(libc::ECANCELED), Err(libc::ETIMEDOUT), Ok(())]);
}

fn relocking_fails_when_the_owner_has_ended<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, condvar) = (api.mutex(), api.condvar());
    for timeout in [None, Some(LIMIT), None] {
        let log = events.clone();
        api.spawn(move || {
            D::lock(mutex, None).unwrap();
            log.push(D::wait(condvar, mutex, timeout));
        });
    }
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::notify_one(condvar);
        D::sleep(2 * LIMIT).unwrap();
    });
    let log = events.clone();
    api.spawn(move || {
        D::sleep(3 * LIMIT).unwrap();
        log.are(&[Err(libc::EOWNERDEAD); 2]);
        D::notify_one(condvar);
    });
    api.run();
    events.are(&[Err(libc::EOWNERDEAD); 3]);
}

/// The usual pattern of threads.
fn a_bounded_queue_loses_nothing<D: Sync>() {
    const COUNT: u64 = 100;
    let api = api_that_pretends::<D>();
    let (mutex, not_full, not_empty) = (api.mutex(), api.condvar(), api.condvar());
    let queue: Rc<RefCell<Vec<u64>>> = Rc::default();
    let sums = Rc::new(RefCell::new([0, 0]));
    for number in 0..10 {
        let (queue, sums) = (queue.clone(), sums.clone());
        api.spawn(move || {
            for count in 0..COUNT {
                D::lock(mutex, None).unwrap();
                while queue.borrow().len() == 3 {
                    D::wait(not_full, mutex, None).unwrap();
                }
                queue.borrow_mut().push(count);
                sums.borrow_mut()[0] += count;
                D::notify_one(not_empty);
                D::unlock(mutex).unwrap();
                if count % 5 == number % 5 {
                    D::yield_now().unwrap();
                }
            }
        });
    }
    for number in 0..10 {
        let (queue, sums) = (queue.clone(), sums.clone());
        api.spawn(move || {
            for count in 0..COUNT {
                D::lock(mutex, None).unwrap();
                while queue.borrow().is_empty() {
                    D::wait(not_empty, mutex, None).unwrap();
                }
                sums.borrow_mut()[1] += queue.borrow_mut().pop().unwrap();
                D::notify_one(not_full);
                D::unlock(mutex).unwrap();
                if count % 3 == number % 3 {
                    D::sleep(MS / 1000).unwrap();
                }
            }
        });
    }
    api.run();
    assert_eq!(*sums.borrow(), [10 * COUNT * (COUNT - 1) / 2; 2]);
    assert_eq!(api.tasks(), (20, 20));
}

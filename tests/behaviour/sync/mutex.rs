//! Mutexes.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Events, HOUR, MS, Sync, api_that_pretends};

behaviours!(
    a_mutex_is_handed_over_in_order,
    a_lock_has_a_timeout_and_ignores_it_when_free,
    nobody_locks_twice,
    an_unlocked_mutex_is_handed_to_the_first_waiter,
    a_loop_of_locks_with_a_zero_timeout_lets_the_owner_run,
    a_canceled_task_locks_what_is_free_and_does_not_wait,
    waiters_learn_that_the_owner_has_ended,
);

fn a_mutex_is_handed_over_in_order<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let mutex = api.mutex();
    for name in 0..4 {
        let events = events.clone();
        api.spawn(move || {
            for _ in 0..2 {
                D::lock(mutex, None).unwrap();
                D::yield_now().unwrap();
                events.push(name);
                D::unlock(mutex).unwrap();
            }
        });
    }
    api.run();
    events.are(&[0, 1, 2, 3, 0, 1, 2, 3]);
}

fn a_lock_has_a_timeout_and_ignores_it_when_free<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let mutex = api.mutex();
    let has_waited = Rc::new(Cell::new(false));
    let enough = has_waited.clone();
    api.spawn(move || {
        D::lock(mutex, Some(Duration::ZERO)).unwrap();
        while !enough.get() {
            D::sleep(MS).unwrap();
        }
        D::unlock(mutex).unwrap();
    });
    let log = events.clone();
    api.spawn(move || {
        log.push(D::try_lock(mutex));
        let began = Instant::now();
        log.push(D::lock(mutex, Some(2 * MS)));
        assert!(began.elapsed() >= 2 * MS);
        has_waited.set(true);
        log.push(D::lock(mutex, Some(HOUR)));
        log.push(D::unlock(mutex));
        log.push(D::try_lock(mutex));
        log.push(D::unlock(mutex));
    });
    api.run();
    events.are(&[Err(libc::EAGAIN), Err(libc::ETIMEDOUT), Ok(()), Ok(()), Ok(()), Ok(())]);
}

fn nobody_locks_twice<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, log) = (api.mutex(), events.clone());
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        log.push(D::lock(mutex, None));
        log.push(D::try_lock(mutex));
        D::unlock(mutex).unwrap();
    });
    api.run();
    events.are(&[Err(libc::EDEADLK), Err(libc::EDEADLK)]);
}

/// The first waiter owns the mutex as soon as it is unlocked: no task takes it before that one
/// runs.
fn an_unlocked_mutex_is_handed_to_the_first_waiter<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, inner) = (api.mutex(), api.clone());
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        for name in 0..3 {
            let log = events.clone();
            inner.spawn(move || {
                D::lock(mutex, None).unwrap();
                log.push(name);
                D::yield_now().unwrap();
                D::unlock(mutex).unwrap();
            });
        }
        D::yield_now().unwrap();
        D::unlock(mutex).unwrap();
        events.are(&[]);
        assert_eq!(D::try_lock(mutex), Err(libc::EAGAIN));
        D::lock(mutex, None).unwrap();
        events.are(&[0, 1, 2]);
        D::unlock(mutex).unwrap();
    });
    api.run();
}

fn a_loop_of_locks_with_a_zero_timeout_lets_the_owner_run<D: Sync>() {
    let api = api_that_pretends::<D>();
    let mutex = api.mutex();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        for _ in 0..3 {
            D::yield_now().unwrap();
        }
        D::unlock(mutex).unwrap();
    });
    api.spawn(move || {
        let refused = (0..10).take_while(|_| D::lock(mutex, Some(Duration::ZERO)).is_err()).count();
        assert!((1..10).contains(&refused), "{refused} times");
        D::unlock(mutex).unwrap();
    });
    api.run();
}

fn a_canceled_task_locks_what_is_free_and_does_not_wait<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (free, locked, log) = (api.mutex(), api.mutex(), events.clone());
    let canceled = api.spawn(move || {
        log.push(D::park(None));
        log.push(D::lock(free, None));
        D::unlock(free).unwrap();
        log.push(D::lock(locked, None));
    });
    api.spawn(move || {
        D::lock(locked, None).unwrap();
        D::cancel(&canceled);
        D::sleep(2 * MS).unwrap();
        D::unlock(locked).unwrap();
    });
    api.run();
    events.are(&[Err(libc::ECANCELED), Ok(()), Err(libc::ECANCELED)]);
}

/// It stays locked for good.
fn waiters_learn_that_the_owner_has_ended<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let mutex = api.mutex();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::sleep(2 * MS).unwrap();
    });
    for timeout in [None, Some(HOUR)] {
        let log = events.clone();
        api.spawn(move || log.push(D::lock(mutex, timeout)));
    }
    let log = events.clone();
    api.spawn(move || {
        D::sleep(5 * MS).unwrap();
        log.push(D::lock(mutex, None));
        log.push(D::try_lock(mutex));
    });
    api.run();
    events.are(&[Err(libc::EOWNERDEAD); 4]);
}

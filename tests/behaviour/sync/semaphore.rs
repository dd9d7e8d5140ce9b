//! Semaphores.

use std::time::Instant;

use super::{Events, HOUR, MS, Sync, api_that_pretends, compute, settle};

behaviours!(
    a_small_request_waits_behind_an_earlier_large_one,
    permits_are_counted_and_overflow_is_refused,
    all_permits_can_be_taken_and_none,
    permits_are_handed_over_in_order,
    a_waiter_that_gives_up_unblocks_later_ones,
);

fn a_small_request_waits_behind_an_earlier_large_one<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let semaphore = api.semaphore(1);
    for permits in [3, 1, 2] {
        let events = events.clone();
        api.spawn(move || {
            D::acquire(semaphore, permits, None).unwrap();
            events.push(permits);
            D::release(semaphore, permits).unwrap();
        });
    }
    api.spawn(move || {
        assert_eq!(D::try_acquire(semaphore, 1), Err(libc::EAGAIN)); // Others wait, and are first.
        D::release(semaphore, 2).unwrap();
    });
    api.run();
    events.are(&[3, 1, 2]);
    assert_eq!(D::available(semaphore), 3);
}

fn permits_are_counted_and_overflow_is_refused<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (semaphore, log) = (api.semaphore(2), events.clone());
    api.spawn(move || {
        D::acquire(semaphore, 2, None).unwrap();
        let began = Instant::now();
        log.push(D::acquire(semaphore, 1, Some(2 * MS)));
        assert!(began.elapsed() >= 2 * MS);
        log.push(D::release(semaphore, u32::MAX));
        log.push(D::release(semaphore, 1));
    });
    api.run();
    events.are(&[Err(libc::ETIMEDOUT), Ok(()), Err(libc::EOVERFLOW)]);
    assert_eq!(D::available(semaphore), u32::MAX);
}

fn all_permits_can_be_taken_and_none<D: Sync>() {
    let api = api_that_pretends::<D>();
    let semaphore = api.semaphore(u32::MAX);
    api.spawn(move || {
        D::acquire(semaphore, u32::MAX, None).unwrap();
        D::try_acquire(semaphore, 0).unwrap();
        assert_eq!(D::try_acquire(semaphore, 1), Err(libc::EAGAIN));
        D::release(semaphore, 2).unwrap();
        assert_eq!(D::try_acquire(semaphore, 3), Err(libc::EAGAIN));
        D::try_acquire(semaphore, 2).unwrap();
    });
    api.run();
    assert_eq!(D::available(semaphore), 0);
}

/// The permits belong to the task at once, not only when it runs.
fn permits_are_handed_over_in_order<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let semaphore = api.semaphore(0);
    for permits in [1, 3, 1, 2] {
        let log = events.clone();
        api.spawn(move || {
            D::acquire(semaphore, permits, None).unwrap();
            log.push(permits);
        });
    }
    let log = events.clone();
    api.spawn(move || {
        let release = |permits, left| {
            D::release(semaphore, permits).unwrap();
            assert_eq!(D::available(semaphore), left);
            assert_eq!(D::try_acquire(semaphore, 1), Err(libc::EAGAIN));
            settle::<D>();
        };
        release(3, 2);
        log.are(&[1]);
        release(2, 0);
        log.are(&[1, 3, 1]);
        release(1, 1);
        log.are(&[1, 3, 1]);
        release(1, 0);
    });
    api.run();
    events.are(&[1, 3, 1, 2]);
}

/// When a waiter of many permits gives up, smaller requests behind it are served, as far as permits
/// go.
fn a_waiter_that_gives_up_unblocks_later_ones<D: Sync>() {
    for is_canceled in [true, false] {
        let (api, events) = (api_that_pretends::<D>(), Events::new());
        let semaphore = api.semaphore(2);
        let greedy = api.spawn(move || {
            let limit = (!is_canceled).then_some(HOUR);
            let error = if is_canceled { libc::ECANCELED } else { libc::ETIMEDOUT };
            assert_eq!(D::acquire(semaphore, 3, limit), Err(error));
        });
        for name in 1..=3 {
            let log = events.clone();
            api.spawn(move || {
                D::acquire(semaphore, 1, None).unwrap();
                log.push(name);
            });
        }
        let log = events.clone();
        api.spawn(move || {
            log.are(&[]);
            if is_canceled {
                D::cancel(&greedy);
            }
            compute();
            D::sleep(MS).unwrap();
            settle::<D>();
            log.are(&[1, 2]);
            assert_eq!(D::available(semaphore), 0);
            D::release(semaphore, 3).unwrap();
        });
        api.run();
        events.are(&[1, 2, 3]);
        assert_eq!(D::available(semaphore), 2);
    }
}

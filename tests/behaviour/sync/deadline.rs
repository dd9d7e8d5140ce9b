//! The deadline of a task, which limits all its waits.

use std::cell::Cell;
use std::io::Write;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Api, Events, HOUR, MS, Sync, api_that_pretends, compute, settle};

behaviours!(
    each_wait_ends_at_the_deadline_of_its_task,
    past_the_deadline_each_wait_lets_the_others_have_their_turn,
    what_needs_no_waiting_is_had_past_the_deadline,
    a_limit_of_a_call_that_is_earlier_counts,
    a_sleep_that_is_over_before_the_deadline_is_complete,
    a_deadline_is_put_back_and_lifted,
    a_new_task_has_no_deadline,
    the_relock_after_a_condition_does_not_count_the_deadline,
    what_happens_after_the_deadline_but_before_the_turn_counts,
    a_canceled_task_is_told_that_first,
    a_deadline_outside_a_task_is_refused,
);

type Wait = Rc<dyn Fn(Option<Duration>) -> Result<(), i32>>;

/// A wait of each kind, for something that does not come, with a limit of its own; and the task that some of
/// them wait for, to be canceled at the end.
fn waits<D: Sync>(api: &D) -> (Vec<(&'static str, Wait)>, D::Task) {
    let (mutex, semaphore, group) = (api.mutex(), api.semaphore(0), api.group());
    let (condvar, condvar_mutex) = (api.condvar(), api.mutex());
    let (empty, full) = (api.channel(0), api.channel(0));
    D::add(group, 1).unwrap();
    let target = api.spawn(move || {
        D::lock(mutex, None).unwrap();
        assert_eq!(D::park(None), Err(libc::ECANCELED));
        D::unlock(mutex).unwrap();
    });
    let joined = target.clone();
    let (reader, writer) = std::io::pipe().unwrap();
    let waits: Vec<(_, Wait)> = vec![
        ("sleep", Rc::new(|limit: Option<Duration>| D::sleep(limit.unwrap_or(Duration::MAX)))),
        ("park", Rc::new(|limit| D::park(limit))),
        (
            "fd",
            Rc::new(move |limit| {
                let _open = &writer;
                D::wait_readable(reader.as_fd(), limit)
            }),
        ),
        ("join", Rc::new(move |limit| D::join(&joined, limit))),
        ("lock", Rc::new(move |limit| D::lock(mutex, limit))),
        (
            "condition",
            Rc::new(move |limit| {
                D::lock(condvar_mutex, None)?;
                let result = D::wait(condvar, condvar_mutex, limit);
                let _ = D::unlock(condvar_mutex); // In Rust it has been dropped with an error.
                result
            }),
        ),
        ("permits", Rc::new(move |limit| D::acquire(semaphore, 1, limit))),
        ("group", Rc::new(move |limit| D::wait_for_group(group, limit))),
        ("receive", Rc::new(move |limit| D::receive(empty, limit).map(drop))),
        ("send", Rc::new(move |limit| D::send(full, 1, limit))),
        ("select", Rc::new(move |limit| D::select(&[(empty, None)], limit).map(drop))),
    ];
    (waits, target)
}

const TIMED_OUT: Result<(), i32> = Err(libc::ETIMEDOUT);

fn each_wait_ends_at_the_deadline_of_its_task<D: Sync>() {
    for limit in [None, Some(HOUR)] {
        let api: D = D::new();
        let (waits, target) = waits(&api);
        api.spawn(move || {
            D::yield_now().unwrap();
            for (name, wait) in &waits {
                let began = Instant::now();
                D::set_deadline(Some(2 * MS)).unwrap();
                assert_eq!(wait(limit), TIMED_OUT, "{name}");
                assert!(began.elapsed() >= 2 * MS, "{name}");
            }
            D::cancel(&target);
        });
        api.run();
        assert_eq!(api.tasks(), (2, 2));
    }
}

/// Also where the task goes round in a loop.
fn past_the_deadline_each_wait_lets_the_others_have_their_turn<D: Sync>() {
    const ROUNDS: u32 = 10;
    for limit in [None, Some(HOUR)] {
        let api: D = api_that_pretends();
        let (waits, target) = waits(&api);
        let (turns, is_over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (own, seen) = (turns.clone(), is_over.clone());
        api.spawn(move || {
            D::yield_now().unwrap();
            D::set_deadline(Some(MS)).unwrap();
            compute();
            for (name, wait) in &waits {
                for _ in 0..ROUNDS {
                    let before = turns.get();
                    assert_eq!(wait(limit), TIMED_OUT, "{name}");
                    assert!(turns.get() > before, "{name}");
                }
            }
            D::cancel(&target);
            is_over.set(true);
        });
        api.spawn(move || {
            while !seen.get() {
                own.set(own.get() + 1);
                D::yield_now().unwrap();
            }
        });
        api.run();
    }
}

fn what_needs_no_waiting_is_had_past_the_deadline<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (mutex, semaphore, group) = (api.mutex(), api.semaphore(1), api.group());
    let channel = api.channel(1);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    let ended = api.spawn(|| ());
    let log = events.clone();
    api.spawn(move || {
        let _open = writer;
        D::yield_now().unwrap();
        D::set_deadline(Some(MS)).unwrap();
        compute();
        for limit in [None, Some(HOUR)] {
            log.push(D::lock(mutex, limit).and_then(|()| D::unlock(mutex)));
            log.push(D::acquire(semaphore, 1, limit).and_then(|()| D::release(semaphore, 1)));
            log.push(D::wait_for_group(group, limit));
            log.push(D::send(channel, 5, limit));
            log.push(D::receive(channel, limit).map(|number| assert_eq!(number, 5)));
            log.push(D::wait_readable(reader.as_fd(), limit));
            log.push(D::join(&ended, limit));
            log.push(D::yield_now()); // No wait.
        }
    });
    api.run();
    events.are(&[Ok(()); 16]);
}

fn a_limit_of_a_call_that_is_earlier_counts<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let semaphore = api.semaphore(0);
    let log = events.clone();
    api.spawn(move || {
        D::set_deadline(Some(HOUR)).unwrap();
        let began = Instant::now();
        log.push(D::park(Some(MS)));
        log.push(D::acquire(semaphore, 1, Some(MS)));
        log.push(D::sleep(MS));
        assert!(began.elapsed() >= 3 * MS && began.elapsed() < HOUR);
    });
    api.run();
    events.are(&[TIMED_OUT, TIMED_OUT, Ok(())]);
}

/// Though both have passed when the task runs.
fn a_sleep_that_is_over_before_the_deadline_is_complete<D: Api>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    for (sleep, expected) in [(HOUR / 2, Ok(())), (2 * HOUR, TIMED_OUT)] {
        let log = events.clone();
        api.spawn(move || {
            D::set_deadline(Some(HOUR)).unwrap();
            log.push((sleep, D::sleep(sleep)));
            assert_eq!(D::sleep(MS), TIMED_OUT, "{expected:?}");
        });
    }
    api.spawn(|| {
        D::yield_now().unwrap();
        compute();
        compute();
    });
    api.run();
    events.are(&[(HOUR / 2, Ok(())), (2 * HOUR, TIMED_OUT)]);
}

fn a_deadline_is_put_back_and_lifted<D: Api>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let log = events.clone();
    api.spawn(move || {
        assert_eq!(D::set_deadline(Some(HOUR)), Ok(None));
        let old = D::set_deadline(None).unwrap().unwrap();
        assert!(old <= HOUR && old > HOUR / 2, "{old:?}");
        compute();
        log.push(D::sleep(MS)); // Cleans up.
        assert_eq!(D::set_deadline(Some(MS)), Ok(None));
        compute();
        assert_eq!(D::set_deadline(Some(HOUR)), Ok(Some(Duration::ZERO))); // It is past.
        log.push(D::park(Some(MS)));
        log.push(D::sleep(MS));
        compute();
        log.push(D::sleep(MS));
    });
    api.run();
    events.are(&[Ok(()), TIMED_OUT, Ok(()), TIMED_OUT]);
}

/// Neither one that a task with a deadline makes, nor one that gets the memory of such a task.
fn a_new_task_has_no_deadline<D: Api>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    for _ in 0..3 {
        let (inner, log) = (api.clone(), events.clone());
        api.spawn(move || {
            assert_eq!(D::set_deadline(Some(MS)), Ok(None));
            compute();
            inner.spawn(move || {
                log.push(D::sleep(MS));
                assert_eq!(D::set_deadline(Some(Duration::ZERO)), Ok(None));
            });
        });
        api.run();
    }
    events.are(&[Ok(()); 3]);
}

fn the_relock_after_a_condition_does_not_count_the_deadline<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (condvar, mutex) = (api.condvar(), api.mutex());
    let log = events.clone();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::set_deadline(Some(HOUR)).unwrap();
        let result = D::wait(condvar, mutex, None);
        log.push(("is told", result));
        let _ = D::unlock(mutex);
    });
    let log = events.clone();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        compute();
        settle::<D>();
        D::sleep(MS).unwrap();
        log.push(("unlocks", D::unlock(mutex)));
    });
    api.run();
    events.are(&[("unlocks", Ok(())), ("is told", TIMED_OUT)]);
}

fn what_happens_after_the_deadline_but_before_the_turn_counts<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let channel = api.channel(0);
    let log = events.clone();
    api.spawn(move || {
        D::set_deadline(Some(HOUR)).unwrap();
        log.push(D::receive(channel, None));
        log.push(D::receive(channel, None));
    });
    api.spawn(move || {
        D::yield_now().unwrap();
        compute();
        D::yield_now().unwrap();
        D::try_send(channel, 7).unwrap();
    });
    api.run();
    events.are(&[Ok(7), Err(libc::ETIMEDOUT)]);
}

fn a_canceled_task_is_told_that_first<D: Api>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let log = events.clone();
    let waits = api.spawn(move || {
        D::set_deadline(Some(HOUR)).unwrap();
        log.push(D::park(None));
        compute();
        log.push(D::park(None));
        log.push(D::sleep(HOUR));
    });
    api.spawn(move || D::cancel(&waits));
    api.run();
    events.are(&[Err(libc::ECANCELED); 3]);
}

fn a_deadline_outside_a_task_is_refused<D: Api>() {
    let _api = D::new();
    assert_eq!(D::set_deadline(Some(MS)), Err(libc::EPERM));
}

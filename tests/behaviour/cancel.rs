//! Cancellations that are held, and tasks that are reached between runs.

use std::cell::Cell;
use std::rc::Rc;

use super::{Api, End, Events, HOUR, MS};

behaviours!(
    a_shielded_task_waits_as_ever_and_is_told_afterwards,
    a_cancellation_does_not_end_the_wait_of_a_shielded_task,
    shields_are_nested,
    a_canceled_parent_sleeps_until_its_child_has_ended,
    tasks_are_canceled_between_runs,
    tasks_are_woken_between_runs,
    no_task_with_an_id_is_reached,
);

fn a_shielded_task_waits_as_ever_and_is_told_afterwards<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    let canceled = api.spawn(move || {
        log.push(D::park(None)); // Canceled here.
        let inside = log.clone();
        D::shield(|| {
            inside.push(D::sleep(MS));
            inside.push(D::yield_now());
            inside.push(D::park(Some(MS)));
        });
        log.push(D::sleep(HOUR));
        log.push(D::yield_now());
    });
    api.spawn(move || D::cancel(&canceled));
    assert_eq!(api.run(), End::Completed);
    let told = Err(libc::ECANCELED);
    events.are(&[told, Ok(()), Ok(()), Err(libc::ETIMEDOUT), told, told]);
}

fn a_cancellation_does_not_end_the_wait_of_a_shielded_task<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    let waiting = api.spawn(move || {
        let inside = log.clone();
        D::shield(|| {
            inside.push(("parks", D::park(None)));
            inside.push(("sleeps", D::sleep(2 * MS)));
        });
        log.push(("is told", D::park(None)));
    });
    let log = events.clone();
    api.spawn(move || {
        D::cancel(&waiting);
        D::yield_now().unwrap();
        log.push(("wakes", Ok(())));
        D::wake(&waiting);
        D::yield_now().unwrap();
        D::cancel(&waiting);
    });
    assert_eq!(api.run(), End::Completed);
    events.are(&[
        ("wakes", Ok(())),
        ("parks", Ok(())),
        ("sleeps", Ok(())),
        ("is told", Err(libc::ECANCELED)),
    ]);
}

fn shields_are_nested<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    let canceled: Rc<Cell<Option<D::Task>>> = Rc::default();
    let own = canceled.clone();
    canceled.set(Some(api.spawn(move || {
        D::cancel(&own.take().unwrap());
        let inside = log.clone();
        D::shield(|| {
            D::shield(|| inside.push(D::yield_now()));
            inside.push(D::yield_now());
        });
        log.push(D::yield_now());
    })));
    assert_eq!(api.run(), End::Completed);
    events.are(&[Ok(()), Ok(()), Err(libc::ECANCELED)]);
}

/// It does not go round in circles: it has no turn while it waits.
fn a_canceled_parent_sleeps_until_its_child_has_ended<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (inner, log) = (api.clone(), events.clone());
    let parent = api.spawn(move || {
        let child = log.clone();
        let child = inner.spawn(move || {
            for _ in 0..10 {
                D::yield_now().unwrap();
            }
            child.push("child ends");
        });
        assert_eq!(D::park(None), Err(libc::ECANCELED));
        log.push("canceled");
        D::shield(|| D::join(&child, None)).unwrap();
        log.push("joined");
    });
    api.spawn(move || D::cancel(&parent));
    assert_eq!(api.run(), End::Completed);
    events.are(&["canceled", "child ends", "joined"]);
}

fn tasks_are_canceled_between_runs<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, _writer) = std::io::pipe().unwrap();
    let reader = Rc::new(reader);
    let calls: [Rc<dyn Fn() -> Result<(), i32>>; 3] = [
        Rc::new(|| D::sleep(HOUR)),
        Rc::new(|| D::park(None)),
        Rc::new(move || D::wait_readable(std::os::fd::AsFd::as_fd(&*reader), None)),
    ];
    let tasks = calls.map(|call| {
        let log = events.clone();
        api.spawn(move || log.push(call()))
    });
    let stop = api.stop();
    api.spawn(move || D::raise(&stop));
    assert_eq!(api.run(), End::Stopped);
    events.are(&[]);
    for task in &tasks {
        api.cancel_in(task).unwrap();
    }
    assert_eq!(api.run(), End::Completed);
    events.are(&[Err(libc::ECANCELED); 3]);
}

fn tasks_are_woken_between_runs<D: Api>() {
    let (api, events) = (D::new(), Events::new());
    let log = events.clone();
    let parked = api.spawn(move || log.push(D::park(None)));
    assert_eq!(api.run(), End::Failed(libc::EDEADLK));
    api.wake_in(&parked).unwrap();
    assert_eq!(api.run(), End::Completed);
    events.are(&[Ok(())]);
}

fn no_task_with_an_id_is_reached<D: Api>() {
    let api = D::new();
    let ended = api.spawn(|| ());
    api.run();
    assert_eq!(api.cancel_in(&ended), Err(libc::ESRCH));
    assert_eq!(api.wake_in(&ended), Err(libc::ESRCH));
    let other = D::new();
    let here = other.clone();
    other.spawn(move || {
        assert_eq!(here.cancel_in(&ended), Err(libc::ESRCH));
        assert_eq!(here.wake_in(&ended), Err(libc::ESRCH));
    });
    other.run();
}

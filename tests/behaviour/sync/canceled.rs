//! What a canceled task gets: what can be had without waiting, and else the cancellation.

use std::io::Write;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use super::{Events, HOUR, Sync, api_that_pretends};

behaviours!(what_needs_no_waiting_is_had, a_ready_descriptor_is_told_so_many_times);

type Call = Box<dyn Fn() -> Result<(), i32>>;

/// Each call, where it need not wait and where it would have to. What there is to wait for does not matter:
/// neither how long, nor that somebody could end the wait.
fn what_needs_no_waiting_is_had<D: Sync>() {
    const TOLD: Result<(), i32> = Err(libc::ECANCELED);
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (free, locked, own) = (api.mutex(), api.mutex(), api.mutex());
    let (permits, group, done) = (api.semaphore(1), api.group(), api.group());
    let (room, full, closed) = (api.channel(9), api.channel(0), api.channel(1));
    let (condvar, around) = (api.condvar(), api.mutex());
    let (ready, mut writer) = std::io::pipe().unwrap();
    let (silent, keep) = std::io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    let (ready, silent) = (Rc::new(ready), Rc::new(silent));
    let living = api.spawn(|| {
        let _ = D::park(None);
    });
    let (joined, ended) = (living.clone(), api.spawn(|| ()));
    let mut table: Vec<(&str, Call, Result<(), i32>)> = Vec::new();
    for limit in [None, Some(HOUR), Some(Duration::ZERO)] {
        let (ended, living) = (ended.clone(), living.clone());
        let (ready, silent) = (ready.clone(), silent.clone());
        let rows: Vec<(&str, Call, Result<(), i32>)> = vec![
            ("join, ended", Box::new(move || D::join(&ended, limit)), Ok(())),
            ("join, living", Box::new(move || D::join(&living, limit)), TOLD),
            (
                "lock, free",
                Box::new(move || D::lock(free, limit).and_then(|()| D::unlock(free))),
                Ok(()),
            ),
            ("lock, locked", Box::new(move || D::lock(locked, limit)), TOLD),
            ("lock, twice", Box::new(move || D::lock(own, limit)), Err(libc::EDEADLK)),
            (
                "wait for a condition",
                Box::new(move || {
                    D::lock(around, None).unwrap();
                    let waited = D::wait(condvar, around, limit);
                    let _ = D::unlock(around); // In Rust the guard is gone with the error.
                    waited
                }),
                TOLD,
            ),
            (
                "acquire, there",
                Box::new(move || {
                    D::acquire(permits, 1, limit).and_then(|()| D::release(permits, 1))
                }),
                Ok(()),
            ),
            ("acquire, too many", Box::new(move || D::acquire(permits, 2, limit)), TOLD),
            ("wait for a group, done", Box::new(move || D::wait_for_group(done, limit)), Ok(())),
            ("wait for a group", Box::new(move || D::wait_for_group(group, limit)), TOLD),
            ("send, room", Box::new(move || D::send(room, 1, limit)), Ok(())),
            ("receive, there", Box::new(move || D::receive(room, limit).map(drop)), Ok(())),
            ("send, full", Box::new(move || D::send(full, 1, limit)), TOLD),
            ("receive, empty", Box::new(move || D::receive(full, limit).map(drop)), TOLD),
            ("send, closed", Box::new(move || D::send(closed, 1, limit)), Err(libc::EPIPE)),
            (
                "select, one can be done",
                Box::new(move || D::select(&[(full, None), (room, Some(1))], limit).map(drop)),
                Ok(()),
            ),
            (
                "select, none can be done",
                Box::new(move || D::select(&[(full, None), (full, Some(1))], limit).map(drop)),
                TOLD,
            ),
            (
                "descriptor, ready",
                Box::new(move || D::wait_readable((*ready).as_fd(), limit)),
                Ok(()),
            ),
            (
                "descriptor, not ready",
                Box::new(move || D::wait_readable((*silent).as_fd(), limit)),
                TOLD,
            ),
            ("park", Box::new(move || D::park(limit)), TOLD),
        ];
        table.extend(rows);
    }
    // These have nothing to give.
    table.push(("sleep", Box::new(|| D::sleep(Duration::ZERO)), TOLD));
    table.push(("yield", Box::new(D::yield_now), TOLD));
    let count = table.len();
    let log = events.clone();
    let canceled = api.spawn(move || {
        assert_eq!(D::park(None), TOLD);
        D::lock(own, None).unwrap();
        for (name, call, expected) in table {
            assert_eq!(call(), expected, "{name}");
            log.push(());
        }
        D::unlock(own).unwrap();
    });
    api.spawn(move || {
        D::lock(locked, None).unwrap();
        D::add(group, 1).unwrap();
        D::close(closed);
        D::cancel(&canceled);
        D::join(&canceled, None).unwrap();
        D::cancel(&joined);
        drop(keep);
    });
    api.run();
    events.are(&vec![(); count]);
}

fn a_ready_descriptor_is_told_so_many_times<D: Sync>() {
    let (api, events) = (api_that_pretends::<D>(), Events::new());
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"x").unwrap();
    let log = events.clone();
    let canceled = api.spawn(move || {
        assert_eq!(D::park(None), Err(libc::ECANCELED));
        for limit in [None, Some(Duration::ZERO)] {
            let wait = || D::wait_readable(reader.as_fd(), limit);
            log.push((0..1000).take_while(|_| wait().is_ok()).count());
        }
    });
    api.spawn(move || D::cancel(&canceled));
    api.run();
    events.are(&[64, 64]);
}

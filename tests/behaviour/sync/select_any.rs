//! Waiting for channels, descriptors, tasks and times together.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use super::{Events, HOUR, LIMIT, MS, Sync, Thing, settle};

behaviours!(
    the_first_thing_ends_the_wait,
    what_is_there_is_told_at_once,
    things_that_lose_are_left_alone,
    a_time_ends_a_select_and_a_limit_too,
    a_canceled_select_of_things_leaves_all,
    nobody_waits_for_its_own_end,
    things_happen_together,
);

const IN_TIME: Result<(), i32> = Ok(());

/// Each of the kinds in turn is what happens.
fn the_first_thing_ends_the_wait<D: Sync>() {
    for happens in 0..4 {
        let (api, events) = (D::new(), Events::new());
        let channel = api.channel(1);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let sleeper = api.spawn(move || {
            let _ = D::park((happens != 2).then_some(HOUR));
        });
        let (log, target) = (events.clone(), sleeper.clone());
        let waiting = api.spawn(move || {
            let after = if happens == 3 { 2 * MS } else { HOUR };
            let things = [
                Thing::Receive(channel),
                Thing::Readable(reader.as_fd()),
                Thing::Ended(&target),
                Thing::After(after),
            ];
            log.push(D::select_any(&things, None));
        });
        api.spawn(move || {
            settle::<D>();
            D::sleep(MS).unwrap();
            match happens {
                0 => D::send(channel, 1, None).unwrap(),
                1 => writer.write_all(b"x").unwrap(),
                2 => D::wake(&sleeper),
                _ => {}
            }
            D::join(&waiting, None)
                .or_else(|error| if error == libc::ESRCH { Ok(()) } else { Err(error) })
                .unwrap();
            D::cancel(&sleeper);
            drop(writer);
        });
        api.run();
        assert_eq!(*events.0.borrow(), [Ok((happens, IN_TIME))], "{happens}");
    }
}

fn what_is_there_is_told_at_once<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let (reader, writer) = std::io::pipe().unwrap();
    let ended = api.spawn(|| ());
    let log = events.clone();
    let channel = api.channel(1);
    api.spawn(move || {
        log.push(D::select_any(&[Thing::Writable(writer.as_fd())], None));
        log.push(D::select_any(&[Thing::Receive(channel), Thing::Ended(&ended)], None));
        log.push(D::select_any(
            &[Thing::Receive(channel), Thing::After(Duration::ZERO)],
            Some(HOUR),
        ));
        log.push(D::select_any(&[Thing::Readable(reader.as_fd())], Some(Duration::ZERO)));
        drop(writer);
        log.push(D::select_any(&[Thing::Readable(reader.as_fd())], Some(Duration::ZERO))); // Its end.
    });
    api.run();
    let told = [
        Ok((0, IN_TIME)),
        Ok((1, IN_TIME)),
        Ok((1, IN_TIME)),
        Err(libc::ETIMEDOUT),
        Ok((0, IN_TIME)),
    ];
    assert_eq!(*events.0.borrow(), told);
}

/// After a select the things that were not chosen can be waited for as before, by the task and by others.
fn things_that_lose_are_left_alone<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let channel = api.channel(1);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let parked = api.spawn(|| {
        let _ = D::park(None);
    });
    let (log, target) = (events.clone(), parked.clone());
    api.spawn(move || {
        for _ in 0..3 {
            let things = [
                Thing::Readable(reader.as_fd()),
                Thing::Receive(channel),
                Thing::Ended(&target),
                Thing::Readable(reader.as_fd()),
                Thing::After(MS),
            ];
            log.push(D::select_any(&things, None).map(|(index, _)| index));
        }
        log.push(D::select_any(&[Thing::Receive(channel)], Some(HOUR)).map(|(index, _)| index));
        log.push(D::wait_readable(reader.as_fd(), Some(HOUR)).map(|()| 10));
        log.push(D::join(&target, Some(HOUR)).map(|()| 11));
    });
    let seen = events.clone();
    api.spawn(move || {
        while seen.0.borrow().len() < 3 {
            D::sleep(MS).unwrap();
        }
        D::send(channel, 1, None).unwrap();
        D::sleep(MS).unwrap();
        writer.write_all(b"x").unwrap();
        D::sleep(MS).unwrap();
        D::wake(&parked);
    });
    api.run();
    assert_eq!(*events.0.borrow(), [Ok(4), Ok(4), Ok(4), Ok(0), Ok(10), Ok(11)]);
}

fn a_time_ends_a_select_and_a_limit_too<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let channel = api.channel(1);
    let log = events.clone();
    api.spawn(move || {
        let wait = |after, timeout| {
            D::select_any(&[Thing::Receive(channel), Thing::After(after)], timeout)
        };
        log.push(wait(MS, Some(HOUR)));
        log.push(wait(HOUR, Some(MS)));
        log.push(wait(LIMIT, None));
    });
    api.run();
    let told = [Ok((1, IN_TIME)), Err(libc::ETIMEDOUT), Ok((1, IN_TIME))];
    assert_eq!(*events.0.borrow(), told);
}

fn a_canceled_select_of_things_leaves_all<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let channel = api.channel(0);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let parked = api.spawn(|| {
        let _ = D::park(None);
    });
    let (log, target, ours) = (events.clone(), parked.clone(), reader.try_clone().unwrap());
    let waiting = api.spawn(move || {
        let things =
            [Thing::Receive(channel), Thing::Readable(ours.as_fd()), Thing::Ended(&target)];
        log.push(D::select_any(&things, None).map(|(index, _)| index));
    });
    let log = events.clone();
    api.spawn(move || {
        settle::<D>();
        D::cancel(&waiting);
        settle::<D>();
        log.push(D::try_send(channel, 1).map(|()| 0)); // Nobody receives.
        writer.write_all(b"x").unwrap();
        log.push(D::wait_readable(reader.as_fd(), Some(HOUR)).map(|()| 1));
        D::wake(&parked);
        log.push(D::join(&parked, Some(HOUR)).map(|()| 2));
    });
    api.run();
    let told = [Err(libc::ECANCELED), Err(libc::EAGAIN), Ok(1), Ok(2)];
    assert_eq!(*events.0.borrow(), told);
}

fn nobody_waits_for_its_own_end<D: Sync>() {
    let (api, events) = (D::new(), Events::new());
    let own = std::rc::Rc::new(std::cell::RefCell::new(None));
    let (log, task) = (events.clone(), own.clone());
    let spawned = api.spawn(move || {
        let own: D::Task = task.borrow_mut().take().unwrap();
        log.push(D::select_any(&[Thing::Ended(&own), Thing::After(MS)], None));
    });
    *own.borrow_mut() = Some(spawned);
    api.run();
    assert_eq!(*events.0.borrow(), [Err(libc::EDEADLK)]);
}

/// Many selects at once, each of which must end by what is its own.
fn things_happen_together<D: Sync>() {
    const COUNT: u64 = 50;
    let (api, events) = (D::new(), Events::new());
    for number in 0..COUNT {
        let channel = api.channel(1);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let log = events.clone();
        let waiting = api.spawn(move || {
            let things = [Thing::Receive(channel), Thing::Readable(reader.as_fd())];
            let (first, _) = D::select_any(&things, Some(HOUR)).unwrap();
            // The other one comes too, and nothing of it is lost.
            let (second, _) = D::select_any(&things[1 - first..][..1], Some(HOUR)).unwrap();
            log.push((first as u64, second as u64));
        });
        let log = events.clone();
        api.spawn(move || {
            let _ = D::select_any(&[Thing::Ended(&waiting)], Some(HOUR)).unwrap();
            log.push((100, 100));
        });
        api.spawn(move || {
            settle::<D>();
            if number % 2 == 0 {
                writer.write_all(b"x").unwrap();
            }
            D::send(channel, number, None).unwrap();
            writer.write_all(b"x").unwrap();
        });
    }
    api.run();
    let seen = events.0.borrow();
    assert_eq!(seen.len() as u64, 2 * COUNT);
    assert_eq!(seen.iter().filter(|event| event.0 == 100).count() as u64, COUNT);
}

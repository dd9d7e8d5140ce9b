//! A wait whose deadline has passed while its task has not run yet: the event may still happen in
//! between, and then the wait has not timed out.

use std::io::Write;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use super::{Api, Events, HOUR, MS, Sync, api_that_pretends, compute};

behaviours!(
    a_mutex_unlocked_late_is_handed_over,
    permits_released_late_are_taken,
    a_group_done_late_is_done,
    an_element_sent_late_is_received,
    an_element_received_late_is_sent,
    a_select_is_served_late,
    a_channel_closed_late_is_closed,
    a_task_that_ends_late_is_joined,
    a_pipe_written_late_is_readable,
    a_late_wake_up_ends_a_park,
    unserved_waits_time_out_in_order,
);

/// The timeout of the waiting task.
const LIMIT: Option<Duration> = Some(HOUR);

/// Waits in a task, and ends the wait in another one after the deadline: that task computes for
/// longer, and when it runs next, the waiting task is ready and queued behind it. Returns the
/// wait's result.
#[track_caller]
fn served_late<D: Api, R: std::fmt::Debug + PartialEq + 'static>(
    api: &D,
    wait: impl FnOnce() -> R + 'static,
    serve: impl FnOnce() + 'static,
    expected: R,
) {
    let results = Events::new();
    let result = results.clone();
    api.spawn(move || result.push(wait()));
    api.spawn(move || {
        compute();
        D::yield_now().unwrap();
        serve();
    });
    api.run();
    results.are(&[expected]);
}

fn a_mutex_unlocked_late_is_handed_over<D: Sync>() {
    let api: D = api_that_pretends();
    let mutex = api.mutex();
    let results = Events::new();
    let result = results.clone();
    api.spawn(move || {
        D::lock(mutex, None).unwrap();
        D::yield_now().unwrap(); // The other task waits.
        compute();
        D::yield_now().unwrap();
        D::unlock(mutex).unwrap();
    });
    api.spawn(move || {
        result.push(D::lock(mutex, LIMIT));
        result.push(D::unlock(mutex));
    });
    api.run();
    results.are(&[Ok(()), Ok(())]);
}

fn permits_released_late_are_taken<D: Sync>() {
    let api: D = api_that_pretends();
    let semaphore = api.semaphore(1);
    let serve = move || D::release(semaphore, 1).unwrap();
    served_late(&api, move || D::acquire(semaphore, 2, LIMIT), serve, Ok(()));
    assert_eq!(D::available(semaphore), 0);
}

fn a_group_done_late_is_done<D: Sync>() {
    let api: D = api_that_pretends();
    let group = api.group();
    D::add(group, 1).unwrap();
    let serve = move || D::done(group).unwrap();
    served_late(&api, move || D::wait_for_group(group, LIMIT), serve, Ok(()));
}

fn an_element_sent_late_is_received<D: Sync>() {
    for capacity in [0, 1] {
        let api: D = api_that_pretends();
        let channel = api.channel(capacity);
        let serve = move || D::try_send(channel, 7).unwrap();
        served_late(&api, move || D::receive(channel, LIMIT), serve, Ok(7));
    }
}

fn an_element_received_late_is_sent<D: Sync>() {
    let api: D = api_that_pretends();
    let channel = api.channel(0);
    let serve = move || assert_eq!(D::try_receive(channel), Ok(7));
    served_late(&api, move || D::send(channel, 7, LIMIT), serve, Ok(()));
}

fn a_select_is_served_late<D: Sync>() {
    let api: D = api_that_pretends();
    let (from, to) = (api.channel(0), api.channel(0));
    let serve = move || D::try_send(from, 7).unwrap();
    let wait = move || D::select(&[(from, None), (to, Some(8))], LIMIT);
    served_late(&api, wait, serve, Ok((0, Some(7))));
}

fn a_channel_closed_late_is_closed<D: Sync>() {
    let api: D = api_that_pretends();
    let channel = api.channel(0);
    let serve = move || D::close(channel);
    served_late(&api, move || D::receive(channel, LIMIT), serve, Err(libc::EPIPE));
}

fn a_task_that_ends_late_is_joined<D: Sync>() {
    let api: D = api_that_pretends();
    let results = Events::new();
    let result = results.clone();
    let slow = api.spawn(move || {
        D::yield_now().unwrap(); // The other task waits.
        compute();
        D::yield_now().unwrap();
    });
    api.spawn(move || result.push(D::join(&slow, LIMIT)));
    api.run();
    results.are(&[Ok(())]);
}

fn a_pipe_written_late_is_readable<D: Sync>() {
    let api: D = api_that_pretends();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let wait = move || D::wait_readable(reader.as_fd(), LIMIT);
    served_late(&api, wait, move || writer.write_all(b"x").unwrap(), Ok(()));
}

fn a_late_wake_up_ends_a_park<D: Sync>() {
    let api: D = api_that_pretends();
    let results = Events::new();
    let result = results.clone();
    let parked = Rc::new(api.spawn(move || {
        result.push(D::park(LIMIT));
        result.push(D::park(Some(MS)));
    }));
    api.spawn(move || {
        compute();
        D::yield_now().unwrap();
        D::wake(&parked);
    });
    api.run();
    // mj_task_wake() returns that the task was not waiting, so the wake-up is lost; in Rust it is
    // kept.
    let expected = if D::KEEPS_WAKE_UPS { Ok(()) } else { Err(libc::ETIMEDOUT) };
    results.are(&[expected, Err(libc::ETIMEDOUT)]);
}

/// Tasks behind one that times out are served when it leaves the queue, not before.
fn unserved_waits_time_out_in_order<D: Sync>() {
    let api: D = api_that_pretends();
    let semaphore = api.semaphore(1);
    let results = Events::new();
    for (permits, limit) in [(2, Some(MS)), (1, None)] {
        let results = results.clone();
        api.spawn(move || results.push((permits, D::acquire(semaphore, permits, limit))));
    }
    api.run();
    results.are(&[(2, Err(libc::ETIMEDOUT)), (1, Ok(()))]);
    assert_eq!(D::available(semaphore), 0);
}

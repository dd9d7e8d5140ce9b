//! Waiting for descriptors, tasks and times.

use std::ffi::c_int;
use std::ptr::null_mut;

use libc::{EBADF, ECANCELED, EDEADLK, EINTR, ESRCH, POLLERR, POLLHUP, POLLNVAL};

use super::super::majjen_h::*;
use super::calls::make;
use super::program::Kind;
use super::transfers::number_of;
use super::verdict::{For, Use, poll};
use super::with;

pub fn wait_fd(slot: usize, events: i16, span: u64) {
    let number = number_of(slot);
    let (task, result, op) =
        make(For::Fd(number, events), Use::Waits, span, || mj_task_wait_fd(number, events, span));
    with(|world| {
        let wanted = c_int::from(events | POLLERR | POLLHUP);
        let is_fine = match result {
            1.. => result & !wanted == 0,
            _ if result == -EBADF && op.is_gone => true,
            _ => world.may_fail(task, &op, result).is_ok(),
        };
        assert!(
            is_fine,
            "waiting returned {result}: {:?}, {op:?}",
            world.may_fail(task, &op, result)
        );
    });
}

pub fn poll_any(slots: [usize; 2], events: i16, span: u64) {
    let numbers = slots.map(number_of);
    let mut polls = numbers.map(|fd| libc::pollfd { fd, events, revents: 0x55 });
    let what = For::AnyFd(numbers.map(|number| (number, events)));
    let (task, result, op) = make(what, Use::Waits, span, || mj_poll(polls.as_mut_ptr(), 2, span));
    with(|world| {
        let ready = polls.iter().filter(|poll| poll.revents != 0).count();
        if result < 0 {
            assert_eq!(ready, 0);
            let verdict = world.may_fail(task, &op, result);
            assert!(verdict.is_ok() && result != -EINTR, "mj_poll: {result}, {verdict:?}, {op:?}");
            return;
        }
        assert!(result > 0 && result as usize == ready, "it returned {result}, and {ready} are");
        // Those that were closed are told alone.
        let is_whole = !op.is_closed && !op.is_gone;
        for told in polls {
            let is_certain =
                world.file(told.fd).is_some_and(|file| world.files[file].kind != Kind::Tcp);
            match poll(told.fd, events) {
                Some(found) if is_certain && is_whole => {
                    assert_eq!(told.revents, found, "{op:?}");
                }
                None if told.fd >= 0 && is_whole => assert_eq!(told.revents, POLLNVAL),
                _ => assert!(!is_whole || !is_certain),
            }
        }
    });
}

/// Waits for a descriptor, the end of a task, and a time.
pub fn select(slot: usize, task: usize, span: u64, at_ns: u64) {
    let number = number_of(slot);
    let events = libc::POLLIN;
    let (other, id, at_ns) = with(|world| {
        let other = task % world.tasks.len();
        (other, world.tasks[other].id, world.now_ns() + at_ns)
    });
    if id == 0 || with(|world| world.current()) == Some(other) {
        return;
    }
    let mut cases = [mj_select_case { result: 1, ..Default::default() }; 3];
    (cases[0].op, cases[0].fd, cases[0].events) = (MJ_SELECT_FD, number, events);
    (cases[1].op, cases[1].task) = (MJ_SELECT_TASK, id);
    (cases[2].op, cases[2].deadline_ns) = (MJ_SELECT_DEADLINE, at_ns);
    let limit_ns = span.min(at_ns.saturating_sub(with(|world| world.now_ns())));
    let what = For::Either((number, events), other);
    let (task, result, op) =
        make(what, Use::Waits, limit_ns, || mj_select(cases.as_mut_ptr(), 3, span));
    with(|world| match result {
        0 => {
            let wanted = events | POLLERR | POLLHUP;
            let (status, happened) = (cases[0].result, cases[0].happened);
            let is_event = status == 0 && happened != 0 && happened & !wanted == 0;
            let is_closed = op.is_closed || op.is_gone || world.file(number).is_none();
            assert!(is_event || status == -EBADF && is_closed, "{status}, {happened}, {op:?}");
        }
        1 => assert!(!world.tasks[other].alive && cases[1].result == 0),
        2 => assert!(at_ns <= world.now_ns() && cases[2].result == 0, "a time is early"),
        error => {
            let verdict = world.may_fail(task, &op, error);
            assert!(verdict.is_ok(), "mj_select: {error}, {verdict:?}, {op:?}");
        }
    });
}

pub fn sleep(span: u64) {
    let (task, result, op) = make(For::Nothing, Use::Waits, span, || mj_sleep_ns(span));
    with(|world| {
        let is_over = || world.limit_of(task, &op) <= world.now_ns();
        let is_fine = match -result {
            0 | libc::ETIMEDOUT => is_over(),
            ECANCELED => world.may_be_canceled(task),
            EINTR => op.is_told,
            _ => false,
        };
        assert!(is_fine, "sleeping returned {result}: {op:?}");
    });
}

pub fn pass_on() {
    let (task, result, _) = make(For::Nothing, Use::Waits, u64::MAX, || mj_yield());
    with(|world| assert!(result == 0 || result == -ECANCELED && world.may_be_canceled(task)));
}

pub fn join(other: usize, span: u64) {
    let (other, id, was_alive) = with(|world| {
        let other = other % world.tasks.len();
        (other, world.tasks[other].id, world.tasks[other].alive)
    });
    if id == 0 {
        return;
    }
    let what = if was_alive { For::End(other) } else { For::Nothing };
    let is_oneself = with(|world| world.current()) == Some(other);
    let what = if is_oneself { For::Nothing } else { what };
    let (task, result, op) = make(what, Use::Waits, span, || mj_task_join(id, span));
    with(|world| {
        let has_ended = !world.tasks[other].alive;
        let is_fine = match -result {
            0 | ESRCH => has_ended,
            EDEADLK => is_oneself,
            _ => world.may_fail(task, &op, result).is_ok(),
        };
        assert!(is_fine, "joining {other} returned {result}: {op:?}");
    });
}

pub fn set_deadline(span: u64) {
    let (task, deadline_ns) = with(|world| {
        let task = world.current().expect("a task is running");
        (task, world.now_ns().saturating_add(span))
    });
    let mut old = 0;
    let wanted = mj_deadline_after(span);
    assert!(wanted >= deadline_ns);
    assert_eq!(mj_task_set_deadline(wanted, &raw mut old), 0);
    with(|world| {
        assert_eq!(old, world.tasks[task].deadline_ns);
        world.tasks[task].deadline_ns = wanted;
    });
    assert_eq!(mj_task_set_deadline(wanted, null_mut()), 0);
}

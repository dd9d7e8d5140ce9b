//! Calls that suspend, and what they may return.

use std::ffi::c_int;

use libc::{EBADF, ECANCELED, EDEADLK, EINTR, EINVAL, EPERM, ESRCH, ETIMEDOUT};
use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP};
use libc::{POLLRDBAND, POLLRDNORM, POLLWRBAND, POLLWRNORM};

use super::actions::logs;
use super::budget::Yield;
use super::calls::{Call, End, Span, Who};
use super::majjen_h::*;
use super::model::{self, For, Limit, Reasons, Wait};
use super::{World, with};

/// The events of mj_task_wait_fd(): those of poll(2), with or without those that are always
/// reported.
const EVENTS: i16 = POLLIN | POLLOUT | POLLPRI | POLLRDHUP | ALWAYS | OTHERS;
const OTHERS: i16 = POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND;
const ALWAYS: i16 = POLLERR | POLLHUP;

/// A call that suspends, as plain values.
#[derive(Clone, Copy)]
enum Kind {
    Yield,
    Sleep,
    Park,
    Fd { fd: i32, events: i16, at_once: bool, is_bad: bool },
    Join { target: Option<usize> },
}

/// Makes a call that suspends the running task, and compares what it returns with the model.
pub fn suspend(call: Call) {
    let Some(task) = with(|world| world.model.current()) else {
        if matches!(call, Call::WaitFd(_, events, _) if events & !EVENTS != 0) {
            return assert_eq!(make(call), Some(-EINVAL));
        }
        let result = logs(|| make(call));
        return assert!(result.is_none_or(|result| result == -EPERM), "it returned {result:?}");
    };
    if with(|world| world.context().in_clock) {
        return; // A clock must not suspend.
    }
    let (kind, outer, canceled_before, turns, closed, was_queued, is_told) = with(|world| {
        let (kind, mut wait) = arguments(world, call);
        if matches!(kind, Kind::Join { .. }) {
            wait.yields = world.model.spend(task);
        }
        let is_told = wait.yields == Yield::Told;
        let closed = world.model.closed.len();
        let queued = world.model.is_queued(task);
        let it = &mut world.model.tasks[task];
        let why = std::mem::replace(&mut it.why, if queued { model::TOLD } else { 0 });
        let outer = (std::mem::replace(&mut it.wait, wait), why);
        (kind, outer, it.is_canceled(), it.turns, closed, queued, is_told)
    });
    let result = make(call);
    with(|world| {
        world.look();
        assert_eq!(world.model.current(), Some(task));
        let it = &mut world.model.tasks[task];
        let suspended = it.turns > turns;
        let why = if suspended { it.why } else { 0 };
        let closed = &world.model.closed[closed..];
        let was_closed = matches!(kind, Kind::Fd { fd, .. } if closed.contains(&fd));
        // A call in a callback of another one that has not suspended leaves that as it was.
        it.wait = outer.0;
        it.why = if suspended { 0 } else { outer.1 };
        // Its callbacks may have held the cancellation meanwhile.
        let canceled_before = canceled_before && it.is_canceled();
        if is_told {
            return assert_eq!((suspended, result), (false, Some(-ECANCELED)));
        }
        let outcome = Outcome { why, suspended, canceled_before, was_closed, was_queued };
        if let Some(result) = result {
            assert!(
                may_return(world, task, kind, outcome, result),
                "{call:?} returned {result}; reasons {why:#b}, suspended: {suspended}"
            );
        }
    });
}

/// What is known about a call that has returned.
#[derive(Clone, Copy)]
struct Outcome {
    why: Reasons,
    suspended: bool,
    canceled_before: bool,
    /// The descriptor was closed meanwhile; another one may have its number by now.
    was_closed: bool,
    /// It was told to go on before the call.
    was_queued: bool,
}

fn arguments(world: &World, call: Call) -> (Kind, Wait) {
    let now_ns = world.model.now_ns;
    let limit =
        |span_ns: Span| Some(Limit::Span { span_ns, earliest_ns: now_ns.saturating_add(span_ns) });
    let unless_forever = |span_ns: Span| limit(span_ns).filter(|_| span_ns != u64::MAX);
    let fd = |end: End, events: i16, span_ns: Span| {
        let (fd, at_once) = (world.fd(end), span_ns == 0);
        let is_bad = !super::is_open(fd);
        let mut wait = if at_once {
            Wait::new(For::Nothing, None)
        } else {
            let events = events & !ALWAYS;
            Wait::new(For::Fd { fd, events, watched: true }, unless_forever(span_ns))
        };
        // A descriptor that is not open may have been opened when the wait begins.
        wait.may_yield |= is_bad;
        (Kind::Fd { fd, events, at_once, is_bad }, wait)
    };
    match call {
        Call::SleepNs(span) | Call::SleepFor(span) => {
            (Kind::Sleep, Wait::new(For::AnyTime, limit(span)))
        }
        Call::SleepUntil { .. } => {
            let deadline_ns = deadline(world, call);
            (Kind::Sleep, Wait::new(For::AnyTime, Some(Limit::At(deadline_ns))))
        }
        Call::Park(span) => (Kind::Park, Wait::new(For::AnyTime, unless_forever(span))),
        Call::WaitFd(end, events, span) => fd(end, events_for(end, events), span),
        Call::WaitReadable(end) => fd(end, POLLIN, u64::MAX),
        Call::WaitWritable(end) => fd(end, POLLOUT, u64::MAX),
        Call::Join(who, span) => {
            let id = world.id(who);
            let home = world.model.running.expect("a task is running");
            let target = world.model.living(home).find(|(_, task)| task.id == id);
            let target = target.map(|(index, _)| index);
            let what = target.map_or(For::Nothing, For::End);
            (Kind::Join { target }, Wait::new(what, unless_forever(span)))
        }
        _ => (Kind::Yield, Wait::new(For::Nothing, None)),
    }
}

/// A regular file is always ready, but only for some events: a wait for others would never end.
fn events_for(end: End, events: i16) -> i16 {
    if end == End::File && events & !EVENTS == 0 { events | POLLIN } else { events }
}

fn deadline(world: &World, call: Call) -> u64 {
    match call {
        Call::SleepUntil { from_now, back: true } => world.model.now_ns.saturating_sub(from_now),
        Call::SleepUntil { from_now, .. } => world.model.now_ns.saturating_add(from_now),
        _ => 0,
    }
}

/// Makes the call, which must preserve errno.
fn make(call: Call) -> Option<c_int> {
    const ERRNO: c_int = 1234;
    let (end, who) = match call {
        Call::WaitFd(end, ..) | Call::WaitReadable(end) | Call::WaitWritable(end) => {
            (end, Who::Null)
        }
        Call::Join(who, _) => (End::Negative, who),
        _ => (End::Negative, Who::Null),
    };
    let (fd, id, deadline_ns) = with(|world| (world.fd(end), world.id(who), deadline(world, call)));
    set_errno(ERRNO);
    let result = match call {
        Call::Yield => {
            mj_task_yield();
            None
        }
        Call::SleepNs(span) => {
            mj_task_sleep_ns(span);
            None
        }
        Call::WaitReadable(_) => {
            mj_task_wait_readable(fd);
            None
        }
        Call::YieldNow => Some(mj_yield()),
        Call::SleepFor(span) => Some(mj_sleep_ns(span)),
        Call::SleepUntil { .. } => Some(mj_task_sleep_until_ns(deadline_ns)),
        Call::Park(span) => Some(mj_task_park(span)),
        Call::WaitFd(_, events, span) => Some(mj_task_wait_fd(fd, events_for(end, events), span)),
        Call::WaitWritable(_) => Some(mj_task_wait_fd(fd, POLLOUT, MJ_FOREVER)),
        Call::Join(_, span) => Some(mj_task_join(id, span)),
        _ => unreachable!("{call:?} does not suspend"),
    };
    assert_eq!(get_errno(), ERRNO, "errno");
    result
}

fn may_return(world: &World, task: usize, kind: Kind, outcome: Outcome, result: c_int) -> bool {
    let it = &world.model.tasks[task];
    let Outcome { why, suspended, canceled_before, was_closed, was_queued } = outcome;
    let has = |reason: Reasons| why & reason != 0;
    if let Kind::Fd { events, .. } = kind
        && events & !EVENTS != 0
    {
        return result == -EINVAL && !suspended;
    }
    // What need not be waited for comes before all else.
    if let Kind::Join { target } = kind
        && (result == -ESRCH || result == -EDEADLK)
    {
        let has_ended = target.is_none_or(|target| !world.model.tasks[target].alive);
        return if result == -ESRCH { has_ended } else { target == Some(task) };
    }
    if let Kind::Fd { fd, events, .. } = kind
        && result > 0
        && it.is_canceled()
    {
        // After a yield, in which there may have been other events.
        let wanted = c_int::from(events | ALWAYS);
        let is_ready = was_closed || model::poll(fd, events & !ALWAYS) != Some(0);
        if suspended && result & !wanted == 0 && is_ready {
            return true;
        }
    }
    if was_queued && matches!(kind, Kind::Park) && it.state() != MJ_TASK_EXITED {
        // A canceled task is told at the latest the 65th time.
        let may_be_told = it.is_canceled() && it.turns > 64;
        return suspended && (result == 0 || may_be_told && result == -ECANCELED);
    }
    if it.state() == MJ_TASK_EXITED {
        // Unless the callback of the ERROR line about a bad descriptor has ended the task.
        let is_bad = was_closed || matches!(kind, Kind::Fd { is_bad: true, .. });
        return result == -ECANCELED || is_bad && result == -EBADF;
    }
    if canceled_before {
        return result == -ECANCELED && suspended;
    }
    if it.is_canceled() && (result == -ECANCELED || matches!(kind, Kind::Yield)) {
        return result == -ECANCELED;
    }
    if !suspended {
        return false;
    }
    match kind {
        Kind::Yield => result == 0,
        Kind::Sleep => has(model::TIME) && result == 0 || has(model::TOLD) && result == -EINTR,
        Kind::Park if has(model::ENQUEUED) => result == 0,
        Kind::Park => has(model::TIME) && result == -ETIMEDOUT || has(model::TOLD) && result == 0,
        Kind::Join { target } => {
            let has_ended = target.is_some_and(|target| !world.model.tasks[target].alive);
            has(model::TOLD) && result == -EINTR
                || has_ended && result == 0
                || has(model::TIME) && !has_ended && result == -ETIMEDOUT
        }
        Kind::Fd { fd, events, at_once, is_bad } => {
            let happened = |result: c_int| {
                let wanted = c_int::from(events | ALWAYS);
                result > 0 && result & !wanted == 0
            };
            let polled = model::poll(fd, events & !ALWAYS);
            has(model::TOLD) && result == -EINTR
                || has(model::TIME)
                    && match polled {
                        None => result == -EBADF,
                        Some(0) => result == -ETIMEDOUT,
                        Some(_) => happened(result),
                    }
                || (has(model::CLOSED) || was_closed) && result == -EBADF
                // The file may be open elsewhere, and then has its events.
                || was_closed && happened(result)
                || has(model::EVENT) && happened(result)
                || is_bad && result == -EBADF
                || has(model::YIELDED | model::TOLD)
                    && match polled {
                        None => result == -EBADF,
                        Some(0) => at_once && result == -ETIMEDOUT,
                        Some(_) => at_once && happened(result),
                    }
        }
    }
}

pub fn get_errno() -> c_int {
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() }
}

pub fn set_errno(errno: c_int) {
    // SAFETY: this thread's errno.
    unsafe { *libc::__errno_location() = errno };
}

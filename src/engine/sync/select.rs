//! Select: waits for the first of several things: channel operations, events of descriptors, the end of
//! a task, a time. A channel's own calls are selects of one case.
//!
//! Each case is in the wait queue of what it waits for, and all point to the same [`SelectWait`] on the
//! task's stack. Completing one case ends the wait, which unlinks all. Among several ready cases
//! one is chosen at random, uniformly; the seed is fixed, so that simulations are reproducible.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt::{self, Write};
use std::mem::offset_of;
use std::ptr::{eq, from_ref, null};

use super::case::{Case, Operation, Source};
use super::channel::Channel;
use super::home::Home;
use super::object::Object;
use super::remote_channel::RemoteChannel;
use crate::engine::scheduler::{self, Limit, Running, Scheduler, wait, yield_spent};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{
    self, FIRED, Holders, Left, ObjectKind, Outcome, SchedulerRef, Task, Wait, WaitKind,
};
use crate::engine::threads::End;
use crate::engine::time::Deadline;

/// A waiting select: the task and its cases.
#[repr(C)]
pub struct SelectWait {
    task: *const Task,
    cases: *const [Case],
}

impl SelectWait {
    /// For debuggers.
    pub const CASES_OFFSET: usize = offset_of!(SelectWait, cases);

    pub fn task(&self) -> *const Task {
        self.task
    }

    /// The index of one of its cases.
    pub fn index_of(&self, case: &Case) -> u32 {
        let offset = std::ptr::from_ref(case) as usize - self.cases.cast::<Case>() as usize;
        (offset / size_of::<Case>()) as u32
    }
}

/// The task's cases are in the wait queues of what they wait for. The object is the [`SelectWait`].
static SELECT: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    concerns,
    describe: Some(describe),
    leave: Some(leave),
    holders: Some(&Holders { words: "", one_suffices: false, next: next_task }),
    ..WaitKind::new(c"select", unlink)
};

/// The same for [`wait_for_channel`], with one case.
static CHANNEL: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    concerns,
    describe: Some(describe),
    ..WaitKind::new(c"a channel", unlink_channel)
};

/// The task whose end it waits for, and for nothing else.
///
/// # Safety
/// As [`Holders::next`].
unsafe fn next_task(scheduler: SchedulerRef, waiting: usize, tasks: &mut usize) -> *const Task {
    // SAFETY: as this function's contract says; and on the stack of the task that waits.
    let (scheduler, cases) = unsafe { (Scheduler::of(scheduler), cases(waiting)) };
    Holders::only(tasks, || match cases {
        [only] => match only.source() {
            Source::Task(id) => scheduler.tasks.find_id(id).map_or(null(), from_ref),
            _ => null(),
        },
        _ => null(),
    })
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink_channel(_: SchedulerRef, waiting: usize, _: &Task) {
    // SAFETY: on the stack of the task that waits.
    if let [case] = unsafe { cases(waiting) }
        && let Some((channel, operation)) = case.channel()
    {
        channel.waiters(operation).remove(case);
    }
}

/// The task yields before its select, since its budget is spent. It is in no wait queue.
static YIELDED: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    is_yield: true,
    concerns,
    ..WaitKind::new(c"its turn", unlink_yielded)
};

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink_yielded(_: SchedulerRef, waiting: usize, _: &Task) {
    // SAFETY: on the stack of the task that has yielded; channels that have a user are alive.
    channels(unsafe { cases(waiting) }).for_each(|channel| channel.home().remove_user());
}

/// The channels of cases.
fn channels(cases: &[Case]) -> impl Iterator<Item = &Channel> {
    cases.iter().filter_map(|case| Some(case.channel()?.0))
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(scheduler: SchedulerRef, waiting: usize, _: &Task) {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    // SAFETY: on the stack of the task that waits, or its caller's to keep; and so are the cases.
    unsafe { cases(waiting) }.iter().for_each(|case| case.unlink(scheduler));
}

/// A task that gives up looks once more at channels between threads, before it lets go of them: what is there
/// has perhaps not been told.
///
/// # Safety
/// As [`WaitKind::leave`].
unsafe fn leave(scheduler: SchedulerRef, waiting: usize, task: &Task) -> Left {
    if let Outcome::TimedOut | Outcome::Canceled = task.outcome.get()
        // SAFETY: as in `unlink`; the elements are those of the task that waits.
        && let Some(index) = unsafe { attempt(cases(waiting), is_remote, false) }
    {
        task.outcome.set(Outcome::Ready(index as u32));
    }
    // SAFETY: as this function's contract says.
    unsafe { unlink(scheduler, waiting, task) };
    Left::Now
}

fn is_remote(case: &Case) -> bool {
    matches!(case.source(), Source::Remote(..))
}

/// # Safety
/// The task waits.
unsafe fn concerns(waiting: usize, channel: *const c_void) -> bool {
    // SAFETY: as above.
    unsafe { cases(waiting) }.iter().any(|case| case.channel.cast() == channel)
}

/// # Safety
/// The task waits.
unsafe fn describe(waiting: usize, out: &mut dyn Write) -> fmt::Result {
    // SAFETY: as above.
    let cases = unsafe { cases(waiting) };
    match cases {
        [only] => match only.source() {
            Source::Descriptor(fd, _) => write!(out, "fd {fd}"),
            Source::Task(id) => write!(out, "task {id:#x}"),
            Source::Deadline(at_ns) => write!(out, "the time {at_ns} ns"),
            Source::Remote(channel, _) => write!(out, "channel between threads {channel:p}"),
            Source::Channel(..) | Source::Nothing => write!(out, "channel {:p}", only.channel),
        },
        _ if cases.iter().all(Case::has_channel) => {
            write!(out, "one of {} channels", cases.len())
        }
        _ => write!(out, "one of {} things", cases.len()),
    }
}

/// # Safety
/// The address of a [`SelectWait`] that is alive.
unsafe fn cases<'w>(waiting: usize) -> &'w [Case] {
    // SAFETY: as this function's contract says; the cases are alive while their task waits.
    unsafe { &*(*(waiting as *const SelectWait)).cases }
}

/// Waits until one of the cases can complete, completes it, and returns its index.
///
/// # Safety
/// The channels are null or alive; elements as in [`Channel::send`] and [`Channel::receive`].
pub unsafe fn select(cases: &[Case], limit: Limit) -> Result<usize> {
    let running = scheduler::running_task().ok_or(Error::NotInTask)?;
    check_all(cases, |home| home.current_task().map(drop))?;
    if running.0.spend(running.1) {
        let waiting = SelectWait { task: running.1, cases };
        channels(cases).for_each(|channel| channel.home().add_user());
        yield_spent(running, Wait::on(&YIELDED, &waiting))?;
    }
    // SAFETY: as this function's contract says.
    unsafe { wait_for(cases, limit) }
}

/// A send or a receive that cannot be done at once: a select of one case, without what more need.
///
/// # Safety
/// As [`Channel::send`] and [`Channel::receive`].
pub unsafe fn wait_for_channel(
    channel: &Channel,
    operation: Operation,
    element: *mut c_void,
    limit: Limit,
) -> Result<()> {
    let (_, task) = scheduler::running_task().ok_or(Error::NotInTask)?;
    let case = Case::new(channel, operation, element);
    let waiting = SelectWait { task, cases: std::slice::from_ref(&case) };
    let look = |_: Running<'_>| {
        // SAFETY: as this function's contract says.
        unsafe { channel.attempt(operation, element) }
            .map_or(Ok(None), |done| done.map(|()| Some(0)))
    };
    let list = |_: Running<'_>| {
        case.waiting.set(&waiting);
        channel.waiters(operation).push(&case);
        Ok(Wait::on(&CHANNEL, &waiting))
    };
    wait(limit, look, list)?;
    case.result()
}

/// The same for a channel between threads.
///
/// # Safety
/// As [`RemoteChannel::transfer`].
pub unsafe fn wait_for_remote(
    channel: &RemoteChannel,
    end: End,
    element: *mut c_void,
    limit: Limit,
) -> Result<()> {
    let (_, task) = scheduler::running_task().ok_or(Error::NotInTask)?;
    let case = Case::remote(channel, end, element);
    let waiting = SelectWait { task, cases: std::slice::from_ref(&case) };
    let look = |_: Running<'_>| {
        // SAFETY: as this function's contract says.
        unsafe { channel.attempt(end, element) }.map_or(Ok(None), |done| done.map(|()| Some(0)))
    };
    let list = |running: Running<'_>| {
        case.link(running, &waiting)?;
        Ok(Wait::on(&SELECT, &waiting))
    };
    wait(limit, look, list)?;
    case.result()
}

/// [`select`] without checks.
///
/// # Safety
/// As [`select`], and the channels are of the running task's scheduler.
unsafe fn wait_for(cases: &[Case], mut limit: Limit) -> Result<usize> {
    let (scheduler, task) = scheduler::running_task().ok_or(Error::NotInTask)?;
    let waiting = SelectWait { task, cases };
    // Descriptors are polled once: after that the loop does it.
    let poll = Cell::new(true);
    let look = |_: Running<'_>| {
        // SAFETY: as this function's contract says.
        let found = unsafe { attempt(cases, |_| true, poll.replace(false)) };
        Ok(found.map(|index| index as u32))
    };
    let list = |running: Running<'_>| {
        if cases.iter().any(Case::is_in_list) {
            return Err(Error::Busy); // Since the call has yielded.
        }
        link_all(cases, running, &waiting)?;
        Ok(Wait::on(&SELECT, &waiting))
    };
    limit_to_deadlines(cases, scheduler, &mut limit);
    let mut index = wait(limit, look, list);
    if let Err(Error::TimedOut | Error::Canceled) = index
        // SAFETY: as this function's contract says.
        && let Some(late) = unsafe { attempt(cases, |case| !case.has_channel(), true) }
    {
        // A time that has come, or an event that the loop has not seen. Channels have told theirs.
        index = Ok(late as u32);
    }
    // They are in no list, which the next call need not find out by a search. Another task may wait
    // with the same ones, if it began while this one had yielded: those are its.
    for case in cases.iter().filter(|case| eq(case.waiting.get(), &waiting)) {
        case.waiting.set(null());
    }
    match index? {
        FIRED => {
            let fired = cases.iter().enumerate().filter(|(_, case)| case.has_fired());
            let (index, case) = scheduler.random.choose(fired).ok_or(Error::Interrupted)?;
            case.take_fired();
            Ok(index)
        }
        index => Ok(index as usize),
    }
}

/// Puts all cases into the queues of what they wait for, or none.
fn link_all(cases: &[Case], running: Running<'_>, waiting: &SelectWait) -> Result<()> {
    cases.iter().for_each(|case| case.waiting.set(null()));
    let linked = cases.iter().try_for_each(|case| case.link(running, waiting));
    if linked.is_err() {
        cases.iter().for_each(|case| case.unlink(running.0));
    }
    linked
}

/// The earliest deadline among the cases ends the wait too.
fn limit_to_deadlines(cases: &[Case], scheduler: &Scheduler, limit: &mut Limit) {
    let deadlines = cases.iter().filter_map(|case| match case.source() {
        Source::Deadline(at_ns) if at_ns != u64::MAX => Some(at_ns),
        _ => None,
    });
    if let Some(at_ns) = deadlines.min() {
        let limit_ns = limit.deadline.resolve(&scheduler.time.clock).unwrap_or(u64::MAX);
        limit.deadline = Deadline::At(limit_ns.min(at_ns));
    }
}

/// Completes one of the cases, if one can complete without waiting.
///
/// # Safety
/// As [`select`].
pub unsafe fn try_select(cases: &[Case]) -> Result<usize> {
    check_all(cases, |home| home.for_caller().map(drop))?;
    let is_of_a_scheduler =
        |case: &Case| matches!(case.source(), Source::Task(_) | Source::Deadline(_));
    if scheduler::current().is_none() && cases.iter().any(is_of_a_scheduler) {
        return Err(Error::NotInTask);
    }
    // SAFETY: as this function's contract says.
    unsafe { attempt(cases, |_| true, true) }.ok_or(Error::WouldBlock)
}

/// An error for a case that is filled in wrongly, whose channel the caller may not use, or with which
/// another task waits.
fn check_all(cases: &[Case], check_home: impl Fn(&Home) -> Result<()>) -> Result<()> {
    for case in cases {
        case.check()?;
        match case.source() {
            Source::Channel(channel, _) => check_home(channel.home())?,
            Source::Task(id) if task::running().is_some_and(|task| task.id.get() == id) => {
                return Err(Error::Deadlock);
            }
            _ => {}
        }
        if case.is_in_list() {
            return Err(Error::Busy);
        }
    }
    Ok(())
}

/// Completes one of those cases that are ready, if there are any. With `poll` descriptors are asked, too.
///
/// # Safety
/// As [`select`].
unsafe fn attempt(cases: &[Case], those: fn(&Case) -> bool, poll: bool) -> Option<usize> {
    loop {
        // SAFETY: as this function's contract says.
        let (case, index) = unsafe { attempt_one(cases, those, poll) }?;
        if case {
            return Some(index);
        }
    }
}

unsafe fn attempt_one(
    cases: &[Case],
    those: fn(&Case) -> bool,
    poll: bool,
) -> Option<(bool, usize)> {
    let current = scheduler::current();
    let those = cases.iter().enumerate().filter(|(_, case)| those(case));
    let mut ready = those
        .filter_map(|(index, case)| {
            let happened = if poll { case.poll() } else { 0 };
            case.is_ready(current, happened).then_some((index, case, happened))
        })
        .peekable();
    // Of those that are asked for only: after a wait the others' channels may be gone. One that no task has
    // used yet has no home.
    let (_, first, _) = ready.peek()?;
    let home = first.channel().and_then(|(channel, _)| channel.home().scheduler());
    let (index, case, happened) = match home.or(current) {
        Some(scheduler) => scheduler.random.choose(ready)?,
        None => ready.next()?,
    };
    // SAFETY: as this function's contract says.
    Some((unsafe { case.complete(happened) }, index))
}

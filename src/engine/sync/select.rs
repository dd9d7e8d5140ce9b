//! Select: waits for the first of several channel operations. A channel's own calls are selects of
//! one case.
//!
//! Each case is in the wait queue of its channel, and all point to the same [`SelectWait`] on the
//! task's stack. Completing one case ends the wait, which unlinks all. Among several ready cases
//! one is chosen at random, uniformly; the seed is fixed, so that simulations are reproducible.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fmt::{self, Write};
use std::mem::MaybeUninit;
use std::ptr::{eq, from_ref, null};

use super::channel::Channel;
use super::object::Object;
use crate::engine::scheduler::{self, Limit, Running, Scheduler, wait, yield_spent};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Links, ObjectKind, Outcome, SchedulerRef, Task, Wait, WaitKind, Waiter};

/// The operation of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    Send = 0,
    Receive = 1,
}

/// One case of a select. C has the same struct, in this order.
#[repr(C)]
pub struct Case {
    /// Null: never ready.
    pub channel: *const Channel,
    /// An [`Operation`]; C may have written another number.
    pub operation: u32,
    /// The result, once the case was chosen.
    pub result: Cell<c_int>,
    pub element: *mut c_void,
    /// What C has for other operations, of which there are none yet. Not initialized in the cases of this
    /// library, where each send and receive that waits has one.
    pub later: MaybeUninit<[u64; 7]>,
    /// The wait that it belongs to.
    pub waiting: Cell<*const SelectWait>,
    links: Links<Case>,
}

impl Waiter for Case {
    fn links(&self) -> &Links<Case> {
        &self.links
    }
}

/// A waiting select: the task and its cases.
pub struct SelectWait {
    task: *const Task,
    cases: *const [Case],
}

/// The task's cases are in the wait queues of their channels. The object is the [`SelectWait`].
static CHANNELS: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    concerns,
    describe: Some(describe),
    ..WaitKind::new(c"a channel", unlink)
};

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
    cases.iter().filter_map(|case| Some(case.parts()?.0))
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(_: SchedulerRef, waiting: usize, _: &Task) {
    // SAFETY: on the stack of the task that waits, or its caller's to keep; and so are the cases.
    for case in unsafe { cases(waiting) } {
        if let Some((channel, operation)) = case.parts() {
            channel.waiters(operation).remove(case);
            case.waiting.set(null());
        }
    }
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
    match unsafe { cases(waiting) } {
        [only] => write!(out, "channel {:p}", only.channel),
        cases => write!(out, "one of {} channels", cases.len()),
    }
}

/// # Safety
/// The address of a [`SelectWait`] that is alive.
unsafe fn cases<'w>(waiting: usize) -> &'w [Case] {
    // SAFETY: as this function's contract says; the cases are alive while their task waits.
    unsafe { &*(*(waiting as *const SelectWait)).cases }
}

impl Case {
    pub fn new(channel: &Channel, operation: Operation, element: *mut c_void) -> Case {
        Case {
            channel,
            operation: operation as u32,
            result: Cell::new(0),
            element,
            later: MaybeUninit::uninit(),
            waiting: Cell::new(null()),
            links: Links::default(),
        }
    }

    /// The channel and the operation; `None` for a case without a channel.
    fn parts(&self) -> Option<(&Channel, Operation)> {
        let operation = if self.operation == Operation::Send as u32 {
            Operation::Send
        } else {
            Operation::Receive
        };
        // SAFETY: null, or alive, as the contract of `select` says.
        Some((unsafe { self.channel.as_ref() }?, operation))
    }

    /// An error for a case that C has filled in wrongly.
    fn check(&self) -> Result<()> {
        let is_known = [Operation::Send, Operation::Receive]
            .into_iter()
            .any(|operation| self.operation == operation as u32);
        if !is_known {
            return Err(Error::InvalidArgument);
        }
        self.parts().map_or(Ok(()), |(channel, _)| channel.check(self.element))
    }

    /// Whether the case is in a wait queue already: two tasks that share their cases, in a static
    /// array for example, would link them twice. C may have left garbage in `waiting`, so search
    /// the queue.
    fn is_in_list(&self) -> bool {
        !self.waiting.get().is_null()
            && self.parts().is_some_and(|(channel, operation)| {
                channel.waiters(operation).iter().any(|case| eq(case, self))
            })
    }

    /// The address of its element.
    pub fn element(&self) -> *mut u8 {
        self.element.cast()
    }

    /// The result of a chosen case.
    pub fn result(&self) -> Result<()> {
        if self.result.get() == 0 { Ok(()) } else { Err(Error::Disconnected) }
    }

    /// Ends the wait with this case as the chosen one.
    pub fn finish(&self, scheduler: &Scheduler, result: c_int) {
        self.result.set(result);
        // SAFETY: a case in a list is a part of a wait, and both are alive.
        let (waiting, task) = unsafe {
            let waiting = &*self.waiting.get();
            (waiting, &*waiting.task)
        };
        let offset = from_ref(self) as usize - waiting.cases.cast::<Case>() as usize;
        scheduler.end_wait(task, Outcome::Ready((offset / size_of::<Case>()) as u32));
    }
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

/// [`select`] without checks.
///
/// # Safety
/// As [`select`], and the channels are of the running task's scheduler.
pub unsafe fn wait_for(cases: &[Case], limit: Limit) -> Result<usize> {
    let (_, task) = scheduler::running_task().ok_or(Error::NotInTask)?;
    let waiting = SelectWait { task, cases };
    // SAFETY: as this function's contract says.
    let look = |_: Running<'_>| Ok(unsafe { attempt(cases) }.map(|index| index as u32));
    let list = |_: Running<'_>| {
        if cases.iter().any(Case::is_in_list) {
            return Err(Error::Busy); // Since the call has yielded.
        }
        for case in cases {
            if let Some((channel, operation)) = case.parts() {
                case.waiting.set(&waiting);
                channel.waiters(operation).push(case);
            }
        }
        Ok(Wait::on(&CHANNELS, &waiting))
    };
    let index = wait(limit, look, list);
    // They are in no list, which the next call need not find out by a search. Another task may wait
    // with the same ones, if it began while this one had yielded: those are its.
    for case in cases.iter().filter(|case| eq(case.waiting.get(), &waiting)) {
        case.waiting.set(null());
    }
    index.map(|index| index as usize)
}

/// Completes one of the cases, if one can complete without waiting.
///
/// # Safety
/// As [`select`].
pub unsafe fn try_select(cases: &[Case]) -> Result<usize> {
    check_all(cases, |home| home.for_caller().map(drop))?;
    // SAFETY: as this function's contract says.
    unsafe { attempt(cases) }.ok_or(Error::WouldBlock)
}

/// An error for a case that is filled in wrongly, whose channel the caller may not use, or with which
/// another task waits.
fn check_all(cases: &[Case], check_home: impl Fn(&super::home::Home) -> Result<()>) -> Result<()> {
    for case in cases {
        case.check()?;
        if let Some((channel, _)) = case.parts() {
            check_home(channel.home())?;
        }
        if case.is_in_list() {
            return Err(Error::Busy);
        }
    }
    Ok(())
}

/// # Safety
/// As [`select`].
unsafe fn attempt(cases: &[Case]) -> Option<usize> {
    let mut ready = cases.iter().enumerate().filter_map(|(index, case)| {
        let (channel, operation) = case.parts()?;
        channel.is_ready(operation).then_some((index, case, channel, operation))
    });
    let mut chosen = ready.next()?;
    // A channel that no task has used yet has no home.
    let scheduler = chosen.2.home().scheduler().or_else(scheduler::current);
    for (others, candidate) in ready.enumerate() {
        // Reservoir sampling: each earlier one is the chosen one with the same probability.
        if scheduler.is_some_and(|scheduler| scheduler.random.below(others as u64 + 2) == 0) {
            chosen = candidate;
        }
    }
    let (index, case, channel, operation) = chosen;
    // SAFETY: as this function's contract says.
    let result = unsafe { channel.attempt(operation, case.element) }?;
    case.result.set(result.map_or_else(Error::status, |()| 0));
    Some(index)
}

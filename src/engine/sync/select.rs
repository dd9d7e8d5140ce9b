//! Select: waits for the first of several channel operations. A channel's own calls are selects of
//! one case.
//!
//! Each case is in the wait queue of its channel, and all point to the same [`SelectWait`] on the
//! task's stack. Completing one case ends the wait, which unlinks all. Among several ready cases
//! one is chosen at random, uniformly; the seed is fixed, so that simulations are reproducible.

use std::cell::Cell;
use std::ffi::{c_int, c_short, c_void};
use std::fmt::{self, Write};
use std::ptr::{eq, from_ref, null};

use super::channel::Channel;
use super::object::Object;
use crate::engine::scheduler::{self, Attempt, Limit, Running, Scheduler, wait};
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
    /// For other operations, which there are none of yet: a descriptor, its events, those that happened, a
    /// task's id, and a deadline.
    pub fd: c_int,
    pub events: c_short,
    pub happened: c_short,
    pub task: u64,
    pub deadline_ns: u64,
    /// Zero.
    pub reserved: [u64; 4],
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
            fd: 0,
            events: 0,
            happened: 0,
            task: 0,
            deadline_ns: 0,
            reserved: [0; 4],
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
        if !is_known || self.reserved != [0; 4] {
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
    let (_, task) = scheduler::running_task().ok_or(Error::NotInTask)?;
    for case in cases {
        case.check()?;
        if let Some((channel, _)) = case.parts() {
            channel.home().current_task()?;
        }
    }
    // SAFETY: as this function's contract says.
    let look = || unsafe { attempt(cases) };
    if let Some(index) = look() {
        return Ok(index);
    }
    let waiting = SelectWait { task, cases };
    let begin = |_: Running<'_>| {
        if let Some(index) = look() {
            return Ok(Attempt::Done(index as u32));
        }
        if cases.iter().any(Case::is_in_list) {
            return Err(Error::Busy);
        }
        for case in cases {
            if let Some((channel, operation)) = case.parts() {
                case.waiting.set(&waiting);
                channel.waiters(operation).push(case);
            }
        }
        Ok(Attempt::Waiting(Wait::on(&CHANNELS, &waiting)))
    };
    let index = wait(limit, begin)?;
    Ok(index as usize)
}

/// Completes one of the cases, if one can complete without waiting.
///
/// # Safety
/// As [`select`].
pub unsafe fn try_select(cases: &[Case]) -> Result<usize> {
    for case in cases {
        case.check()?;
        if let Some((channel, _)) = case.parts() {
            channel.home().for_caller()?;
        }
    }
    // SAFETY: as this function's contract says.
    unsafe { attempt(cases) }.ok_or(Error::WouldBlock)
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

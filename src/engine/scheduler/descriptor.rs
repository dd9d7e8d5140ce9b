//! Waiting for a descriptor.

use std::cell::Cell;
use std::ffi::c_int;
use std::fmt;

use super::block::{Limit, Running, check_can_block, is_cancellation_due, running, wait};
use super::object::{Scheduler, current};
use crate::engine::io::{CLOSED, EVENTS, FAILURE, READABLE, WRITABLE};
use crate::engine::sys::{self, ErrnoGuard, Error, Result};
use crate::engine::task::{
    FIRED, ObjectKind, Outcome, SchedulerRef, State, Task, Wait, WaitKind, WaitNode,
};
use crate::engine::threads::{Generation, Ownership};
use crate::engine::time::Deadline;
use crate::engine::{log, measure};

/// The task has a node in the reactor's list for the descriptor. The object is the [`WaitNode`].
static DESCRIPTOR: WaitKind =
    WaitKind { object: ObjectKind::Descriptor, ..WaitKind::new(c"fd", unlink) };

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(scheduler: SchedulerRef, node: usize, _: &Task) {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    // SAFETY: on the stack of the task that waits.
    scheduler.io.reactor.borrow_mut().remove_waiter(unsafe { &*(node as *const WaitNode) });
}

/// What a wait has ended with that has fired.
pub fn node_outcome(node: &WaitNode) -> Result<u32> {
    match node.result() {
        CLOSED => Err(Error::Os(libc::EBADF)),
        happened @ 0.. => Ok(happened as u32),
        failed => Err(Error::Os(-failed)),
    }
}

/// Suspends the running task until one of the `events` of a descriptor happens, and returns those
/// that did.
pub fn wait_fd(fd: c_int, events: u32, limit: Limit) -> Result<u32> {
    wait_for(fd, events, limit, false)
}

/// [`wait_fd`] for a descriptor that was not ready a moment ago, which is not asked again.
pub fn wait_fd_later(fd: c_int, events: u32, limit: Limit) -> Result<u32> {
    wait_for(fd, events, limit, true)
}

fn wait_for(fd: c_int, events: u32, limit: Limit, is_not_ready: bool) -> Result<u32> {
    let _errno = ErrnoGuard::save();
    let events = events & !FAILURE; // Asked for or not, they are told.
    if events & !EVENTS != 0 {
        return Err(Error::InvalidArgument);
    }
    let (scheduler, task) = running()?;
    log::debug(format_args!("Task {task:p} waiting for fd {fd} to become {}", EventNames(events)));
    if limit.deadline == Deadline::In(0) && !scheduler.is_internal(fd) {
        let result = yield_and_poll(fd, events);
        if let Err(error @ Error::Os(_)) = result {
            report_failure(task, fd, error);
        }
        return result;
    }
    let (node, refused) = (WaitNode::default(), Cell::new(false));
    node.fd.set(fd); // For what is asked of it though the wait has not begun.
    let list = |(scheduler, task): Running<'_>| {
        let begun = scheduler.begin_wait(task, &node, fd, events);
        refused.set(begun.is_err());
        if is_not_ready {
            scheduler.io.reactor.borrow_mut().is_not_ready(fd);
        }
        begun.map(|()| Wait::on(&DESCRIPTOR, &node))
    };
    let result = wait(limit, |_| Ok(None), list).and_then(|_| node_outcome(&node));
    // The loop may not have polled since the deadline passed, and a canceled task is told what has
    // happened too: poll once more.
    let (result, late) = match result {
        Err(Error::TimedOut) => (scheduler.poll_late(&node, events), true),
        Err(Error::Canceled) => {
            let poll = || scheduler.poll_late(&node, events);
            (poll_canceled((scheduler, task), fd, poll), false)
        }
        result => (result, false),
    };
    if late {
        measure::add(&scheduler.metrics.io_events, u64::from(result.is_ok()));
    }
    if let Err(error) = result
        && (refused.get()
            || late && error != Error::TimedOut
            || task.outcome.get() == Outcome::Failed(error)
            || node.result() < 0 && node.result() != CLOSED)
    {
        report_failure(task, fd, error);
    }
    // Yield, so that a loop around the call does not starve other tasks; but not if the program's
    // log callback has just marked this task as ended.
    if refused.get()
        && let Ok((scheduler, task)) = running()
    {
        scheduler.yield_task(task);
    }
    result.map(|happened| happened & (events | FAILURE))
}

#[track_caller]
#[cold]
fn report_failure(task: &Task, fd: c_int, error: Error) {
    log::error(format_args!("task {:#x} cannot wait for fd {fd}: {error}", task.id.get()));
}

/// Yields, so that a loop around the call can be stopped, and polls a descriptor once.
fn yield_and_poll(fd: c_int, events: u32) -> Result<u32> {
    let (scheduler, task) = running()?;
    match check_can_block((scheduler, task)) {
        Ok(()) => scheduler.yield_task(task),
        Err(Error::Canceled) => {} // It has yielded.
        Err(error) => return Err(error),
    }
    let poll = || poll(fd, events);
    if task.is_canceled() { poll_canceled((scheduler, task), fd, poll) } else { poll() }
}

/// Polls a descriptor for a canceled task: an event if there is one, but not for ever.
fn poll_canceled(
    running @ (scheduler, task): Running<'_>,
    fd: c_int,
    poll: impl FnOnce() -> Result<u32>,
) -> Result<u32> {
    if task.is(State::Exited) || scheduler.is_internal(fd) || is_cancellation_due(running) {
        return Err(Error::Canceled);
    }
    poll().map_err(|_| Error::Canceled)
}

/// Polls a descriptor once, without waiting.
fn poll(fd: c_int, events: u32) -> Result<u32> {
    match sys::poll_now(fd, events)? {
        0 => Err(Error::TimedOut),
        happened => Ok(happened),
    }
}

impl Scheduler {
    /// Whether a descriptor is one of the scheduler's own two. A child of fork() may have closed
    /// those and opened others under their numbers.
    pub fn is_internal(&self, fd: c_int) -> bool {
        let is_internal = || self.io.reactor.borrow().is_internal(fd);
        is_internal()
            && (self.remote.is_of_this_process() || {
                let _ = self.reinit_after_fork(); // If it fails, they are taken for what they were.
                is_internal()
            })
    }

    /// Adds a task's wait for the events of a descriptor.
    pub fn begin_wait(&self, task: &Task, node: &WaitNode, fd: c_int, events: u32) -> Result<()> {
        let begin = || self.io.reactor.borrow_mut().wait(task, node, fd, events);
        match begin() {
            Err(Error::InvalidArgument) if !self.is_internal(fd) => begin(),
            result => result,
        }
    }

    /// Polls a descriptor after the time limit of a wait for it. Another file may have the number.
    #[cold]
    fn poll_late(&self, node: &WaitNode, events: u32) -> Result<u32> {
        let happened = poll(node.fd.get(), events)?;
        if self.remote.is_of_this_process() && self.io.reactor.borrow_mut().was_left_behind(node) {
            return Err(Error::Os(libc::EBADF));
        }
        Ok(happened)
    }
}

/// Formats the events of a wait.
struct EventNames(u32);

impl fmt::Display for EventNames {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 & READABLE != 0, self.0 & WRITABLE != 0) {
            (true, false) => out.write_str("readable"),
            (false, true) => out.write_str("writable"),
            (true, true) => out.write_str("readable or writable"),
            (false, false) => write!(out, "ready (events {:#x})", self.0),
        }
    }
}

// ---- owned descriptors

/// Suspends the running task until a call in this direction may find something, or `limit` ends. It may
/// find nothing all the same.
pub fn wait_to_retry(fd: c_int, direction: u32, ownership: Ownership, limit: Limit) -> Result<()> {
    let node = WaitNode::default();
    let list = |(scheduler, task): Running<'_>| {
        scheduler.begin_retry(task, &node, fd, direction, ownership)?;
        Ok(Wait::on(&DESCRIPTOR, &node))
    };
    let generation = Generation::of(fd);
    // An event may come between a wake-up that is to end nothing and the turn after it, or a close.
    let look = |(scheduler, _): Running<'_>| {
        generation.check()?;
        let reactor = scheduler.io.reactor.borrow();
        Ok(reactor.is_ready(fd, ownership.word(), direction).then_some(0))
    };
    match wait(limit, look, list) {
        Err(Error::WouldBlock) => Ok(()), // Now it is another file.
        waited => waited.and_then(|_| node_outcome(&node)).map(drop),
    }
}

impl Scheduler {
    fn begin_retry(
        &self,
        task: &Task,
        node: &WaitNode,
        fd: c_int,
        direction: u32,
        ownership: Ownership,
    ) -> Result<()> {
        self.reinit_after_fork()?;
        let Some(ownership) = ownership.register(fd, self.io.number()) else {
            return self.begin_wait(task, node, fd, direction);
        };
        // In simulated time nothing may depend on when waits are checked.
        let verify = self.time.clock.has_custom();
        let begun =
            self.io.reactor.borrow_mut().wait_owned(task, node, fd, direction, ownership, verify);
        self.wake_fired();
        match begun {
            // A file that epoll does not support: poll(2) says that it is always ready.
            Err(Error::Os(libc::EPERM)) => self.begin_wait(task, node, fd, direction),
            begun => begun,
        }
    }

    /// A descriptor is the program's again.
    pub fn deregister(&self, fd: c_int) {
        let owns_epoll_set = self.reinit_after_fork().is_ok();
        self.io.reactor.borrow_mut().deregister(fd, owns_epoll_set);
    }

    /// Wakes the tasks whose waits for descriptors have fired. Returns whether there were any.
    pub(super) fn wake_fired(&self) -> bool {
        let mut any = false;
        loop {
            // The borrow ends here: a task that waits for several leaves the others.
            let fired = self.io.reactor.borrow().take_fired();
            let Some(node) = fired else { return any };
            self.end_wait(node.task(), Outcome::Ready(FIRED));
            self.measure_ready(node.task());
            any = true;
        }
    }
}

// ---- several descriptors

/// The task has a node for each of several descriptors. The object is the [`AnyOf`].
static DESCRIPTORS: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    describe: Some(describe_any),
    ..WaitKind::new(c"fds", unlink_any)
};

/// The nodes of a wait for several descriptors.
struct AnyOf(*const [WaitNode]);

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink_any(scheduler: SchedulerRef, any_of: usize, _: &Task) {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { Scheduler::of(scheduler) };
    let mut reactor = scheduler.io.reactor.borrow_mut();
    // SAFETY: on the stack of the task that waits, or on the heap while it does.
    for node in unsafe { &*(*(any_of as *const AnyOf)).0 } {
        reactor.remove_waiter(node);
    }
}

/// # Safety
/// The task waits.
unsafe fn describe_any(any_of: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    // SAFETY: as above.
    write!(out, "one of {} fds", unsafe { (*(any_of as *const AnyOf)).0 }.len())
}

/// Suspends the running task until one of several descriptors may be ready, or `is_closed` says that one
/// was closed while the task was woken for something else. A negative one never is ready.
pub fn wait_for_any(
    polls: &[sys::pollfd],
    limit: Limit,
    is_closed: impl Fn() -> bool,
) -> Result<()> {
    /// For so many the nodes are on the stack.
    const FEW: usize = 8;
    if polls.len() <= FEW {
        let nodes: [WaitNode; FEW] = Default::default();
        return wait_with(&nodes[..polls.len()], polls, limit, is_closed);
    }
    let nodes = sys::allocate::<WaitNode>(polls.len());
    if nodes.is_null() {
        return Err(Error::OutOfMemory);
    }
    for index in 0..polls.len() {
        // SAFETY: fresh memory for as many.
        unsafe { nodes.add(index).write(WaitNode::default()) };
    }
    // SAFETY: initialized, and freed below.
    let listed = unsafe { std::slice::from_raw_parts(nodes, polls.len()) };
    let waited = wait_with(listed, polls, limit, is_closed);
    // SAFETY: from `allocate`, and the task does not wait any more.
    unsafe { sys::free(nodes.cast()) };
    waited
}

fn wait_with(
    nodes: &[WaitNode],
    polls: &[sys::pollfd],
    limit: Limit,
    is_closed: impl Fn() -> bool,
) -> Result<()> {
    let any_of = AnyOf(nodes);
    let list = |(scheduler, task): Running<'_>| {
        for (node, poll) in nodes.iter().zip(polls).filter(|(_, poll)| poll.fd >= 0) {
            let events = u32::from(poll.events as u16) & EVENTS;
            if let Err(error) = scheduler.begin_wait(task, node, poll.fd, events) {
                // SAFETY: the nodes that are listed are this task's.
                unsafe { unlink_any(scheduler.as_ref(), (&raw const any_of) as usize, task) };
                return Err(error);
            }
        }
        Ok(Wait::on(&DESCRIPTORS, &any_of))
    };
    let look = |_: Running<'_>| Ok(is_closed().then_some(0));
    wait(limit, look, list)?;
    let failed = nodes.iter().find(|node| node.result() < 0 && node.result() != CLOSED);
    failed.map_or(Ok(()), |node| node_outcome(node).map(drop))
}

// ---- closing

/// [`Scheduler::close_fd`] of the scheduler that runs on this thread, if one does.
pub fn close_fd(fd: c_int) -> Result<()> {
    close(fd, true)
}

/// [`close_fd`] of one that only children of fork() can have duplicates of, and that tells nothing new any more. Its
/// registration goes with the last of these; until then an event of it finds no waiter.
pub fn close_private_fd(fd: c_int) -> Result<()> {
    close(fd, false)
}

fn close(fd: c_int, has_duplicates: bool) -> Result<()> {
    match current() {
        Some(scheduler) => scheduler.close(fd, has_duplicates),
        None => {
            Ownership::close(fd);
            sys::close_checked(fd)
        }
    }
}

impl Scheduler {
    /// Wakes the tasks that wait for a descriptor, and closes it. [`Error::Busy`] for the
    /// scheduler's own descriptors.
    pub fn close_fd(&self, fd: c_int) -> Result<()> {
        self.close(fd, true)
    }

    fn close(&self, fd: c_int, has_duplicates: bool) -> Result<()> {
        let owns_epoll_set = self.reinit_after_fork().is_ok();
        if self.is_internal(fd) {
            return Err(Error::Busy);
        }
        self.io.reactor.borrow_mut().close(fd, owns_epoll_set && has_duplicates);
        self.wake_fired();
        Ownership::close(fd);
        sys::close_checked(fd)
    }
}

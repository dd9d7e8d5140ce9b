//! Calling a function on another core, for the task that waits for it. `call_block.rs` has the states.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null};
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use super::call_block::{BEGUN, Call, Function, LEFT, OfCall, forget};
use super::callee::{be_left, end_posted, start};
use super::object::Core;
use super::urge::WITHOUT_TASKS;
use crate::engine::context::sanitizer;
use crate::engine::scheduler::{
    Limit, Post, Running, Scheduler, current, running_task, sleep, wait_for_begun,
};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::{Left, ObjectKind, Outcome, SchedulerRef, Task, Wait, WaitKind};
use crate::engine::threads::Message;
use crate::engine::time::Deadline;

/// The task waits for a function of another core.
static CALL: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    leave: Some(leave),
    only_by_cancel: true,
    lost_in_child: true,
    ..WaitKind::new(c"call of a core", unlink)
};

/// The same, when it has left: nothing interrupts it any more.
static LEFT_CALL: WaitKind = WaitKind { interruptible: false, ..CALL };

/// The call has ended, and the task goes on when it has its turn. If it never has one, since its scheduler is
/// destroyed, it gives its reference up.
static ENDED_CALL: WaitKind = WaitKind {
    object: ObjectKind::Hidden,
    is_yield: true,
    ..WaitKind::new(c"its turn", release_ended)
};

/// Has a core call a function with an argument, and waits for what it returns. Where as many wait as may, it waits for
/// room too.
///
/// [`Error::Canceled`] and [`Error::TimedOut`] are only returned if the function has not begun, and will not; with
/// [`Error::OwnerDied`], in a child of fork(), it runs in the parent.
///
/// # Safety
/// The function may be called with the argument, on the core's thread, until this returns.
pub unsafe fn call(
    core: &Core,
    (function, argument): (Function, *mut c_void),
    mut deadline: Deadline,
) -> Result<c_int> {
    /// How long it waits for room, for which there is no event.
    const PAUSE_NS: u64 = 1_000_000;
    let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
    scheduler.reinit_after_fork()?;
    let until_ns = deadline.resolve(&scheduler.time.clock);
    loop {
        core.take_work()?;
        let called = Call::begin(core, (function, argument), deadline);
        match called {
            Err(Error::WouldBlock)
                if until_ns.is_none_or(|at| scheduler.time.clock.now_ns() < at) =>
            {
                sleep(Limit::uninterrupted(Deadline::In(PAUSE_NS)))?;
            }
            Err(Error::WouldBlock) => return Err(Error::TimedOut),
            called => return called,
        }
    }
}

impl Call {
    /// The core has counted it.
    fn begin(
        core: &Core,
        (function, argument): (Function, *mut c_void),
        deadline: Deadline,
    ) -> Result<c_int> {
        let begun: Cell<Option<NonNull<Call>>> = Cell::new(None);
        let begin = |(scheduler, task): Running<'_>| {
            // It may have ended since: who waits for its calls has looked then, and does not again.
            if core.is_over() {
                return Err(Error::Disconnected);
            }
            // Not before: a task that is destroyed before it waits leaves nothing behind.
            let call = Call::allocate(core, (function, argument), (scheduler, task))?;
            // SAFETY: made just now; the other side has a reference from now on.
            if let Err(error) = unsafe { core.remote()?.post_counted(call.cast()) } {
                // SAFETY: as above, and not posted.
                unsafe { Call::free(call) };
                return Err(error);
            }
            begun.set(Some(call));
            scheduler.expect_message();
            Ok(Wait::on(&CALL, call.as_ptr()))
        };
        let result = wait_for_begun(deadline, begin);
        let Some(call) = begun.get() else {
            core.end_work();
            return Err(result.map_or_else(|error| error, |_| Error::Disconnected));
        };
        // It was left before it began; or this is a child of fork(), whose copy of the call nobody ends.
        result?;
        if let Some((_, task)) = running_task() {
            task.wait.set(Wait::NONE);
        }
        // SAFETY: this side's reference, which is given up.
        unsafe {
            let this = call.as_ref();
            let result = this.result.get();
            // Why it was left is why it has not begun, and no more.
            let has_begun = this.turn.load(Relaxed) & BEGUN != 0;
            let reason = this.reason.get().filter(|_| !has_begun);
            Call::release(call);
            result.map_err(|error| reason.unwrap_or(error))
        }
    }

    fn allocate(
        core: &Core,
        (function, argument): (Function, *mut c_void),
        (scheduler, waiter): Running<'_>,
    ) -> Result<NonNull<Call>> {
        let callee = core.remote()?.clone();
        let memory = NonNull::new(sys::allocate::<Call>(1)).ok_or(Error::OutOfMemory)?;
        let of_call =
            |run| OfCall { message: Message::new(run, forget), call: Cell::new(memory.as_ptr()) };
        let call = Call {
            post: Post::new(start, end_posted),
            back: of_call(come_back),
            leave: of_call(be_left),
            references: AtomicUsize::new(2),
            turn: AtomicU8::new(0),
            has_ended: AtomicBool::new(false),
            function,
            argument,
            caller: scheduler.remote.clone(),
            callee,
            is_within: core.cluster().here().is_some(),
            core,
            task: Cell::new(0),
            runs_in: Cell::new((null(), null())),
            result: Cell::new(Err(Error::Disconnected)),
            waiter: Cell::new(waiter),
            reason: Cell::new(None),
        };
        // SAFETY: fresh memory for one.
        unsafe { memory.write(call) };
        Ok(memory)
    }

    /// The caller goes on, if it waits.
    fn resume(&self, scheduler: &Scheduler) {
        // SAFETY: a task that waits is alive.
        if let Some(task) = unsafe { self.waiter.replace(null()).as_ref() } {
            scheduler.message_has_come();
            task.wait.set(Wait::on(&ENDED_CALL, self));
            scheduler.ready(task, Outcome::Ready(0));
        }
    }

    /// The caller leaves it: the function's task is canceled, once. Returns whether there is such a task, or may be.
    fn send_leave(&self) -> bool {
        let before = self.turn.fetch_or(LEFT, AcqRel);
        let has_begun = before & BEGUN != 0;
        if !has_begun || before & LEFT != 0 {
            return has_begun;
        }
        self.references.fetch_add(1, Relaxed);
        let message = NonNull::from(&self.leave).cast();
        // SAFETY: sent once, with a reference of its own.
        if unsafe { self.callee.post(message) }.is_err() {
            self.references.fetch_sub(1, Relaxed); // Not the last: the caller has one.
        }
        true
    }
}

/// The caller is canceled, or its time is over.
///
/// # Safety
/// As [`WaitKind::leave`].
unsafe fn leave(scheduler: SchedulerRef, call: usize, task: &Task) -> Left {
    // SAFETY: the task waits for it.
    let call = unsafe { &*(call as *const Call) };
    if task.outcome.get() == Outcome::OwnerDied {
        call.waiter.set(null());
        // SAFETY: as this function's contract says.
        unsafe { Scheduler::of(scheduler) }.message_has_come();
        return Left::Now; // In a child of fork(): a copy, which nobody ends.
    }
    let is_late = task.outcome.get() == Outcome::TimedOut;
    call.reason.set(Some(if is_late { Error::TimedOut } else { Error::Canceled }));
    if call.send_leave() {
        task.wait.set(Wait::on(&LEFT_CALL, call));
        return Left::Later;
    }
    // It will not begin.
    call.waiter.set(null());
    // SAFETY: as this function's contract says; this side's reference.
    unsafe {
        Scheduler::of(scheduler).message_has_come();
        Call::release(NonNull::from(call));
    }
    Left::Now
}

/// The caller is not there any more: its scheduler is being destroyed, or this is a child of fork().
///
/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink(scheduler: SchedulerRef, call: usize, _: &Task) {
    let Some(call) = NonNull::new(call as *mut Call) else { return };
    // SAFETY: as this function's contract says.
    let (scheduler, this) = unsafe { (Scheduler::of(scheduler), call.as_ref()) };
    this.waiter.set(null());
    scheduler.message_has_come();
    if !scheduler.remote.is_of_this_process() {
        return; // A copy, which nobody ends.
    }
    let has_begun = this.send_leave();
    // Of the same cluster: then no core runs any more. Else the argument is used until the function has returned.
    if has_begun && !this.is_within {
        while !this.has_ended.load(Acquire) {
            sys::sleep_ns(100_000);
        }
        sanitizer::acquire(&this.has_ended);
    }
    // SAFETY: this side's reference. What `back` does, if it comes, it does with the other side's.
    unsafe { Call::release(call) };
}

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn release_ended(_: SchedulerRef, call: usize, _: &Task) {
    if let Some(call) = NonNull::new(call as *mut Call) {
        // SAFETY: the task's reference.
        unsafe { Call::release(call) };
    }
}

/// The caller's loop has found that the call has ended. The reference is the other side's.
///
/// # Safety
/// The message of an [`OfCall`].
unsafe fn come_back(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let call = unsafe { message.cast::<OfCall>().as_ref() }.call.get();
    // SAFETY: as above.
    unsafe {
        if let Some(scheduler) = current() {
            (*call).resume(scheduler);
        }
        forget(message);
    }
}

/// Ends the waits of this scheduler's tasks for functions of cores of the same cluster that are over, since nothing
/// runs there any more.
pub fn leave_lost_calls(scheduler: &Scheduler) {
    for task in scheduler.tasks.iter() {
        let wait = task.wait.get();
        if !wait.is(&CALL) && !wait.is(&LEFT_CALL) {
            continue;
        }
        // SAFETY: the task waits for it.
        let call = unsafe { &*(wait.object() as *const Call) };
        // SAFETY: its cluster is there, since this scheduler is one of its cores.
        let is_lost = call.is_within && unsafe { &*call.core }.is_over();
        // If it has ended, `back` is under way. Where all runs end, whatever their tasks do, so does this one: that was
        // asked for before the other core was over.
        // SAFETY: as above.
        let ends_all = || unsafe { &*call.core }.cluster().urge.get() == WITHOUT_TASKS;
        if is_lost && !call.has_ended.load(Acquire) && !ends_all() {
            call.resume(scheduler);
        }
    }
}

//! The other side of a call: the core that calls the function. `call_block.rs` has the states.

use std::ffi::c_void;
use std::ptr::{NonNull, null};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::call_block::{BEGUN, Call, LEFT, OfCall, forget};
use super::messages::WORDS;
use crate::engine::context::sanitizer;
use crate::engine::scheduler::{Post, Scheduler, current, defer, exit, running_task};
use crate::engine::sys::{Error, Result};
use crate::engine::task::Words;
use crate::engine::threads::Message;

/// A task that has had no turn ends its call when it is destroyed.
static CALL_WORDS: Words = Words { abandon: Some(end_unbegun), ..WORDS };

/// Makes the task.
///
/// # Safety
/// Called by the core, with the post of a [`Call`].
pub unsafe fn start(scheduler: &Scheduler, post: NonNull<Post>) -> Result<()> {
    let call = post.cast::<Call>();
    // SAFETY: as this function's contract says.
    let this = unsafe { call.as_ref() };
    let is_first = this.turn.compare_exchange(0, BEGUN, AcqRel, Acquire).is_ok();
    if is_first {
        match scheduler.spawn_with(run, call.as_ptr(), &CALL_WORDS) {
            Ok((task, _)) => {
                this.task.set(task.id.get());
                return Ok(());
            }
            // It begins when there is memory, unless it is left until then.
            Err(error) if this.turn.compare_exchange(BEGUN, 0, AcqRel, Acquire).is_ok() => {
                return Err(error);
            }
            // It was left meanwhile, which the caller is told: nothing has begun.
            Err(_) => this.turn.store(LEFT, Relaxed),
        }
    }
    // SAFETY: the other side's.
    unsafe { end(call) };
    Ok(())
}

/// The body of the task.
///
/// # Safety
/// Called by the core, with the address of a [`Call`].
unsafe extern "C-unwind" fn run(_scheduler: *mut c_void, state: *mut c_void) {
    // SAFETY: as this function's contract says.
    let call = unsafe { *state.cast::<*mut Call>() };
    // SAFETY: alive until it has ended.
    let this = unsafe { &*call };
    // So that it ends in any case, also if the function never returns.
    let running = running_task();
    this.runs_in.set(running.map_or((null(), null()), |(scheduler, task)| (scheduler, task)));
    if defer(end_deferred, call.cast()).is_ok() {
        // SAFETY: the program's function and argument.
        this.result.set(Ok(unsafe { (this.function)(this.argument) }));
    } else {
        this.result.set(Err(Error::OutOfMemory));
        // SAFETY: the other side's.
        unsafe { end(NonNull::new_unchecked(call)) };
    }
    let _ = exit(); // In a task.
}

/// The call has ended, for the other side, whose reference goes with the message.
///
/// # Safety
/// Once, with a call that this side has.
unsafe fn end(call: NonNull<Call>) {
    // SAFETY: as this function's contract says. It may be gone when the message has been posted.
    unsafe {
        let this = call.as_ref();
        (*this.core).end_work(); // It was there as long as this held its cluster.
        let caller = this.caller.clone();
        sanitizer::release(&this.has_ended);
        this.has_ended.store(true, Release);
        let back = NonNull::from(&this.back).cast();
        if caller.post(back).is_err() {
            Call::release(call); // The caller's scheduler is gone.
        }
    }
}

/// # Safety
/// With a [`Call`], at the end of its task.
unsafe extern "C" fn end_deferred(call: *mut c_void) {
    // SAFETY: as this function's contract says: in the task, or when its scheduler calls what it has deferred.
    unsafe {
        let (scheduler, task) = (*call.cast::<Call>()).runs_in.get();
        if let Some(task) = task.as_ref() {
            (*scheduler).finish_values(task); // They may refer to what is the caller's.
        }
        end(NonNull::new_unchecked(call.cast()));
    }
}

/// # Safety
/// With the state of a task of [`run`], which will not run.
unsafe fn end_unbegun(state: *mut c_void) {
    // SAFETY: as this function's contract says.
    unsafe { end(NonNull::new_unchecked(*state.cast::<*mut Call>())) };
}

/// # Safety
/// The message of a [`Call`] that has not begun.
pub unsafe fn end_posted(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    unsafe { end(message.cast()) };
}

/// The caller has left.
///
/// # Safety
/// The message of an [`OfCall`].
pub unsafe fn be_left(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let call = unsafe { &*message.cast::<OfCall>().as_ref().call.get() };
    if let Some(scheduler) = current()
        && let Some(task) = scheduler.tasks.find_id(call.task.get())
    {
        scheduler.cancel(task);
    }
    // SAFETY: the message's reference.
    unsafe { forget(message) };
}

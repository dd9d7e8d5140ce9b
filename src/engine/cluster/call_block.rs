//! The call: a task has another core call a function, and waits for what it returns.
//!
//! The function is called in a task of that core, so it may suspend. What it is given stays the caller's, who does
//! not go on before it has returned: if the caller is canceled, or its time is over, the function's task is canceled,
//! and waited for.
//!
//! | a call is | goes to | by whom |
//! |---|---|---|
//! | posted | begun | the other core's loop, which makes the task |
//! | | ended, not begun | the same, if the caller has left it by then, and goes on; who destroys that scheduler |
//! | begun | ended | its task, at its end; who destroys that scheduler |
//! | ended | over | the caller's loop, by the message `back`, which readies the caller |
//!
//! `turn` is what both sides write: who is first, the caller who leaves or the other core that begins, is seen by the
//! other. A caller who leaves what has begun sends `leave`. All other fields are of one side, and handed over by the
//! messages. The block is released by who has the last reference: each side has one, and `leave` while it is under way.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::AcqRel};

use super::object::Core;
use crate::engine::context::sanitizer;
use crate::engine::scheduler::{Post, Scheduler};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::Task;
use crate::engine::threads::{Message, Remote};

/// What is called.
pub type Function = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

#[repr(C)]
pub struct Call {
    /// To the other core.
    pub post: Post,
    /// To the caller's scheduler.
    pub back: OfCall,
    /// To the other core: its task is to be canceled.
    pub leave: OfCall,
    pub references: AtomicUsize,
    /// [`BEGUN`], [`LEFT`] or both: then it was begun first.
    pub turn: AtomicU8,
    pub has_ended: AtomicBool,
    pub function: Function,
    pub argument: *mut c_void,
    pub caller: Remote,
    pub callee: Remote,
    /// Whether the caller is of the same cluster.
    pub is_within: bool,

    // Of the other core, until it has ended: then the cluster may be gone.
    pub core: *const Core,
    pub task: Cell<u64>,
    /// The task that calls the function, and its scheduler.
    pub runs_in: Cell<(*const Scheduler, *const Task)>,
    /// What the function has returned, or why it was not called.
    pub result: Cell<Result<c_int>>,

    // Of the caller.
    pub waiter: Cell<*const Task>,
    /// Why it has left.
    pub reason: Cell<Option<Error>>,
}

/// The other core has begun the call, and its function may be called.
pub const BEGUN: u8 = 1;
/// The caller has left it.
pub const LEFT: u8 = 2;

/// A message of a call.
#[repr(C)]
pub struct OfCall {
    pub message: Message,
    pub call: Cell<*const Call>,
}

const _: () = assert!(offset_of!(Call, post) == 0 && offset_of!(OfCall, message) == 0);

impl Call {
    /// Gives up a reference.
    ///
    /// # Safety
    /// The caller's, who does not use it again.
    pub unsafe fn release(call: NonNull<Call>) {
        // SAFETY: as this function's contract says; with the last one nobody else has it.
        unsafe {
            let references = &raw const (*call.as_ptr()).references;
            sanitizer::release(&*references);
            if (*references).fetch_sub(1, AcqRel) == 1 {
                sanitizer::acquire(&*references);
                Call::free(call);
            }
        }
    }

    /// # Safety
    /// Nobody else has it.
    pub unsafe fn free(call: NonNull<Call>) {
        // SAFETY: as this function's contract says; from `allocate`.
        unsafe {
            call.drop_in_place();
            sys::free(call.as_ptr().cast());
        }
    }
}

/// A message is not under way any more, and gives its reference up.
///
/// # Safety
/// As above.
pub unsafe fn forget(message: NonNull<Message>) {
    // SAFETY: as above.
    unsafe {
        let call = message.cast::<OfCall>().as_ref().call.get();
        Call::release(NonNull::new_unchecked(call.cast_mut()));
    }
}

//! Messages of other threads that do something to a task.

use std::ptr::NonNull;

use super::object::{Scheduler, current};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::Task;
use crate::engine::threads::{BLOCK_BYTES, Message, Remote};

/// What is to be done to a task.
pub type Action = fn(&Scheduler, &Task);

#[repr(C)]
struct ToTask {
    message: Message,
    id: u64,
    action: Action,
}

/// Does something to a task: at once on the scheduler's own thread, where [`Error::NoSuchTask`] says that there
/// is none with this id; else by a message, which does nothing then.
pub fn act_on(remote: &Remote, id: u64, action: Action) -> Result<()> {
    if id == 0 {
        return Err(Error::InvalidArgument);
    }
    let Some(scheduler) = current().filter(|here| here.remote.is(remote)) else {
        let message = Message::new(run_action, free_message);
        // SAFETY: the message comes first.
        return unsafe { post_allocated(remote, ToTask { message, id, action }) };
    };
    let task = scheduler.tasks.find_id(id).ok_or(Error::NoSuchTask)?;
    action(scheduler, task);
    Ok(())
}

/// Puts a message, with what belongs to it, into memory of its own, and posts it, counted.
///
/// # Safety
/// A `T` begins with its message, whose functions release the memory by [`Remote::release_block`],
/// [`free_message`], or `free`.
pub unsafe fn post_allocated<T>(remote: &Remote, message: T) -> Result<()> {
    const { assert!(!std::mem::needs_drop::<T>() && size_of::<T>() <= BLOCK_BYTES) };
    let memory = NonNull::new(remote.allocate_block().cast::<T>()).ok_or(Error::OutOfMemory)?;
    // SAFETY: fresh memory for one.
    unsafe { memory.write(message) };
    // SAFETY: as this function's contract says.
    let posted = unsafe { remote.post_counted(memory.cast()) };
    // SAFETY: from above, and not posted.
    posted.inspect_err(|_| unsafe { free_message(memory.cast()) })
}

/// # Safety
/// A message of [`post_allocated`], which nobody uses any more.
pub unsafe fn free_message(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    unsafe { sys::free(message.as_ptr().cast()) };
}

/// # Safety
/// The message of a [`ToTask`] of [`post_allocated`].
unsafe fn run_action(message: NonNull<Message>) {
    // SAFETY: as this function's contract says.
    let ToTask { id, action, .. } = unsafe { message.cast().read() };
    if let Some(scheduler) = current() {
        // SAFETY: as above, and it was read.
        unsafe { scheduler.remote.release_block(message.cast()) };
        scheduler.remote.count_begun();
        if let Some(task) = scheduler.tasks.find_id(id) {
            action(scheduler, task);
        }
    }
}

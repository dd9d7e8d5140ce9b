//! Channels, and waiting for several of them.

use std::ffi::{c_int, c_void};

use super::types::{mj_chan, mj_scheduler, mj_select_case};
use super::{Opaque, create_object, destroy_object, object_ref, reported, status};
use crate::engine::scheduler::Limit;
use crate::engine::sync::{Case, Channel, Operation, select, try_select};
use crate::engine::sys::{Error, Result};

impl Opaque for mj_chan {
    type Object = Channel;
}

/// Makes a channel for the tasks of one scheduler: a buffer of `capacity` elements of
/// `element_bytes` each, which are copied in and out and need no alignment. With a capacity of 0 it
/// is unbuffered: a sender waits until its element has been received. With a size of 0 it carries
/// signals without data, and pointers to elements may be NULL. Senders and receivers are served in
/// FIFO order. It may outlive the scheduler, and then buffered elements can still be received with
/// mj_chan_try_recv(). Does not suspend.
///
/// Returns the channel, to be released with mj_chan_destroy(), or NULL. Errors, in errno:
///   EINVAL  `scheduler` is NULL
///   ENOMEM  out of memory
///   EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_create(
    scheduler: *mut mj_scheduler,
    element_bytes: usize,
    capacity: usize,
) -> *mut mj_chan {
    // SAFETY: as this function's contract says.
    unsafe {
        create_object(scheduler, "mj_chan_create", |home| {
            Channel::new(home, element_bytes, capacity)
        })
    }
}

/// Releases a channel and its buffered elements. They are only bytes to the library, so if they own
/// anything, receive them first. Does not suspend.
///
/// Returns 0. Errors (it stays as it is then):
///   -EBUSY   a task waits for it: close it, and let that task go on
///   -EINVAL  `chan` is NULL
///   -EPERM   its scheduler is running on another thread, or this thread is running a different
///            scheduler
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_destroy(chan: *mut mj_chan) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(chan) }
}

/// Copies an element into a channel, waiting for at most `timeout_ns` for room or, if it is
/// unbuffered, for a receiver.
///
/// May suspend, also if there is room: a task has a budget, which is spent after 64 calls in a turn
/// that need not wait, or when the loop is due, every 50 microseconds. Then the call first lets the
/// other tasks have their turn, unless the task has locked a mutex.
///
/// Returns 0 when the element is sent. Errors (it is not sent then):
///   -EPIPE      the channel is closed, or was closed meanwhile
///   -ETIMEDOUT  there was no room in time
///   -ECANCELED  the task is canceled and would have to wait
///   -EINVAL     `chan` is NULL, or `element` is and elements have a size
///   -EPERM      outside a task, or the channel is another scheduler's
///   -EINTR      mj_task_wake() or mj_scheduler_enqueue() ended the wait
///   -ENOMEM     no memory for the timer
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_send(
    chan: *mut mj_chan,
    element: *const c_void,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let sent = unsafe { channel_ref(chan, element) }
        .and_then(|channel| unsafe { channel.send(element, Limit::after_ns(timeout_ns)) });
    status(reported("mj_chan_send", sent))
}

/// Copies the oldest element out of a channel, waiting for at most `timeout_ns` for one. May
/// suspend, as mj_chan_send().
///
/// Returns 0 when an element is received. Errors:
///   -EPIPE      the channel is closed and empty, or became so meanwhile
///   -ETIMEDOUT  no element came in time
///   -EINTR, -ECANCELED, -ENOMEM, -EINVAL, -EPERM  as mj_chan_send()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_recv(
    chan: *mut mj_chan,
    element: *mut c_void,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let received = unsafe { channel_ref(chan, element) }
        .and_then(|channel| unsafe { channel.receive(element, Limit::after_ns(timeout_ns)) });
    status(reported("mj_chan_recv", received))
}

/// mj_chan_send() without waiting. Works outside a task too, as in main() or a wait function. Does
/// not suspend.
///
/// Returns 0 when the element is sent. Errors:
///   -EAGAIN  there is no room or, if it is unbuffered, no receiver
///   -EPIPE   the channel is closed
///   -EINVAL  as mj_chan_send()
///   -EPERM   as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_try_send(chan: *mut mj_chan, element: *const c_void) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { try_transfer(chan, Operation::Send, element.cast_mut()) }
}

/// mj_chan_recv() without waiting. Works outside a task too. Does not suspend.
///
/// Returns 0 when an element is received. Errors:
///   -EAGAIN  there is no element
///   -EPIPE   the channel is closed and empty
///   -EINVAL, -EPERM  as mj_chan_try_send()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_try_recv(chan: *mut mj_chan, element: *mut c_void) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { try_transfer(chan, Operation::Receive, element) }
}

/// # Safety
/// As [`mj_chan_send`] or [`mj_chan_recv`].
unsafe fn try_transfer(chan: *mut mj_chan, operation: Operation, element: *mut c_void) -> c_int {
    // SAFETY: as this function's contract says.
    let done = unsafe { channel_ref(chan, element) }
        .and_then(|channel| unsafe { channel.try_transfer(operation, element) });
    status(done)
}

/// The channel at an address, if the element is as it has to be.
///
/// # Safety
/// NULL, or a live channel.
unsafe fn channel_ref<'c>(chan: *mut mj_chan, element: *const c_void) -> Result<&'c Channel> {
    // SAFETY: as this function's contract says.
    let channel: &Channel = unsafe { object_ref(chan) }?;
    channel.check(element)?;
    Ok(channel)
}

/// Closes a channel: from now on nothing can be sent, and once it is empty nothing received. These
/// calls give -EPIPE then, also those that wait already. Works outside a task too. Does not
/// suspend.
///
/// Returns 0. Errors:
///   -EPIPE           it is closed already
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_close(chan: *mut mj_chan) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(chan) }.and_then(Channel::close))
}

/// Returns how many elements are in a channel's buffer, or 0 for NULL. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_length(chan: *const mj_chan) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(chan) }.map_or(0, Channel::len)
}

/// Waits for the first of several things, for at most `timeout_ns`, and does that one only: a send, a
/// receive, an event of a descriptor, the end of a task, a time. When several can be done, the choice
/// is random, each with the same chance. A channel, a descriptor or a task may be in several cases.
/// Takes no memory for the cases, and time in proportion to `count`. Do not change `cases` before
/// the call has returned; only `result` and `happened` of the chosen one are set. Elements are as for
/// mj_chan_send(), mj_chan_recv(), mj_xchan_send() and mj_xchan_recv(), events as for
/// mj_task_wait_fd(). Only in a task, also for channels between threads. May suspend, as
/// mj_chan_send().
///
/// Returns the index of the case that is done, whose `result` is then 0, or an error of it alone.
/// Errors (none is done then):
///   -ETIMEDOUT  none could be done in time
///   -EBUSY      another task waits with the same cases: each needs its own
///   -EDEADLK    a task waits for its own end
///   -EINVAL     as mj_chan_send(), and: an operation that is none, events that are none, a reserved
///               word that is not 0, `cases` is NULL with a count, more than INT_MAX cases, a
///               descriptor that is the scheduler's own
///   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_chan_send()
/// A descriptor that is not open (-EBADF) or cannot be waited for (-ENOSPC) is the `result` of its case.
///
/// What a stream has read ahead does not make its descriptor readable: see mj_stream_fd() for what to do before
/// a select that waits for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_select(
    cases: *mut mj_select_case,
    count: usize,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let limit = Limit::after_ns(timeout_ns);
    // SAFETY: as this function's contract says.
    let chosen = unsafe { cases_ref(cases, count).and_then(|cases| select(cases, limit)) };
    index(reported("mj_select", chosen))
}

/// mj_select() without waiting. Works outside a task too. Does not suspend.
///
/// Returns the index of the case that is done, as mj_select(). Errors:
///   -EAGAIN          none can be done
///   -EBUSY, -EINVAL  as mj_select()
///   -EPERM           as mj_chan_destroy(), and for a task or a time without a scheduler that runs
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_try_select(cases: *mut mj_select_case, count: usize) -> c_int {
    // SAFETY: as this function's contract says.
    index(unsafe { cases_ref(cases, count) }.and_then(|cases| unsafe { try_select(cases) }))
}

/// The cases at an address.
///
/// # Safety
/// NULL, or as many cases.
unsafe fn cases_ref<'c>(cases: *mut mj_select_case, count: usize) -> Result<&'c [Case]> {
    if count > c_int::MAX as usize || cases.is_null() && count > 0 {
        return Err(Error::InvalidArgument);
    }
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: as this function's contract says.
    let these = unsafe { std::slice::from_raw_parts(cases, count) };
    if these.iter().any(|case| case.reserved != [0; 1]) {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: as above; an mj_select_case is a Case.
    Ok(unsafe { std::slice::from_raw_parts(cases.cast(), count) })
}

fn index(result: Result<usize>) -> c_int {
    result.map_or_else(Error::status, |index| index as c_int)
}

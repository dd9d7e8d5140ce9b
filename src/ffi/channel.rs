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
/// mj_chan_try_recv(). Returns the channel, or NULL with errno EINVAL (NULL), ENOMEM, or EPERM (the
/// scheduler is running on another thread). Release it with mj_chan_destroy(). Does not suspend.
///
/// `scheduler` is NULL or alive.
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
/// anything, receive them first. Returns 0; -EBUSY, and leaves it as it is, while a task waits for
/// it (close it, and let them go on); -EINVAL for NULL; -EPERM when its scheduler is running on
/// another thread, or another one on this thread. Does not suspend.
///
/// The pointer is NULL or a live channel, not used again if this succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_destroy(chan: *mut mj_chan) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(chan) }
}

/// Copies an element into a channel, waiting at most `timeout_ns` nanoseconds (MJ_FOREVER: without
/// limit) for room or, if its capacity is 0, for a receiver. Returns 0 when it is sent, and else it
/// is not: -EPIPE when the channel is closed, also while waiting; -ETIMEDOUT; -EINTR when the task
/// was woken or enqueued before; -ECANCELED when the task is canceled and would have to wait, or has
/// spent its budget; -ENOMEM; -EINVAL for NULL; -EPERM outside a task, and for a channel of another
/// scheduler. May suspend, also if there is room: after 64 calls of a turn that need not wait, or when
/// the loop is due (each 50 us), a task has spent its budget, and lets the others have their turn first,
/// unless it has locked a mutex.
///
/// `chan` is NULL or alive; `element` is NULL or good to read for the size of an element.
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

/// Copies the oldest element out of a channel, waiting at most `timeout_ns` nanoseconds
/// (MJ_FOREVER: without limit) for one. Returns 0 when it is received; -EPIPE when the channel is
/// closed and empty, also while waiting; the others as mj_chan_send(). May suspend, as mj_chan_send().
///
/// `chan` is NULL or alive; `element` is NULL or good to write for the size of an element.
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

/// mj_chan_send() without waiting. Works outside a task too, as in main() or a wait function.
/// Returns 0 when it is sent; -EAGAIN when there is no room, or for a capacity of 0 no receiver;
/// -EPIPE when the channel is closed; -EINVAL for NULL; -EPERM when the channel's scheduler is
/// running on another thread, or another one on this thread. Does not suspend.
///
/// As mj_chan_send().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_try_send(chan: *mut mj_chan, element: *const c_void) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { try_transfer(chan, Operation::Send, element.cast_mut()) }
}

/// mj_chan_recv() without waiting. Returns 0 when one is received; -EAGAIN when there is no
/// element; -EPIPE when the channel is closed and empty; -EINVAL and -EPERM as mj_chan_try_send().
/// Does not suspend.
///
/// As mj_chan_recv().
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

/// Closes a channel: from now on nothing can be sent, and once it is empty nothing received, which
/// these calls say with -EPIPE. Ends the waits for it in the same way. Returns 0; -EPIPE when it is
/// closed already; -EINVAL for NULL; -EPERM as mj_chan_try_send(). Outside a task as well. Does not
/// suspend.
///
/// The pointer is NULL or a live channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_close(chan: *mut mj_chan) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(chan) }.and_then(Channel::close))
}

/// Returns how many elements are in a channel, those of waiting senders not counted; 0 for NULL.
/// Does not suspend.
///
/// The pointer is NULL or a live channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_chan_length(chan: *const mj_chan) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(chan) }.map_or(0, Channel::len)
}

/// Waits until one of several sends and receives can be done, at most `timeout_ns` nanoseconds
/// (MJ_FOREVER: without limit), and does that one only. When several can be done, each has the same
/// chance. A channel may be in several cases. Returns the index of the one that is done, whose
/// `result` is then 0, or -EPIPE when its channel is closed; or, when none is done, -ETIMEDOUT,
/// -EINTR, -ECANCELED, -ENOMEM, -EINVAL and -EPERM as mj_chan_send(), and -EINVAL also for an
/// operation that is none or not there yet, for `reserved` words that are not zero, and for more than
/// INT_MAX cases; -EBUSY when another task waits with the
/// same cases: each needs its own. Takes no memory, and time in proportion to `count`. May suspend, as
/// mj_chan_send().
///
/// `cases` is NULL, or `count` cases that stay as they are during the call, with channels that are
/// NULL or alive, and elements as for mj_chan_send() and mj_chan_recv().
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

/// mj_select() without waiting. Works outside a task too. Returns as mj_select(); -EAGAIN
/// when none can be done; -EPERM as mj_chan_try_send(). Does not suspend.
///
/// As mj_select().
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
    if these.iter().any(|case| case.reserved != [0; 4]) {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: as above; an mj_select_case is a Case.
    Ok(unsafe { std::slice::from_raw_parts(cases.cast(), count) })
}

fn index(result: Result<usize>) -> c_int {
    result.map_or_else(Error::status, |index| index as c_int)
}

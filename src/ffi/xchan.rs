//! Channels between threads.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};

use super::types::mj_xchan;
use super::{reported, status};
use crate::engine::scheduler::Limit;
use crate::engine::sync::{Handle, RemoteChannel};
use crate::engine::sys::{self, Error, Result};
use crate::engine::threads::End;

/// Makes a channel between threads: a queue with room for `capacity` elements of `element_bytes` each,
/// which are copied in and out and need no alignment. Any thread may send and receive, in tasks of any
/// scheduler or where no scheduler runs; those who wait suspend the task there, and block the thread
/// here. No element is lost or doubled, and those of one sender arrive in their order. A task that
/// waits there keeps its run going, even if nothing else could wake it. Callable from any thread. Does
/// not suspend.
///
/// In a child of fork() nothing hangs that does not wait; but what other threads were doing in the channel
/// stays undone, so make a new one there.
///
/// Returns the channel with one reference, to be dropped with mj_xchan_release(), or NULL. Errors, in
/// errno:
///   EINVAL  `element_bytes` or `capacity` is 0
///   ENOMEM  out of memory
#[unsafe(no_mangle)]
pub extern "C" fn mj_xchan_create(element_bytes: usize, capacity: usize) -> *mut mj_xchan {
    let made = match element_bytes {
        0 => Err(Error::InvalidArgument),
        _ => Handle::new(element_bytes, capacity),
    };
    match made {
        Ok(handle) => handle.into_raw().cast(),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// Adds a reference to a channel, for another thread. Callable from any thread. Does not suspend.
///
/// Returns the same channel, to be released once more, or NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_retain(xchan: *mut mj_xchan) -> *mut mj_xchan {
    // SAFETY: as this function's contract says.
    if let Ok(channel) = unsafe { channel_ref(xchan) } {
        channel.retain();
    }
    xchan
}

/// Drops a reference to a channel; NULL is ignored. Each call needs one until it has returned; the last
/// one to be dropped releases the channel, and elements that are left. It does not close it. Callable
/// from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_release(xchan: *mut mj_xchan) {
    // SAFETY: as this function's contract says.
    drop(NonNull::new(xchan.cast()).map(|channel| unsafe { Handle::from_raw(channel) }));
}

/// Copies an element into a channel, waiting for at most `timeout_ns` for room. In a task it may suspend,
/// as mj_chan_send(); on a thread that runs no scheduler it may block. Callable from any thread, not
/// from a signal handler.
///
/// Returns 0 when the element is sent. Errors (it is not sent then):
///   -EPIPE      the channel is closed, or was closed meanwhile
///   -ETIMEDOUT  there was no room in time
///   -ECANCELED  the task is canceled and would have to wait
///   -EINVAL     `xchan` or `element` is NULL
///   -EPERM      outside a task on a thread that runs a scheduler, as in a wait function
///   -EINTR      mj_task_wake() or mj_scheduler_enqueue() ended the wait
///   -ENOMEM     no memory for the timer, or for the first wait of a scheduler there
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_send(
    xchan: *mut mj_xchan,
    element: *const c_void,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { transfer("mj_xchan_send", xchan, End::Send, element.cast_mut(), timeout_ns) }
}

/// Copies the oldest element out of a channel, waiting for at most `timeout_ns` for one. May suspend or
/// block, as mj_xchan_send(). Callable from any thread, not from a signal handler.
///
/// Returns 0 when an element is received. Errors:
///   -EPIPE      the channel is closed and empty, or became so meanwhile
///   -ETIMEDOUT  no element came in time
///   -EINTR, -ECANCELED, -ENOMEM, -EINVAL, -EPERM  as mj_xchan_send()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_recv(
    xchan: *mut mj_xchan,
    element: *mut c_void,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { transfer("mj_xchan_recv", xchan, End::Receive, element, timeout_ns) }
}

/// mj_xchan_send() without waiting. Callable from any thread, not from a signal handler. Does not
/// suspend.
///
/// Returns 0 when the element is sent. Errors:
///   -EAGAIN  there is no room, or a thread is in the middle of making some
///   -EPIPE   the channel is closed
///   -EINVAL  as mj_xchan_send()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_try_send(xchan: *mut mj_xchan, element: *const c_void) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { try_transfer(xchan, End::Send, element.cast_mut()) }
}

/// mj_xchan_recv() without waiting. Callable from any thread, not from a signal handler. Does not
/// suspend.
///
/// Returns 0 when an element is received. Errors:
///   -EAGAIN  there is no element, or a thread is in the middle of sending the oldest
///   -EPIPE   the channel is closed and empty
///   -EINVAL  as mj_xchan_send()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_try_recv(xchan: *mut mj_xchan, element: *mut c_void) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { try_transfer(xchan, End::Receive, element) }
}

/// Closes a channel: from now on nothing can be sent, and once it is empty nothing received. These calls
/// give -EPIPE then, also those that wait already. An element whose send has succeeded is still
/// received. Callable from any thread, not from a signal handler. Does not suspend.
///
/// Returns 0. Errors:
///   -EPIPE   it is closed already
///   -EINVAL  `xchan` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_close(xchan: *mut mj_xchan) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { channel_ref(xchan) }.and_then(RemoteChannel::close))
}

/// Returns how many elements are in a channel, or were a moment ago; 0 for NULL. Callable from any thread.
/// Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_xchan_length(xchan: *const mj_xchan) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { channel_ref(xchan) }.map_or(0, RemoteChannel::len)
}

/// # Safety
/// As [`mj_xchan_send`] or [`mj_xchan_recv`].
#[track_caller]
unsafe fn transfer(
    call: &str,
    xchan: *mut mj_xchan,
    end: End,
    element: *mut c_void,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let done = unsafe { channel_with(xchan, element) }
        .and_then(|channel| unsafe { channel.transfer(end, element, Limit::after_ns(timeout_ns)) });
    status(reported(call, done))
}

/// # Safety
/// As [`transfer`].
unsafe fn try_transfer(xchan: *mut mj_xchan, end: End, element: *mut c_void) -> c_int {
    // SAFETY: as this function's contract says.
    let done = unsafe { channel_with(xchan, element) }
        .and_then(|channel| unsafe { channel.try_transfer(end, element) });
    status(done)
}

/// The channel at an address, if it is not NULL.
///
/// # Safety
/// NULL, or a channel to which the caller has a reference.
unsafe fn channel_ref<'c>(xchan: *const mj_xchan) -> Result<&'c RemoteChannel> {
    // SAFETY: as this function's contract says.
    unsafe { xchan.cast::<RemoteChannel>().as_ref() }.ok_or(Error::InvalidArgument)
}

/// [`channel_ref`], if the element is as it has to be.
///
/// # Safety
/// As there.
unsafe fn channel_with<'c>(
    xchan: *mut mj_xchan,
    element: *const c_void,
) -> Result<&'c RemoteChannel> {
    // SAFETY: as this function's contract says.
    let channel = unsafe { channel_ref(xchan) }?;
    channel.check(element)?;
    Ok(channel)
}

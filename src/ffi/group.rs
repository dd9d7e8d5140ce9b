//! Groups of tasks.

use std::ffi::{c_int, c_void};

use super::task::WORDS;
use super::types::{mj_group, mj_group_fn, mj_scheduler};
use super::{Opaque, create_object, destroy_object, object_ref, reported, status};
use crate::engine::scheduler::Limit;
use crate::engine::sync::{Function, Group};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

impl Opaque for mj_group {
    type Object = Group;
}

/// Makes a group for the tasks of one scheduler: tasks that belong together, its members, of which
/// at most `limit` live at a time, or any number for 0. It may outlive the scheduler. Does not
/// suspend.
///
/// Returns the group, to be released with mj_group_destroy(), or NULL with errno as
/// mj_chan_create().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_create(
    scheduler: *mut mj_scheduler,
    limit: usize,
) -> *mut mj_group {
    // SAFETY: as this function's contract says.
    unsafe { create_object(scheduler, "mj_group_create", |home| Ok(Group::new(home, limit))) }
}

/// Releases a group that has no members: mj_group_wait() or mj_group_end() comes before. When its
/// scheduler has been destroyed, its members have been too. Does not suspend.
///
/// Returns 0. Errors (it stays as it is then):
///   -EBUSY           it has members, or a task waits for it
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_destroy(group: *mut mj_group) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { destroy_object(group) }
}

/// Sets whether the first failure of a member cancels the group, as mj_group_cancel() does; at first
/// it does not. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `group` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_set_fail_fast(group: *mut mj_group, fail_fast: bool) -> c_int {
    // SAFETY: as this function's contract says.
    let group = unsafe { object_ref(group) };
    status(group.map(|group: &Group| group.set_fails_fast(fail_fast)))
}

/// Adds a task to a group, which calls `function` with `argument`, and ends when that returns. If
/// the group has `limit` members, waits in FIFO order for at most `timeout_ns` until one ends.
/// `argument` stays the caller's. What `function` returns is 0, or a failure: the first one is kept
/// for mj_group_error(). The member inherits the caller's deadline. Members may add members; but if all
/// of a full group wait for room, none gets it. May suspend, also if there is room, as mj_chan_send().
///
/// Returns 0. Errors (`function` is not called then):
///   -ETIMEDOUT  there was no room in time
///   -EPIPE      the group has been canceled or ended, or is meanwhile
///   -ENOMEM     out of memory
///   -EINVAL     `group` or `function` is NULL
///   -EINTR, -ECANCELED, -EPERM  as mj_mutex_lock()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_go(
    group: *mut mj_group,
    function: mj_group_fn,
    argument: *mut c_void,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let call = unsafe { object_ref(group) }.and_then(|group| Ok((group, required(function)?)));
    status(reported(
        "mj_group_go",
        call.and_then(|(group, function): (&Group, Function)| {
            group.go((function, argument), Limit::after_ns(timeout_ns), &WORDS)
        }),
    ))
}

/// mj_group_go() without waiting. Works outside a task too, as before the run. Does not suspend.
///
/// Returns 0. Errors (`function` is not called then):
///   -EAGAIN  there is no room, or other tasks wait for some
///   -EPIPE, -ENOMEM  as mj_group_go()
///   -EINVAL  `group` or `function` is NULL, or the group's scheduler has been destroyed
///   -EPERM   as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_try_go(
    group: *mut mj_group,
    function: mj_group_fn,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: as this function's contract says.
    let call = unsafe { object_ref(group) }.and_then(|group| Ok((group, required(function)?)));
    status(call.and_then(|(group, function): (&Group, Function)| {
        group.try_go((function, argument), &WORDS)
    }))
}

/// Waits until a group has no members, for at most `timeout_ns`. Any number of tasks may wait, and
/// after it more members may be added. May suspend, as mj_chan_send().
///
/// Returns 0 when all have ended: mj_group_error() says whether one has failed. Errors:
///   -ETIMEDOUT  they have not ended in time, and go on
///   -EDEADLK    the caller is a member
///   -EINVAL     `group` is NULL
///   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_mutex_lock()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_wait(group: *mut mj_group, timeout_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let group = unsafe { object_ref(group) };
    let limit = Limit::after_ns(timeout_ns);
    status(reported("mj_group_wait", group.and_then(|group: &Group| group.wait(limit))))
}

/// Cancels all members, as mj_task_cancel() does, the caller too if it is one, and refuses others
/// for good: mj_group_go() returns -EPIPE, also where it waits for room. Members that have not begun
/// are called all the same, so that they can release what they were given. Works outside a task too.
/// Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL, -EPERM  as mj_chan_destroy()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_cancel(group: *mut mj_group) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { object_ref(group) }.and_then(Group::cancel))
}

/// Ends a group: refuses further members, as mj_group_cancel() does, waits for at most `grace_ns`
/// until the members have ended, then cancels those that are left, and waits for them as long as it
/// takes. Nothing cuts this short: no cancellation or deadline of the caller, no wake-up, no missing
/// memory, also if it is canceled already or has called mj_task_exit(). Without members it works
/// outside a task too. May suspend.
///
/// Returns 0: no task of the group exists any more. Errors:
///   -EDEADLK  the caller is a member
///   -EINVAL   `group` is NULL
///   -EPERM    outside a task while there are members, or the group is another scheduler's
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_end(group: *mut mj_group, grace_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let group = unsafe { object_ref(group) };
    let grace = Deadline::after_ns(grace_ns);
    status(reported("mj_group_end", group.and_then(|group: &Group| group.end(grace))))
}

/// Returns the first result of a member that was not 0; 0 if there is none yet, or for NULL. Does
/// not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_error(group: *const mj_group) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(group) }.map_or(0, Group::failure)
}

/// Returns how many members a group has, and tasks that are about to add one; 0 for NULL. Does not
/// suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_group_count(group: *const mj_group) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { object_ref(group) }.map_or(0, Group::count)
}

fn required(function: mj_group_fn) -> Result<Function> {
    function.ok_or(Error::InvalidArgument)
}

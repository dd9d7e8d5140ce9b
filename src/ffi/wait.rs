//! The hooks for a wait function: what it is set with, and what it may call.

use std::ffi::{c_int, c_void};
use std::mem::transmute;
use std::ptr::null_mut;

use super::types::{mj_clock_fn, mj_scheduler, mj_task, mj_wait_fn};
use super::{own_scheduler_ref, report_stranger, scheduler_ref, status};
use crate::engine::scheduler::{self, Builtin, Scheduler, WaitFunction};
use crate::engine::sys::Error;

/// Sets the function that waits when no task is ready; NULL restores the built-in one. `user_data`
/// is passed to each call and stays the caller's. A scheduler that is NULL or running on another
/// thread is reported in the log. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_set_wait_func(
    scheduler: *mut mj_scheduler,
    function: mj_wait_fn,
    user_data: *mut c_void,
) {
    // SAFETY: as this function's contract says.
    if let Ok(scheduler) = unsafe { own_scheduler_ref(scheduler, "mj_scheduler_set_wait_func") } {
        set_wait_function(scheduler, function, user_data);
    }
}

/// The built-in wait function: waits by epoll(7) for the descriptors that tasks wait for, to the
/// nanosecond where the kernel can. `user_data` is not used. Other wait functions may call it. Does
/// not suspend.
///
/// Returns the number of events, or -1 after an ERROR line (one for a series of failures).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_wait_epoll(
    scheduler: *mut mj_scheduler,
    timeout_ns: u64,
    user_data: *mut c_void,
) -> c_int {
    let _ = user_data;
    // SAFETY: as this function's contract says.
    unsafe { call_wait(Builtin::Epoll, "mj_wait_epoll", scheduler, timeout_ns) }
}

/// mj_wait_epoll() by poll(2) on mj_scheduler_backend_fd(): the model for wait functions that watch
/// other things as well. Does not suspend.
///
/// Returns the number of events, or -1, as mj_wait_epoll().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_wait_poll(
    scheduler: *mut mj_scheduler,
    timeout_ns: u64,
    user_data: *mut c_void,
) -> c_int {
    let _ = user_data;
    // SAFETY: as this function's contract says.
    unsafe { call_wait(Builtin::Poll, "mj_wait_poll", scheduler, timeout_ns) }
}

/// Only sleeps, until the limit or mj_scheduler_stop(): for programs with timers only. Descriptors
/// that tasks wait for are looked at when a sleep is over, and wake nobody before. `user_data` is
/// not used. Does not suspend.
///
/// Returns 0, or -1 after an ERROR line.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_wait_nanosleep(
    scheduler: *mut mj_scheduler,
    timeout_ns: u64,
    user_data: *mut c_void,
) -> c_int {
    let _ = user_data;
    // SAFETY: as this function's contract says.
    unsafe { call_wait(Builtin::Sleep, "mj_wait_nanosleep", scheduler, timeout_ns) }
}

/// Calls a built-in wait function, unless the scheduler is NULL.
///
/// # Safety
/// `scheduler` is NULL or alive.
unsafe fn call_wait(
    function: Builtin,
    call: &str,
    scheduler: *mut mj_scheduler,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, call) } {
        Ok(scheduler) => scheduler.wait_by(function, timeout_ns, true),
        Err(_) => -1,
    }
}

/// Sets the clock that sleeps and time limits follow, NULL for CLOCK_MONOTONIC. `user_data` is
/// passed to each call and stays the caller's. With a wait function that advances the clock by the
/// time it is asked to wait, a program runs in simulated time. Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL
///   -EBUSY   the scheduler is running, or has tasks with a timer
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_set_clock(
    scheduler: *mut mj_scheduler,
    clock: mj_clock_fn,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { scheduler_ref(scheduler, "mj_scheduler_set_clock") } {
        Some(scheduler) => status(scheduler.set_clock(clock, user_data)),
        None => Error::InvalidArgument.status(),
    }
}

/// Returns the time by the scheduler's clock: for a limit of several waits, take the time and add
/// to it once, and pass what is left to each; 0 for NULL, and with an ERROR line when the scheduler
/// is running on another thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_now_ns(scheduler: *mut mj_scheduler) -> u64 {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_now_ns") } {
        Ok(scheduler) => scheduler.time.clock.now_ns(),
        Err(_) => 0,
    }
}

/// Returns a descriptor that is readable while the scheduler has something to do that a wait
/// function cannot see: a descriptor that a task waits for is ready, or the run was stopped. Wait
/// functions include it in what they wait for. It belongs to the scheduler: do not read, change or
/// close it. Does not suspend. Errors:
///   -EINVAL  `scheduler` is NULL
///   -EPERM   the scheduler is running on another thread
///   and, in a child of fork(), as eventfd(2) and epoll_create1(2)
/// A child asks for it again: what the parent was told is the parent's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_backend_fd(scheduler: *mut mj_scheduler) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_backend_fd") } {
        Ok(scheduler) => scheduler.backend_fd().unwrap_or_else(Error::status),
        Err(error) => error.status(),
    }
}

/// Sets the stack size of tasks that have not run yet and that have no size of their own: 256 KiB
/// unless set. Rounded up by at most a quarter, to one of the sizes that stacks come in: there are
/// four between a power of two and the next one. A function whose variables are larger than the guard
/// below a stack can step over it: see mj_scheduler_set_guard_size(). Does not suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL, or the size is below 16 KiB or over 1 GiB
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_set_stack_size(
    scheduler: *mut mj_scheduler,
    stack_bytes: usize,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_set_stack_size") } {
        Ok(scheduler) => status(scheduler.tasks.set_stack_size(stack_bytes)),
        Err(error) => error.status(),
    }
}

/// Returns the scheduler that is running on the calling thread, or NULL. Callable from any thread. Does not
/// suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_scheduler_current() -> *mut mj_scheduler {
    match scheduler::current() {
        Some(scheduler) => std::ptr::from_ref(scheduler).cast_mut().cast(),
        None => null_mut(),
    }
}

/// Makes a task ready: puts it at the end of the run queue, and ends its sleep or wait early (its
/// timer counts as canceled). On the running task it makes the next suspending call return after
/// one turn of the others. A task that is in the queue already stays where it is. One that
/// mj_scheduler_dequeue() has taken out goes on with what ended its wait. A wait that no wake ends, see
/// mj_task_wake(), goes on. Does not suspend. `task` may be any address.
///
/// Returns 0. Errors:
///   -EINVAL  `scheduler` is NULL, or `task` is not a living task of it (also a WARN line)
///   -EPERM   the scheduler is running on another thread, from which mj_remote_wake() and mj_post() reach
///            it (also an ERROR line)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_enqueue(
    scheduler: *mut mj_scheduler,
    task: *mut mj_task,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_enqueue") } {
        Ok(scheduler) => {
            let enqueued = scheduler.enqueue(task.cast());
            if enqueued.is_err() {
                report_stranger("mj_scheduler_enqueue", task);
            }
            status(enqueued)
        }
        Err(error) => error.status(),
    }
}

/// Takes the first task out of the run queue. It does not run until it is enqueued again. Does not
/// suspend.
///
/// Returns the task, or NULL when the queue is empty, and with an ERROR line when the scheduler is
/// running on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_scheduler_dequeue(scheduler: *mut mj_scheduler) -> *mut mj_task {
    // SAFETY: as this function's contract says.
    match unsafe { own_scheduler_ref(scheduler, "mj_scheduler_dequeue") } {
        Ok(scheduler) => scheduler.dequeue().cast_mut().cast(),
        Err(_) => null_mut(),
    }
}

/// Sets a wait function, which is one of the built-in ones or the program's.
pub fn set_wait_function(scheduler: &Scheduler, function: mj_wait_fn, user_data: *mut c_void) {
    let known: [(mj_wait_fn, Builtin); 3] = [
        (Some(mj_wait_epoll), Builtin::Epoll),
        (Some(mj_wait_poll), Builtin::Poll),
        (Some(mj_wait_nanosleep), Builtin::Sleep),
    ];
    let same = |known: mj_wait_fn| {
        function.zip(known).is_some_and(|(function, known)| std::ptr::fn_addr_eq(function, known))
    };
    let builtin = known.into_iter().find(|(known, _)| same(*known)).map(|(_, builtin)| builtin);
    // SAFETY: the types differ in what the first parameter points to, which is the same address.
    let function = unsafe { transmute::<mj_wait_fn, Option<WaitFunction>>(function) };
    scheduler.set_wait_function(function, user_data, builtin);
}

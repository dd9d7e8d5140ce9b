//! The C ABI: the exported functions, a file for each part of the header. Each converts its
//! arguments, calls into the crate, and converts the result; nothing here decides anything. The
//! helpers below are the only places where a pointer from C becomes a reference.
//!
//! `mj_log` and `mj_vlog` are in [`crate::log`].

mod log;
mod metrics;
mod scheduler;
mod suspend;
mod task;
mod types;
mod version;
mod wait;

use std::ffi::{CStr, c_char};
use std::mem::transmute;

use types::{mj_scheduler, mj_task, mj_task_fn, mj_wait_fn};

use crate::error::Result;
use crate::scheduler::Scheduler;
use crate::task::{Body, Task};
use crate::wait::{WaitFunction, wait_epoll, wait_nanosleep, wait_poll};

/// The scheduler at an address; for NULL nothing, and a line that names the function.
///
/// # Safety
/// NULL, or a scheduler that stays alive during the call.
unsafe fn scheduler_ref<'s>(
    scheduler: *const mj_scheduler,
    function: &str,
) -> Option<&'s Scheduler> {
    // SAFETY: as this function's contract says; an mj_scheduler is the beginning of a Scheduler.
    let scheduler = unsafe { scheduler.cast::<Scheduler>().as_ref() };
    if scheduler.is_none() {
        crate::log::warn(format_args!("{function}: the scheduler is NULL"));
    }
    scheduler
}

/// The task at an address, if it is not NULL.
///
/// # Safety
/// NULL, or a task whose scheduler stays alive during the call.
unsafe fn task_ref<'t>(task: *const mj_task) -> Option<&'t Task> {
    // SAFETY: as this function's contract says; an mj_task is the beginning of a Task.
    unsafe { task.cast::<Task>().as_ref() }
}

/// The body of a task, if it is not NULL.
///
/// # Safety
/// NULL, or a function of the type `mj_task_fn`.
unsafe fn body_from(function: *mut mj_task_fn) -> Option<Body> {
    // SAFETY: function pointers and data pointers are alike on these platforms, and the null
    // pointer is `None`. The first parameter's types are the same address.
    unsafe { transmute::<*mut mj_task_fn, Option<Body>>(function) }
}

/// The string at an address, if it is not NULL.
///
/// # Safety
/// NULL, or a NUL-terminated string that stays as it is during the call.
unsafe fn text_ref<'s>(text: *const c_char) -> Option<&'s CStr> {
    // SAFETY: as this function's contract says.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// A `bool` from C memory, where any byte can be.
///
/// # Safety
/// The address is good to read.
unsafe fn bool_from(address: *const bool) -> bool {
    // SAFETY: as this function's contract says; a bool is a byte.
    unsafe { address.cast::<u8>().read() != 0 }
}

/// A wait function as the scheduler keeps it; the exported built-in ones as those that it knows.
fn wait_function_from(function: mj_wait_fn) -> Option<WaitFunction> {
    let builtin: [(mj_wait_fn, WaitFunction); 3] = [
        (Some(wait::mj_wait_epoll), wait_epoll),
        (Some(wait::mj_wait_poll), wait_poll),
        (Some(wait::mj_wait_nanosleep), wait_nanosleep),
    ];
    for (exported, inner) in builtin {
        if let (Some(function), Some(exported)) = (function, exported)
            && std::ptr::fn_addr_eq(function, exported)
        {
            return Some(inner);
        }
    }
    // SAFETY: the types differ in what the first parameter points to, which is the same address.
    unsafe { transmute::<mj_wait_fn, Option<WaitFunction>>(function) }
}

/// 0, or a negative errno value.
fn status(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.status(),
    }
}

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

use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute;

use types::{mj_scheduler, mj_task, mj_task_fn, mj_wait_fn};

use crate::error::Result;
use crate::scheduler::Scheduler;
use crate::task_object::{Body, Task};
use crate::wait::{Builtin, WaitFunction};

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

/// Sets a wait function, which is one of the built-in ones or the program's.
fn set_wait_function(scheduler: &Scheduler, function: mj_wait_fn, user_data: *mut c_void) {
    let known: [(mj_wait_fn, Builtin); 3] = [
        (Some(wait::mj_wait_epoll), Builtin::WatchesDescriptors),
        (Some(wait::mj_wait_poll), Builtin::WatchesDescriptors),
        (Some(wait::mj_wait_nanosleep), Builtin::OnlySleeps),
    ];
    let same = |known: mj_wait_fn| {
        function.zip(known).is_some_and(|(function, known)| std::ptr::fn_addr_eq(function, known))
    };
    let builtin = known.into_iter().find(|(known, _)| same(*known)).map(|(_, builtin)| builtin);
    // SAFETY: the types differ in what the first parameter points to, which is the same address.
    let function = unsafe { transmute::<mj_wait_fn, Option<WaitFunction>>(function) };
    scheduler.set_wait_function(function, user_data, builtin);
}

/// 0, or a negative errno value.
fn status(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.status(),
    }
}

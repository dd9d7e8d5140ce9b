//! The C ABI: the exported functions, a file for each part of the header. Each converts its
//! arguments, calls into the crate, and converts the result; nothing here decides anything. The
//! helpers below are the only places where a pointer from C becomes a reference.
//!
//! The contract of the unsafe ones is what the header says of pointers in its conventions, and what
//! the function's comment adds. The header's order and headings are in `ffi/majjen.h.in`.
//!
//! `mj_log` and `mj_vlog` are in [`crate::engine::log`].

mod cancel;
mod channel;
mod cluster;
mod cluster_types;
mod cluster_work;
mod daemon;
mod deadline;
mod defer;
mod fd;
mod files;
mod go;
mod group;
mod hook_calls;
mod log;
mod long_turns;
mod metrics;
mod names;
mod net;
mod offload;
mod post;
mod process;
mod process_types;
mod remote;
mod scheduler;
mod signal;
mod stack;
mod stream;
mod suspend;
mod sync;
mod task;
mod trace;
mod types;
mod values;
mod version;
mod wait;
mod xchan;

pub use hook_calls::HOOK_CALLS;

use std::ffi::{CStr, c_char};
use std::mem::transmute;

use types::{mj_scheduler, mj_task, mj_task_fn};

use crate::engine::scheduler::Scheduler;

use crate::engine::sync::{Home, Object};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Body, Task};

/// The scheduler at an address; for NULL nothing, and a line that names the function.
///
/// # Safety
/// NULL, or a scheduler that stays alive during the call.
#[track_caller]
unsafe fn scheduler_ref<'s>(
    scheduler: *const mj_scheduler,
    function: &str,
) -> Option<&'s Scheduler> {
    // SAFETY: as this function's contract says; an mj_scheduler is the beginning of a Scheduler.
    let scheduler = unsafe { scheduler.cast::<Scheduler>().as_ref() };
    if scheduler.is_none() {
        crate::engine::log::warn(format_args!("{function}: the scheduler is NULL"));
    }
    scheduler
}

/// [`scheduler_ref`] for a call that is for the thread that runs the scheduler, while one does. What
/// it would touch belongs to that thread, so elsewhere it is refused, with a line. Not certainly: the
/// other thread may begin a run meanwhile.
///
/// # Safety
/// As [`scheduler_ref`].
#[track_caller]
unsafe fn own_scheduler_ref<'s>(
    scheduler: *const mj_scheduler,
    function: &str,
) -> Result<&'s Scheduler> {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { scheduler_ref(scheduler, function) }.ok_or(Error::InvalidArgument)?;
    if scheduler.remote.runs_elsewhere() {
        crate::engine::log::error(format_args!("{function}: {}", Error::WrongThread));
        return Err(Error::WrongThread);
    }
    Ok(scheduler)
}

/// The task at an address, if it is not NULL.
///
/// # Safety
/// NULL, or a task whose scheduler stays alive during the call.
unsafe fn task_ref<'t>(task: *const mj_task) -> Option<&'t Task> {
    // SAFETY: as this function's contract says; an mj_task is the beginning of a Task.
    unsafe { task.cast::<Task>().as_ref() }
}

/// The object at an address, if it is not NULL.
///
/// # Safety
/// NULL, or the object that the function that makes a `C` has given the address of, not destroyed.
unsafe fn object_ref<'o, C: Opaque>(object: *const C) -> Result<&'o C::Object> {
    // SAFETY: as this function's contract says.
    unsafe { object.cast::<C::Object>().as_ref() }.ok_or(Error::InvalidArgument)
}

/// A type that C has only pointers to.
trait Opaque {
    /// What these point to.
    type Object;
}

/// Makes an object of a scheduler for C, by a function that is given its home; NULL with errno set
/// if that fails.
///
/// # Safety
/// As [`scheduler_ref`].
#[track_caller]
unsafe fn create_object<C: Opaque<Object: Object>>(
    scheduler: *const mj_scheduler,
    function: &str,
    make: impl FnOnce(Home) -> Result<C::Object>,
) -> *mut C {
    // SAFETY: as this function's contract says.
    let created = unsafe { own_scheduler_ref(scheduler, function) }
        .map(Home::of)
        .and_then(make)
        .and_then(Object::into_heap);
    match created {
        Ok(object) => object.cast(),
        Err(error) => {
            crate::engine::sys::set_errno(error.errno());
            std::ptr::null_mut()
        }
    }
}

/// Releases an object, unless it is in use.
///
/// # Safety
/// As [`object_ref`], and the object is not used again if this succeeds.
unsafe fn destroy_object<C: Opaque<Object: Object>>(object: *mut C) -> i32 {
    if object.is_null() {
        return Error::InvalidArgument.status();
    }
    // SAFETY: as this function's contract says; from `create_object`.
    status(unsafe { Object::destroy(object.cast::<C::Object>()) })
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

/// 0, or a negative errno value.
fn status(result: Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => error.status(),
    }
}

/// A result on its way to C. That the caller is no task is misuse, and a line in the log as well.
#[track_caller]
fn reported<T>(call: &str, result: Result<T>) -> Result<T> {
    if let Err(error @ Error::NotInTask) = result {
        crate::engine::log::warn(format_args!("{call}: {error}"));
    }
    result
}

/// A line about an address that is not that of a living task.
#[cold]
#[track_caller]
fn report_stranger(call: &str, task: *const mj_task) {
    crate::engine::log::warn(format_args!(
        "{call}: {task:p} is not a living task of this scheduler"
    ));
}

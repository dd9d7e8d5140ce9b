//! Tasks that are a function and its argument.

use std::ffi::{c_int, c_void};

use super::own_scheduler_ref;
use super::task::WORDS;
use super::types::{mj_go_fn, mj_scheduler, mj_task_id};
use crate::engine::log;
use crate::engine::scheduler;
use crate::engine::sys::Error;

/// A function that mj_go() is given.
type Function = unsafe extern "C-unwind" fn(*mut c_void);

/// What such a task is made of: its `user_state`, which the scheduler frees.
struct Going {
    function: Function,
    argument: *mut c_void,
}

/// Runs a function as a task of its own: the task ends when the function returns. It first runs when its
/// turn comes, never inside this call. `argument` is passed to it and stays the caller's, so it may be
/// anything that lives long enough; NULL too. `id`, unless NULL, is set to the task's id, by which
/// mj_task_join() and mj_scheduler_cancel() find it. Does not suspend.
///
/// Returns 0. Errors, with which `id` is left alone:
///   -EINVAL  `scheduler` or `function` is NULL (also a WARN line)
///   -ENOMEM  out of memory
///   -EPERM   the scheduler is running on another thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_go(
    scheduler: *mut mj_scheduler,
    function: mj_go_fn,
    argument: *mut c_void,
    id: *mut mj_task_id,
) -> c_int {
    // SAFETY: as this function's contract says.
    let scheduler = unsafe { own_scheduler_ref(scheduler, "mj_go") };
    let gone = scheduler.and_then(|scheduler| match function {
        Some(function) => scheduler.spawn_with(run, Going { function, argument }, &WORDS),
        None => {
            log::warn(format_args!("mj_go: the function is NULL"));
            Err(Error::InvalidArgument)
        }
    });
    match gone {
        Ok((task, _)) => {
            if !id.is_null() {
                // SAFETY: as this function's contract says.
                unsafe { id.write(task.id.get()) };
            }
            0
        }
        Err(error) => error.status(),
    }
}

/// The body of such a task. An exception of the function passes it, on its way to the body's caller.
///
/// # Safety
/// Called by the core, with a `Going`.
unsafe extern "C-unwind" fn run(_scheduler: *mut c_void, state: *mut c_void) {
    // SAFETY: as this function's contract says. It is not read again, so that the task may end in it.
    let Going { function, argument } = unsafe { state.cast::<Going>().read() };
    // SAFETY: the program's function and the argument that it was given with.
    unsafe { function(argument) };
    let _ = scheduler::exit(); // In the task, and it may have been called already.
}

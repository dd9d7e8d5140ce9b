//! A core whose thread ends before it should, by pthread_exit(3) in a function of the program. The others must not wait
//! for it: its cluster ends, with an error. What the C library calls at the end of a thread does what is left to do.

use std::ffi::c_void;
use std::ptr::{from_ref, null};

use super::object::{Core, Stage};
use crate::engine::log;
use crate::engine::scheduler::{Scheduler, leave_all_runs, running_task};
use crate::engine::sys::{self, Error};
use crate::engine::threads::{Lock, Remote};

/// The key of [`on_thread_end`]. None before the first cluster; and if the process has none left: then who joins a
/// cluster waits for ever for a thread that has ended so.
static KEY: Lock<Option<u32>> = Lock::in_static(None);

/// Before a thread of a cluster is made, and after [`sys::keep_loaded`].
pub fn prepare() {
    let mut key = KEY.lock();
    if key.is_none() {
        *key = sys::thread_end_key(on_thread_end);
    }
}

/// From now on the thread of a core, which calls this, is to come to its end by itself.
pub fn watch(core: &Core) {
    ask(from_ref(core).cast());
}

/// It comes to it.
pub fn watch_no_more() {
    ask(null());
}

fn ask(core: *const c_void) {
    let key = *KEY.lock();
    if let Some(key) = key {
        sys::call_at_end(key, core);
    }
}

/// The thread ends.
///
/// # Safety
/// Called on the thread of a core, which is there until its cluster has joined this thread.
unsafe extern "C" fn on_thread_end(core: *mut c_void) {
    // SAFETY: as this function's contract says.
    let core = unsafe { &*core.cast::<Core>() };
    let cluster = core.cluster();
    if !cluster.is_of_this_process() {
        return; // A child of fork(), which has no others.
    }
    watch(core); // What is called here may end the thread once more.
    let stage = core.stage.get();
    // SAFETY: made before the thread was watched, and there until its destruction begins, which is the last stage.
    let scheduler = unsafe { core.scheduler.get().as_ref() }.filter(|_| stage != Stage::Ends);
    let place = place(stage, scheduler);
    leave_all_runs();
    if let Some(scheduler) = scheduler {
        scheduler.leave_lost_run();
    }
    log::error(format_args!(
        "the thread of core {} has ended {place}, by pthread_exit(): its cluster ends, with an \
         error",
        core.index
    ));
    cluster.fail(Error::NoSuchTask); // ESRCH.
    if stage == Stage::Runs {
        core.end_run(true);
    }
    core.stage.set(Stage::Ends);
    match scheduler {
        Some(scheduler) => scheduler.close_lost(),
        None => _ = core.remote().map(Remote::close), // If its destruction has not come so far.
    }
    core.guard.take();
    watch_no_more();
    core.end_thread();
}

/// Where the thread has ended.
fn place(stage: Stage, scheduler: Option<&Scheduler>) -> &'static str {
    match stage {
        _ if running_task().is_some() => "in a task",
        // The C library may have left the run already, which it unwinds if it is not in a task.
        Stage::Runs if scheduler.is_some_and(Scheduler::has_run) => "in its run",
        Stage::Runs => "in its set-up",
        Stage::TearsDown => "in its tear-down",
        Stage::Ends => "when its tasks were given up",
    }
}

//! The thread of a core: `cluster.rs` has what it does, and who lets it go on.

use std::ffi::{CStr, c_void};
use std::fmt::Write;
use std::ptr::{from_ref, null_mut};

use super::lost;
use super::object::{Cluster, Core, Stage};
use crate::engine::process::signals::Guard;
use crate::engine::scheduler::Scheduler;
use crate::engine::sys::{self, Result, TruncatingWriter, until_nul};
use crate::engine::task::Name;

/// # Safety
/// Started by the cluster, with one of its cores, which are there until it has joined this thread.
pub unsafe extern "C-unwind" fn main(core: *mut c_void) -> *mut c_void {
    // SAFETY: as this function's contract says.
    let core = unsafe { &*core.cast::<Core>() };
    let cluster = core.cluster();
    core.is_on_this_thread_now();
    let made = make(core);
    if let Err(error) = made {
        cluster.fail(error);
    }
    let is_made = made.is_ok();
    cluster.report();
    if is_made {
        lost::watch(core);
        if cluster.pass_gate() {
            run(core);
        }
        core.stage.set(Stage::Ends);
        // SAFETY: on its thread, and last.
        unsafe { (cluster.kind.destroy)(core) };
        lost::watch_no_more();
    }
    if cluster.is_of_this_process() {
        core.end_thread();
    }
    null_mut()
}

/// Makes the scheduler.
fn make(core: &Core) -> Result<()> {
    let cluster = core.cluster();
    let name = name_of(cluster, core);
    if let Ok(name) = CStr::from_bytes_until_nul(&name) {
        sys::name_thread(name);
    }
    if cluster.pins {
        sys::pin_thread(core.index)?;
    }
    // SAFETY: on the core's thread, and first.
    let scheduler: &Scheduler = unsafe { &*(cluster.kind.create)(core)? };
    scheduler.set_name(until_nul(&name));
    scheduler.hold(from_ref(core).cast());
    core.scheduler.set(scheduler);
    core.set_remote(scheduler.remote.clone());
    Ok(())
}

/// The name of a core: that of the cluster, and a number, so short that a thread can have it.
fn name_of(cluster: &Cluster, core: &Core) -> Name {
    let mut number = [0; 8];
    let mut digits = TruncatingWriter::new(&mut number);
    let _ = write!(digits, "-{}", core.index); // It fits.
    let digits = until_nul(&number).len();
    let mut stem = until_nul(&cluster.name);
    stem = &stem[..stem.len().min(sys::THREAD_NAME_BYTES - 1 - digits)];
    let mut name = Name::default();
    name[..stem.len()].copy_from_slice(stem);
    name[stem.len()..stem.len() + digits].copy_from_slice(&number[..digits]);
    name
}

/// Runs the scheduler, and waits until the others run no more.
fn run(core: &Core) {
    let cluster = core.cluster();
    // A write to a connection that has gone is an error, and does not end the process: handlers that were written for
    // one scheduler of an application rely on that.
    let guarded = core.remote().and_then(Guard::of_pipes).map(|guard| core.guard.set(Some(guard)));
    // SAFETY: on the core's thread, after `create`.
    if let Err(error) = guarded.and_then(|()| unsafe { (cluster.kind.run)(core) }) {
        cluster.fail(error);
    }
    core.end_run(false);
    // Else it was not set up.
    if guarded.is_ok() {
        // SAFETY: as above.
        unsafe { (cluster.kind.tear_down)(core) };
    }
    core.guard.take();
}

//! How the cores of Rust's clusters are made and run. A core's own is a box with the [`Scheduler`], which never
//! leaves the core's thread: it is made, runs and is dropped there, and so are its tasks.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{from_ref, null_mut};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use super::handle::{Core, Data, Failure};
use super::pending_calls::{PendingCall, PendingCalls};
use crate::engine::cluster as engine;
use crate::engine::log;
use crate::engine::scheduler;
use crate::engine::sys::{Error, Result, until_nul};
use crate::safe::builder::Builder;
use crate::safe::panics::{Panic, drop_quietly};
use crate::safe::remote::Target;
use crate::safe::scheduler::Scheduler;

/// A cluster of this kind has a [`Data`], from `Arc::into_raw`, and its cores an [`Own`].
pub static KIND: engine::Kind =
    engine::Kind { create, run, finish, leave_lost, tear_down, destroy, release };

/// What a core has on its thread.
struct Own {
    scheduler: Scheduler,
    /// From the beginning of its run on. It keeps what the handles share, which the functions of the program are
    /// given.
    core: OnceCell<Core>,
    pending_calls: Rc<PendingCalls>,
}

/// The scheduler of a core.
///
/// # Safety
/// On the thread of a core of this kind, from `create` to `destroy`, and not longer.
pub unsafe fn scheduler_of(core: &engine::Core) -> &Scheduler {
    // SAFETY: as this function's contract says.
    unsafe { &own(core).scheduler }
}

/// # Safety
/// As [`scheduler_of`].
unsafe fn own(core: &engine::Core) -> &Own {
    // SAFETY: set by `create`, and there until `destroy`.
    unsafe { &*core.own.get().cast::<Own>() }
}

/// # Safety
/// Of a cluster of this kind.
unsafe fn data(core: &engine::Core) -> &Data {
    // SAFETY: set with the kind, and there until `release`.
    unsafe { &*core.cluster().data.cast::<Data>() }
}

/// Calls a function of the program. What goes wrong in it is in the log, and comes first in what the cluster's end
/// returns.
fn call<T>(
    core: &engine::Core,
    data: &Data,
    what: &str,
    function: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (error, failure) = match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => {
            log::error(format_args!("{what} of core {} has failed: {error}", core.index));
            (error, Failure::Failed(error))
        }
        Err(payload) => {
            let panic = Panic::new(payload);
            log::error(format_args!(
                "{what} of core {} has panicked: {}",
                core.index,
                panic.message()
            ));
            (Error::Panicked, Failure::Panicked(Some(panic)))
        }
    };
    if let Err(later) = data.fail(failure) {
        drop_quietly(later);
    }
    Err(error)
}

/// # Safety
/// As [`engine::Kind::create`].
unsafe fn create(core: &engine::Core) -> Result<*const scheduler::Scheduler> {
    // SAFETY: as this function's contract says.
    let data = unsafe { data(core) };
    let make = || match &data.configure {
        Some(configure) => configure(core.index).build(),
        None => Builder::new().build(),
    };
    let scheduler = call(core, data, "the scheduler", make)?;
    let targets = data
        .targets
        .get_or_init(|| core.cluster().cores().iter().map(|_| OnceLock::new()).collect());
    let _ = targets[core.index].set(Target::new(scheduler.core(), scheduler.shared())); // Once.
    let address = from_ref(scheduler.core());
    let own = Own { scheduler, core: OnceCell::new(), pending_calls: Rc::default() };
    core.own.set(Box::into_raw(Box::new(own)).cast());
    Ok(address)
}

/// # Safety
/// As [`engine::Kind::run`].
unsafe fn run(core: &engine::Core) -> Result<()> {
    // SAFETY: as this function's contract says.
    let (Own { scheduler, core: place, .. }, data) = unsafe { (own(core), data(core)) };
    // There is one: it was kept, or a handle is in `Cluster::run`.
    let handle = data.begin(core.index).ok_or(Error::Disconnected)?;
    let handle = place.get_or_init(|| handle);
    let _ = scheduler.shared().core_of.set(handle.to_home()); // Once.
    scheduler.set_name(&String::from_utf8_lossy(until_nul(&core.remote()?.name())));
    if let Some(set_up) = &data.set_up {
        call(core, data, "the set-up", || set_up(scheduler, handle))?;
    }
    scheduler.run().map(drop)
}

/// What closures have borrowed is their tasks' own, which are unwound when the scheduler is dropped.
///
/// # Safety
/// As [`engine::Kind::finish`].
unsafe fn finish(_: &engine::Core) {}

/// # Safety
/// As [`engine::Kind::leave_lost`].
unsafe fn leave_lost(core: &engine::Core, _: &scheduler::Scheduler) {
    // SAFETY: as this function's contract says.
    let calls = &unsafe { own(core) }.pending_calls;
    calls.give_up(|other| core.cluster().cores()[other].is_over());
}

/// A task of one core of the cluster waits for another one, until what is returned is dropped: `give_up` is called when
/// that is over. To be called before it has suspended since it gave that core what it waits for, so that this core's
/// loop hears of an end later. None if no core of the cluster runs here.
pub fn expect_answer(
    cluster: &engine::Cluster,
    other: usize,
    give_up: impl Fn() + 'static,
) -> Option<PendingCall> {
    let own = cluster.here()?.own.get().cast::<Own>();
    // SAFETY: of this thread's core; not set any more when `destroy` unwinds its tasks.
    Some(unsafe { own.as_ref() }?.pending_calls.add(other, Box::new(give_up)))
}

/// # Safety
/// As [`engine::Kind::tear_down`].
unsafe fn tear_down(core: &engine::Core) {
    // SAFETY: as this function's contract says.
    let (Own { scheduler, core: handle, .. }, data) = unsafe { (own(core), data(core)) };
    if let (Some(tear_down), Some(handle)) = (&data.tear_down, handle.get()) {
        let _ = call(core, data, "the tear-down", || {
            tear_down(scheduler, handle);
            Ok(())
        });
    }
}

/// # Safety
/// As [`engine::Kind::destroy`].
unsafe fn destroy(core: &engine::Core) {
    let own = core.own.replace(null_mut()).cast::<Own>();
    // SAFETY: from `create`, and nothing refers to it any more. The scheduler is dropped before the handle.
    drop_quietly(unsafe { Box::from_raw(own) });
}

/// # Safety
/// As [`engine::Kind::release`].
unsafe fn release(data: *mut c_void) {
    // SAFETY: from `Arc::into_raw`, and not used again.
    drop_quietly(unsafe { Arc::from_raw(data.cast::<Data>().cast_const()) });
}

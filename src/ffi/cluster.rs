//! Clusters: making, running and ending them, and looking into them.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::Relaxed;

use super::cluster_types::{
    ALL_CORES, mj_cluster, mj_cluster_options, mj_core_set_up_fn, mj_core_tear_down_fn,
};
use super::hook_calls::HOOK_CALLS;
use super::metrics::write_to_buffer;
use super::remote::hand_out;
use super::types::{MetricsFormatInt, mj_remote};
use super::{bool_from, status, text_ref};
use crate::engine::cluster::{Cluster, Core, Kind, Options, leave_lost_calls};
use crate::engine::context::callback;
use crate::engine::inspect;
use crate::engine::log;
use crate::engine::scheduler::{self, Scheduler};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::to_name;

/// Makes a cluster: schedulers as of mj_scheduler_create(), each on a thread of its own, so that a program uses all
/// processors. On these threads SIGPIPE has no effect while the cluster runs, unless the program has set an action for
/// it, as in a run of setup_scheduler_with_epoll(); stack overflows are reported if `set_up` asks for it, by
/// mj_scheduler_set_overflow_report(). Tasks stay on their core, with errno, thread-local variables and the locks of other libraries; what
/// crosses is work that has not begun: mj_cluster_go(), mj_cluster_listen(). The threads are there when this returns,
/// and wait for mj_cluster_start() or mj_cluster_run(); what the cores are given before waits with them. They have the
/// caller's signal mask. `options` may be NULL: all cores, and nothing else. Callable from any thread. Does not
/// suspend.
///
/// A cluster ends when nothing holds it: its maker does, until mj_cluster_join() or mj_cluster_run(); each function of
/// mj_cluster_go() and each connection, to the end of its task; and each socket that listens. Then each core's run ends
/// as mj_run() does, when its own tasks have ended.
///
/// A core's thread must not end by pthread_exit(), in a task, in `set_up` or in `tear_down`. If it does, which is an
/// ERROR line, the core has failed: calls to it end with -EPIPE, and the others are stopped. What its tasks have
/// deferred is called, and what it was given and has not begun is abandoned, unless a function that is called for that
/// ends the thread once more; but `tear_down` is not called, and its scheduler is never released, with the stacks of
/// its tasks. Signals that its tasks have waited for have the effect again that they had before.
///
/// Returns the cluster, to be released with mj_cluster_destroy(), or NULL. Errors, in errno, with which no thread is
/// left:
///   EINVAL  `cores` is 0, or over 1,024 and not MJ_ALL_CORES; something reserved is not zero
///   EAGAIN  a thread cannot be started: pthread_create(3)
///   ENOMEM  out of memory
///   and as mj_scheduler_create(), and with `pin` as sched_setaffinity(2)
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_create(options: *const mj_cluster_options) -> *mut mj_cluster {
    // SAFETY: as this function's contract says.
    match unsafe { make(options) } {
        Ok(cluster) => cluster.as_ptr().cast(),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// # Safety
/// As [`mj_cluster_create`].
unsafe fn make(options: *const mj_cluster_options) -> Result<NonNull<Cluster>> {
    // SAFETY: as this function's contract says.
    let given = unsafe { options.as_ref() };
    if given.is_some_and(|given| given.reserved != [0; 4]) {
        return Err(Error::InvalidArgument);
    }
    let hooks = NonNull::new(sys::allocate::<Hooks>(1)).ok_or(Error::OutOfMemory)?;
    let of_none = Hooks { set_up: None, tear_down: None, user_data: null_mut() };
    let of_given = given.map(|&mj_cluster_options { set_up, tear_down, user_data, .. }| Hooks {
        set_up,
        tear_down,
        user_data,
    });
    // SAFETY: fresh memory for one; a name is a string, or NULL; a bool is a byte that is there.
    let (name, pins) = unsafe {
        hooks.write(of_given.unwrap_or(of_none));
        let name = given.and_then(|given| text_ref(given.name)).unwrap_or(c"core");
        (name, given.is_some_and(|given| bool_from(&raw const given.pin)))
    };
    let cores = given.map(|given| given.cores).filter(|cores| *cores != ALL_CORES);
    Cluster::create(&Options {
        kind: &KIND,
        data: hooks.as_ptr().cast(),
        cores,
        name: to_name(name.to_bytes()),
        pins,
    })
}

/// Releases a cluster that has ended, which mj_cluster_join() or mj_cluster_run() says, or was not started: then what
/// its cores were given is abandoned. NULL is ignored. Callable from any thread. Does not suspend.
///
/// Returns 0. Errors, with which it stays:
///   -EBUSY  it was started, and not joined; or a scheduler runs on this thread
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_destroy(cluster: *mut mj_cluster) -> c_int {
    match NonNull::new(cluster.cast::<Cluster>()) {
        // SAFETY: as this function's contract says.
        Some(cluster) => status(unsafe { Cluster::destroy(cluster) }),
        None => 0,
    }
}

// ---- running

/// Lets the cores run. Callable from any thread. Does not suspend.
///
/// Returns 0. Errors:
///   -EBUSY       it was started before
///   -EOWNERDEAD  this is a child of fork(), which has none of the threads
///   -EINVAL      `cluster` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_start(cluster: *mut mj_cluster) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { cluster_ref(cluster) }.and_then(Cluster::start))
}

/// Waits until a cluster that was started has ended, after which all its threads are gone. Its maker does not hold it
/// from now on: without more to do it ends. Blocks the thread and does not suspend. Callable from any thread, also
/// twice.
///
/// Returns 0. Errors, the first one of any core:
///   what `set_up` has returned; -EDEADLK, -ENOMEM as mj_run()
///   -ESRCH       the thread of a core has ended, by pthread_exit(): see mj_cluster_create()
/// and of this call, with which nothing has changed:
///   -EBUSY       a scheduler runs on this thread, or it is the cluster's own
///   -EOWNERDEAD  as mj_cluster_start()
///   -EINVAL      `cluster` is NULL, or was not started
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_join(cluster: *mut mj_cluster) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { cluster_ref(cluster) }.and_then(Cluster::join))
}

/// mj_cluster_start() and mj_cluster_join() in one, with signals: SIGINT and SIGTERM stop the cluster, as
/// mj_cluster_stop() with `grace_ns`, the second one at once and the third without waiting for tasks. They come to a
/// scheduler of this thread, which no core keeps from answering, as by mj_signal_wait(): also where they were ignored, as
/// a shell has SIGINT ignored by what it starts in the background. Blocks the thread and does not suspend.
///
/// Returns 0: mj_cluster_signal() tells whether it was a signal. Errors:
///   those of mj_cluster_start() and mj_cluster_join(), and of mj_scheduler_create(), with which it has not begun
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_run(cluster: *mut mj_cluster, grace_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    let cluster = unsafe { cluster_ref(cluster) };
    status(cluster.and_then(|cluster| cluster.run(HOOK_CALLS, grace_ns)))
}

/// Stops a cluster in order: its sockets take what waits in their queues, and are closed; connections and all other
/// tasks have `grace_ns` to end (MJ_FOREVER: any time), and are canceled then. With 0 they are canceled at once. The
/// second call cancels them at once too, whatever its grace, and the third ends all runs with the tasks that are
/// left, which are destroyed. Each socket takes what waits in its queue, 4,096 at most. A core whose run ends before
/// the others, because something has stopped its scheduler, stops them as well. Callable from any thread. Does not
/// suspend.
///
/// Returns 0. Errors:
///   -EINVAL  `cluster` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_stop(cluster: *mut mj_cluster, grace_ns: u64) -> c_int {
    // SAFETY: as this function's contract says.
    status(unsafe { cluster_ref(cluster) }.map(|cluster| cluster.stop(grace_ns)))
}

/// Returns the signal by which mj_cluster_run() was stopped; 0 for none, or NULL. Callable from any thread. Does not
/// suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_signal(cluster: *const mj_cluster) -> c_int {
    // SAFETY: as this function's contract says.
    unsafe { cluster_ref(cluster) }.map_or(0, Cluster::signal)
}

// ---- looking in

/// Returns how many cores a cluster has; 0 for NULL. Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_size(cluster: *const mj_cluster) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { cluster_ref(cluster) }.map_or(0, |cluster| cluster.cores().len())
}

/// The core that runs on this thread. Does not suspend.
///
/// Returns its index. Errors:
///   -ESRCH   none of this cluster does
///   -EINVAL  `cluster` is NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_here(cluster: *const mj_cluster) -> c_int {
    // SAFETY: as this function's contract says.
    let here =
        unsafe { cluster_ref(cluster) }.and_then(|cluster| cluster.here().ok_or(Error::NoSuchTask));
    here.map_or_else(Error::status, |core| core.index as c_int)
}

/// A handle to a core's scheduler, as by mj_scheduler_remote(): for mj_post() and the like. It does not hold the
/// cluster. Callable from any thread. Does not suspend.
///
/// Returns the handle, to be released with mj_remote_release(), or NULL. Errors, in errno:
///   EINVAL  `cluster` is NULL, or has no core with this index
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_remote(
    cluster: *mut mj_cluster,
    core: usize,
) -> *mut mj_remote {
    // SAFETY: as this function's contract says.
    let core = unsafe { core_ref(cluster, core) };
    match core.and_then(Core::remote) {
        Ok(remote) => hand_out(remote),
        Err(error) => {
            sys::set_errno(error.errno());
            null_mut()
        }
    }
}

/// Returns how much a core has to do: the connections that it serves, and the functions of mj_cluster_go() that have
/// not returned; also those that are on their way to it. 0 for NULL, and for an index that no core has. Callable from
/// any thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_load(cluster: *const mj_cluster, core: usize) -> usize {
    // SAFETY: as this function's contract says.
    let core = unsafe { core_ref(cluster, core) };
    core.map_or(0, |core| core.load.load(Relaxed))
}

/// Writes the counters of all cores to a buffer: each under the name of its scheduler, as mj_remote_write_metrics(),
/// and summed. For Prometheus the sums are metrics of their own, `majjen_cluster_...`; JSON is `{"all":{..},
/// "schedulers":[{..},..]}`. After the end they are as they were then. Callable from any thread. Does not
/// suspend.
///
/// Returns the length of the whole text without the NUL, as mj_scheduler_write_metrics(). Errors:
///   -EINVAL  `cluster` is NULL, `buffer` is NULL with a size, or `format` is unknown
///   -ENOMEM  out of memory
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_write_metrics(
    cluster: *mut mj_cluster,
    buffer: *mut c_char,
    buffer_bytes: usize,
    format: MetricsFormatInt,
) -> c_int {
    // SAFETY: as this function's contract says.
    let written = unsafe { cluster_ref(cluster) }.and_then(|cluster| {
        let all = cluster.counters()?;
        let write =
            |format, out: &mut dyn fmt::Write| inspect::write_counters_of_all(&all, format, out);
        // SAFETY: the caller's buffer of this size, which nobody else uses during the call.
        unsafe { write_to_buffer(buffer, buffer_bytes, format, write) }
    });
    written.unwrap_or_else(Error::status)
}

/// The cluster at an address.
///
/// # Safety
/// NULL, or a cluster that stays alive during the call.
pub(super) unsafe fn cluster_ref<'c>(cluster: *const mj_cluster) -> Result<&'c Cluster> {
    // SAFETY: as this function's contract says.
    unsafe { cluster.cast::<Cluster>().as_ref() }.ok_or(Error::InvalidArgument)
}

/// The core with an index of the cluster at an address.
///
/// # Safety
/// As [`cluster_ref`].
pub(super) unsafe fn core_ref<'c>(cluster: *const mj_cluster, core: usize) -> Result<&'c Core> {
    // SAFETY: as this function's contract says.
    unsafe { cluster_ref(cluster) }?.core(core)
}

// ---- how C's cores are made and run

static KIND: Kind = Kind { create, run, finish, leave_lost, tear_down, destroy, release };

/// The program's functions, which the cluster has.
struct Hooks {
    set_up: mj_core_set_up_fn,
    tear_down: mj_core_tear_down_fn,
    user_data: *mut c_void,
}

impl Hooks {
    fn of(core: &Core) -> &Hooks {
        // SAFETY: set by `make`, and there as long as the cluster.
        unsafe { &*core.cluster().data.cast::<Hooks>() }
    }

    fn arguments(&self, core: &Core) -> [usize; 3] {
        [core.own.get() as usize, core.index, self.user_data as usize]
    }
}

/// # Safety
/// As [`Kind::create`].
unsafe fn create(core: &Core) -> Result<*const Scheduler> {
    let scheduler = Scheduler::create(false)?;
    core.own.set(scheduler.cast());
    // SAFETY: created just now.
    inspect::trace_if_asked(unsafe { &*scheduler });
    Ok(scheduler.cast_const())
}

/// # Safety
/// As [`Kind::run`].
unsafe fn run(core: &Core) -> Result<()> {
    let hooks = Hooks::of(core);
    if let Some(set_up) = hooks.set_up {
        let (function, what) = (set_up as *const c_void, c"the set-up of a core");
        // SAFETY: the program's function and its arguments.
        let failed = unsafe { callback::call(function, hooks.arguments(core), what) } as c_int;
        if failed != 0 {
            let error = Error::Os(failed.saturating_abs());
            log::error(format_args!(
                "core {} cannot be set up: {error}; its cluster ends",
                core.index
            ));
            return Err(error);
        }
    }
    // SAFETY: from `create`, and destroyed by `destroy`.
    let scheduler = unsafe { &*core.own.get().cast::<Scheduler>() };
    scheduler::run(scheduler, HOOK_CALLS, None).map(drop)
}

/// # Safety
/// As [`Kind::finish`].
unsafe fn finish(core: &Core) {
    // SAFETY: from `create`, and destroyed by `destroy`.
    unsafe { &*core.own.get().cast::<Scheduler>() }.finish_all();
}

/// # Safety
/// As [`Kind::leave_lost`].
unsafe fn leave_lost(_: &Core, scheduler: &Scheduler) {
    leave_lost_calls(scheduler);
}

/// # Safety
/// As [`Kind::tear_down`].
unsafe fn tear_down(core: &Core) {
    let hooks = Hooks::of(core);
    if let Some(tear_down) = hooks.tear_down {
        let (function, what) = (tear_down as *const c_void, c"the tear-down of a core");
        // SAFETY: as above.
        unsafe { callback::call(function, hooks.arguments(core), what) };
    }
}

/// # Safety
/// As [`Kind::destroy`].
unsafe fn destroy(core: &Core) {
    // SAFETY: from `create`, and it does not run.
    let _ = unsafe { Scheduler::destroy(core.own.get().cast()) };
}

/// # Safety
/// As [`Kind::release`].
unsafe fn release(hooks: *mut c_void) {
    // SAFETY: from `make`, and not used again.
    unsafe { sys::free(hooks) };
}

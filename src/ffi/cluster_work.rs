//! Clusters: giving work and connections to their cores.

use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::Relaxed;

use super::cluster::{cluster_ref, core_ref};
use super::cluster_types::{mj_cluster, mj_connection_fn, mj_service};
use super::net::listen_flags;
use super::post::post_to;
use super::task::WORDS;
use super::types::{mj_abandon_fn, mj_go_fn, mj_group, mj_group_fn};
use super::{body_from, object_ref, reported, status, text_ref};
use crate::engine::cluster::{self, Connection, Core, Place, Service};
use crate::engine::context::callback;
use crate::engine::fd;
use crate::engine::log;
use crate::engine::scheduler::{self, Limit, Scheduler, running_task};
use crate::engine::sync::{Group, argument_of};
use crate::engine::sys::{self, Error, Result, TruncatingWriter};
use crate::engine::task::{Body, Words, to_name};
use crate::engine::time::Deadline;

// ---- which core

/// Returns the index of the next core, in turn: round robin, for all callers together. 0 for NULL. Callable from any
/// thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_next(cluster: *mut mj_cluster) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { cluster_ref(cluster) }.map_or(0, |cluster| cluster.in_turn().index)
}

/// Returns the index of the core with the smallest mj_cluster_load(): the caller's own if no other has less. Of more
/// than 8 cores it looks at 8, others at each call. 0 for NULL. Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_least_loaded(cluster: *mut mj_cluster) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { cluster_ref(cluster) }.map_or(0, |cluster| cluster.least_loaded().index)
}

/// Returns the index of the core that belongs to a number: the same one in each cluster of this size. So what is given
/// to it by this is done on one thread, in order, and needs no lock. Keys that are close to each other are spread. 0
/// for NULL. Callable from any thread. Does not suspend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_of_key(cluster: *const mj_cluster, key: u64) -> usize {
    // SAFETY: as this function's contract says.
    unsafe { cluster_ref(cluster) }.map_or(0, |cluster| cluster.of_key(key).index)
}

// ---- work

/// Lets a task of a core call a function, as mj_post() does, and holds the cluster until it has returned. What a thread
/// gives to one core begins in order. Callable from any thread. Does not suspend.
///
/// Returns 0. Errors, with which nothing is called:
///   -EAGAIN      as many wait there as may: mj_remote_set_post_limit(). A task can mj_cluster_call(), which waits
///   -EPIPE       the cluster has ended, or does so at once
///   -EOWNERDEAD  this is a child of fork(), which has none of the threads
///   -EINVAL      `cluster` or `function` is NULL, or no core has this index
///   -ENOMEM      out of memory
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_go(
    cluster: *mut mj_cluster,
    core: usize,
    function: mj_go_fn,
    argument: *mut c_void,
    abandon: mj_abandon_fn,
) -> c_int {
    let Some(function) = function else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: as this function's contract says.
    let core = unsafe { core_ref(cluster, core) };
    // SAFETY: as above.
    status(core.and_then(|core| unsafe { give(core, Given { function, argument, abandon, core }) }))
}

/// A function for a core.
struct Given {
    function: unsafe extern "C-unwind" fn(*mut c_void),
    argument: *mut c_void,
    abandon: mj_abandon_fn,
    core: *const Core,
}

/// # Safety
/// As [`post_to`].
unsafe fn give(core: &Core, given: Given) -> Result<()> {
    core.take_work()?;
    let memory = NonNull::new(sys::allocate::<Given>(1)).ok_or(Error::OutOfMemory);
    let posted = memory.and_then(|memory| {
        let remote = core.remote()?;
        // SAFETY: fresh memory for one; as this function's contract says.
        unsafe {
            memory.write(given);
            post_to(remote, run_given, memory.as_ptr().cast(), Some(abandon_given))
                .inspect_err(|_| sys::free(memory.as_ptr().cast()))
        }
    });
    posted.inspect_err(|_| core.end_work())
}

/// # Safety
/// With a [`Given`] in memory of its own.
unsafe extern "C-unwind" fn run_given(given: *mut c_void) {
    // SAFETY: as this function's contract says; a core is there while it has work.
    unsafe {
        let Given { function, argument, core, .. } = given.cast::<Given>().read();
        sys::free(given);
        function(argument);
        (*core).end_work();
    }
}

/// # Safety
/// As above.
unsafe extern "C" fn abandon_given(given: *mut c_void) {
    // SAFETY: as above.
    unsafe {
        let Given { argument, abandon, core, .. } = given.cast::<Given>().read();
        sys::free(given);
        callback::abandon(abandon, argument);
        (*core).end_work();
    }
}

/// Has a task of a core call a function, as mj_cluster_go() does, and waits until it has returned: `argument` is the
/// caller's again then, and may be on its stack. If as many wait there as may, this call waits too. When `timeout_ns`
/// is over, and when the caller is canceled, the function's task is canceled, and waited for. mj_task_wake() has no
/// effect on it. In a member of a group, the group's limit and its cancellation hold for the work of all cores:
/// mj_cluster_group_go(). Callable in a task of any scheduler. May suspend.
///
/// When the caller's scheduler is destroyed meanwhile, the function's task is canceled; mj_scheduler_destroy() waits
/// until it has ended, unless that is a core of the same cluster: then no core runs any more.
///
/// Returns 0, with what the function has returned in `*result`, unless that is NULL: also when it was canceled, for
/// which it may return anything. Errors, with which it has not been called, but for the third and fourth:
///   -ETIMEDOUT  it could not begin within `timeout_ns`
///   -ECANCELED  the task is canceled, or has called mj_task_exit()
///   -EPIPE      the cluster has ended, or does so at once; or that core has, while the function ran: it has not
///               returned then, and will not
///   -EOWNERDEAD this is a child of fork(), and the function runs in the parent
///   -EINVAL     `cluster` or `function` is NULL, or no core has this index
///   -ENOMEM     out of memory
///   -EPERM      not called from a task; this is also logged
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_call(
    cluster: *mut mj_cluster,
    core: usize,
    function: mj_group_fn,
    argument: *mut c_void,
    timeout_ns: u64,
    result: *mut c_int,
) -> c_int {
    let Some(function) = function else {
        return Error::InvalidArgument.status();
    };
    // SAFETY: as this function's contract says.
    let core = unsafe { core_ref(cluster, core) };
    // SAFETY: as above.
    let called = core.and_then(|core| unsafe {
        cluster::call(core, (function, argument), Deadline::after_ns(timeout_ns))
    });
    status(reported("mj_cluster_call", called).map(|returned| {
        if !result.is_null() {
            // SAFETY: the caller's.
            unsafe { result.write(returned) };
        }
    }))
}

/// mj_group_go() of a member whose function is called on a core, by mj_cluster_call(): so a group has members on
/// several. It waits for a place in the group as that does, which bounds what is under way, and the member counts and
/// is canceled as any other. What the function returns is the member's result; or the error of mj_cluster_call(), if
/// it was not called. `argument` stays the caller's. The cluster stays until the group has no members.
/// May suspend.
///
/// Returns 0. Errors (`function` is not called then):
///   -ETIMEDOUT, -EPIPE, -EINTR, -ECANCELED, -EPERM  as mj_group_go()
///   -EINVAL  `cluster`, `group` or `function` is NULL, or no core has this index
///   -ENOMEM  out of memory
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_group_go(
    cluster: *mut mj_cluster,
    core: usize,
    group: *mut mj_group,
    function: mj_group_fn,
    argument: *mut c_void,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: as this function's contract says.
    let core = unsafe { core_ref(cluster, core) };
    let added = core.and_then(|core| {
        let function = function.ok_or(Error::InvalidArgument)?;
        // SAFETY: as above.
        let group: &Group = unsafe { object_ref(group) }?;
        let mut memory: *mut Member = null_mut();
        let make = || {
            memory = sys::allocate::<Member>(1);
            let fresh = NonNull::new(memory).ok_or(Error::OutOfMemory)?;
            // SAFETY: fresh memory for one, which is the member's from then on.
            unsafe { fresh.write(Member { core, function, argument }) };
            Ok((call as cluster::Function, memory.cast()))
        };
        group
            .go_when_made(make, Limit::after_ns(timeout_ns), &MEMBER_WORDS)
            // SAFETY: NULL, or no member has it.
            .inspect_err(|_| unsafe { sys::free(memory.cast()) })
    });
    status(reported("mj_cluster_group_go", added))
}

/// A task that has had no turn frees its member.
static MEMBER_WORDS: Words = Words { abandon: Some(abandon_member), ..WORDS };

/// # Safety
/// With the state of a task of [`mj_cluster_group_go`] that has not begun.
unsafe fn abandon_member(state: *mut c_void) {
    // SAFETY: as this function's contract says.
    unsafe { sys::free(argument_of(state)) };
}

/// A member whose function another core calls.
struct Member {
    core: *const Core,
    function: cluster::Function,
    argument: *mut c_void,
}

/// # Safety
/// In a member of a group, with a [`Member`] in memory of its own, whose cluster is there until the group has ended.
unsafe extern "C-unwind" fn call(member: *mut c_void) -> c_int {
    // SAFETY: as this function's contract says.
    let called = unsafe {
        let Member { core, function, argument } = member.cast::<Member>().read();
        sys::free(member);
        cluster::call(&*core, (function, argument), Deadline::Never)
    };
    called.unwrap_or_else(Error::status)
}

// ---- connections

/// Listens on all cores, and serves each connection in a task of its own, as one that mj_create_task() makes of
/// `handler` and what `connection` returns. `address` and `service` are as for mj_listen(); of a port there is a socket
/// for each core (SO_REUSEPORT), and of a path one, at which the first core accepts. A core that has more to do than
/// others hands its connections over to the one with the least: see mj_cluster_load(). It listens until the cluster
/// is stopped, and holds it. Who listens at the same port with SO_REUSEPORT, another cluster of this user, say, is
/// not refused: connections are shared with it. Callable from any thread, before the start too. May suspend in a
/// task, as mj_listen().
///
/// A connection's descriptor does not block and is closed on exec. It is the handler's, to be closed by close(2) or
/// mj_fd_close(), and can be handed to the library: mj_fd_adopt(), mj_stream_create().
///
/// Returns the port that it listens at, which the kernel has chosen for "0"; 0 of a path. Errors, with which it does
/// not listen:
///   -EINVAL      `cluster`, `what` or its handler is NULL, something reserved is not zero; and as mj_listen()
///   -EPIPE       the cluster has ended
///   -EOWNERDEAD  as mj_cluster_go()
///   and as mj_listen()
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_listen(
    cluster: *mut mj_cluster,
    address: *const c_char,
    service: *const c_char,
    what: *const mj_service,
) -> c_int {
    // SAFETY: as this function's contract says.
    match unsafe { listen(cluster, address, service, what) } {
        Ok(port) => c_int::from(port),
        Err(error) => error.status(),
    }
}

/// # Safety
/// As [`mj_cluster_listen`].
unsafe fn listen(
    cluster: *mut mj_cluster,
    address: *const c_char,
    port: *const c_char,
    what: *const mj_service,
) -> Result<u16> {
    // SAFETY: as this function's contract says.
    let (cluster, what) = unsafe { (cluster_ref(cluster)?, what.as_ref()) };
    let what = what.ok_or(Error::InvalidArgument)?;
    // SAFETY: as above.
    let handler = unsafe { body_from(what.handler) }.ok_or(Error::InvalidArgument)?;
    if what.reserved != [0; 4] {
        return Err(Error::InvalidArgument);
    }
    let flags = listen_flags(what.flags)?;
    // SAFETY: as above.
    let [address, port] = [address, port].map(|text| unsafe { text_ref(text) }.unwrap_or_default());
    let mut name = [0; 64];
    let mut words = TruncatingWriter::new(&mut name);
    let _ = write!(words, "accept {}", address.to_bytes().escape_ascii()); // What fits.
    let served = NonNull::new(sys::allocate::<Served>(1)).ok_or(Error::OutOfMemory)?;
    // SAFETY: fresh memory for one, which the functions are for.
    let service = unsafe {
        served.write(Served { handler, connection: what.connection, user_data: what.user_data });
        Service::new(begin, release, served.as_ptr().cast(), to_name(words.written()))
    };
    let place = Place { address, port: port.to_bytes(), backlog: what.backlog, flags };
    cluster.listen(&place, service)
}

/// The sockets at which a cluster listens, of all mj_cluster_listen() together: to hand them to another process, which
/// takes them with MJ_LISTEN_INHERITED, before this cluster is stopped. They stay the cluster's. Callable from any
/// thread. Does not suspend.
///
/// Returns how many there are: the first `capacity` of them are in `fds`, which may be NULL for 0. Errors:
///   -EINVAL  `cluster` is NULL, or `fds` with a capacity
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mj_cluster_listeners(
    cluster: *const mj_cluster,
    fds: *mut c_int,
    capacity: usize,
) -> c_int {
    // SAFETY: as this function's contract says.
    let Ok(cluster) = (unsafe { cluster_ref(cluster) }) else {
        return Error::InvalidArgument.status();
    };
    if fds.is_null() && capacity > 0 {
        return Error::InvalidArgument.status();
    }
    let listeners = cluster.services().flat_map(|service| &service.listeners);
    let open = listeners.map(|listener| listener.fd.load(Relaxed)).filter(|fd| *fd >= 0);
    let mut count = 0;
    for fd in open {
        if count < capacity {
            // SAFETY: the caller's, with room for `capacity`.
            unsafe { fds.add(count).write(fd) };
        }
        count += 1;
    }
    count as c_int
}

/// What serves connections: the program's, which it sets once.
struct Served {
    handler: Body,
    connection: mj_connection_fn,
    user_data: *mut c_void,
}

/// A task that has had no turn is abandoned with its connection.
static CONNECTION_WORDS: Words = Words { abandon: Some(abandon_connection), ..WORDS };

/// # Safety
/// With a [`Served`], which is not used again.
unsafe fn release(served: *mut c_void) {
    // SAFETY: as this function's contract says.
    unsafe { sys::free(served) };
}

/// # Safety
/// Called by the core of the connection.
unsafe fn begin(scheduler: &Scheduler, connection: Connection) -> Result<()> {
    scheduler.spawn_with(serve, connection, &CONNECTION_WORDS).map(|_| ())
}

/// # Safety
/// With the [`Connection`] of a task.
unsafe fn abandon_connection(connection: *mut c_void) {
    // SAFETY: as this function's contract says.
    unsafe { connection.cast::<Connection>().read() }.abandon();
}

/// The first call of the body: the task is the program's from then on.
///
/// # Safety
/// Called by the core, with a [`Connection`].
unsafe extern "C-unwind" fn serve(of: *mut c_void, state: *mut c_void) {
    // SAFETY: as this function's contract says.
    let connection = unsafe { state.cast::<Connection>().read() };
    let Some((_, task)) = running_task() else { return };
    // SAFETY: as above, and what is in the field from now on is the task's.
    unsafe { sys::free(task.user_state.replace(null_mut())) };
    let core: *const Core = connection.core();
    if let Err(error) = scheduler::defer(connection_has_ended, core.cast_mut().cast()) {
        log::error(format_args!("a connection is closed: {error}"));
        connection.abandon();
        let _ = scheduler::exit(); // In a task.
        return;
    }
    // SAFETY: of `listen`, and there as long as the cluster.
    let served = unsafe { &*connection.service().own.cast::<Served>() };
    let _ = fd::release(connection.fd); // Nobody else has it.
    let user_state = match served.connection {
        // SAFETY: the program's function and its arguments.
        Some(connected) => unsafe { connected(connection.fd, served.user_data) },
        None => {
            let place = sys::allocate::<c_int>(1);
            if !place.is_null() {
                // SAFETY: fresh memory for one.
                unsafe { place.write(connection.fd) };
            }
            place.cast()
        }
    };
    if user_state.is_null() {
        let _ = scheduler::close_fd(connection.fd); // It is closed all the same.
        let _ = scheduler::exit();
        return;
    }
    task.user_state.set(user_state);
    task.body.set(Some(served.handler));
    // SAFETY: the program's body, with the state that it has made.
    unsafe { (served.handler)(of, user_state) };
}

/// # Safety
/// With the [`Core`] of a connection, which is there while it has one.
unsafe extern "C" fn connection_has_ended(core: *mut c_void) {
    // SAFETY: as this function's contract says.
    unsafe { &*core.cast::<Core>() }.end_work();
}

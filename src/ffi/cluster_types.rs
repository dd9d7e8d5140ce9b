//! The types of clusters as C sees them: as in `types.rs`.
#![allow(non_camel_case_types)] // C's names.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::types::{mj_scheduler, mj_task_fn};

/// Several schedulers, each on a thread of its own: its cores, by index. See mj_cluster_create().
pub struct mj_cluster {
    _private: [u8; 0],
}

/// In C it is `MJ_ALL_CORES`.
pub const ALL_CORES: usize = usize::MAX;

/// What is called on the thread of a core when the cluster is started, before the core's run: it sets its scheduler up,
/// which runs nothing yet, and may make tasks, which hold the run as in mj_run(). It is outside any task, and
/// mj_scheduler_current() is NULL. The scheduler stays the cluster's, which destroys it. Returns 0, or a negative errno
/// value, which mj_cluster_join() returns: then that core does not run, and the others are stopped. A C++ exception
/// that would leave it calls std::terminate(), after a line on stderr.
pub type mj_core_set_up_fn = Option<
    unsafe extern "C" fn(
        scheduler: *mut mj_scheduler,
        core: usize,
        user_data: *mut c_void,
    ) -> c_int,
>;

/// What is called on the thread of a core when no core runs any more, before its scheduler is destroyed; also if its
/// set-up has failed. As mj_core_set_up_fn.
pub type mj_core_tear_down_fn =
    Option<unsafe extern "C" fn(scheduler: *mut mj_scheduler, core: usize, user_data: *mut c_void)>;

/// How a cluster is made. Set `cores` and what you need, and leave the rest zero.
#[repr(C)]
pub struct mj_cluster_options {
    /// How many: 1 to 1,024, or MJ_ALL_CORES.
    pub cores: usize,
    /// What threads and schedulers are called, with a dash and the index behind: the first 12 bytes or so of it. NULL
    /// for "core". Copied.
    pub name: *const c_char,
    /// Whether each thread is bound to one processor, of those that the caller may run on, in turn.
    pub pin: bool,
    /// What sets each core up; NULL for nothing.
    pub set_up: mj_core_set_up_fn,
    /// What tears it down; NULL for nothing.
    pub tear_down: mj_core_tear_down_fn,
    /// The last argument of both.
    pub user_data: *mut c_void,
    /// Zero.
    pub reserved: [u64; 4],
}

/// Makes what the handler of a connection is given as its `user_state`, from malloc(), on the core that serves it and
/// in the task that will. It may suspend. NULL closes the connection. A C++ exception that would leave it calls
/// std::terminate(), as if it were noexcept, after a line on stderr.
pub type mj_connection_fn =
    Option<unsafe extern "C-unwind" fn(fd: c_int, user_data: *mut c_void) -> *mut c_void>;

/// What mj_cluster_listen() does with connections. Set `handler` and what you need, and leave the rest zero.
#[repr(C)]
pub struct mj_service {
    /// The body of the task of each connection: it closes the descriptor, and ends by mj_task_exit(): else it is called
    /// again when it returns, as of mj_create_task().
    pub handler: *mut mj_task_fn,
    /// What makes its `user_state`; NULL for an `int *`, the descriptor.
    pub connection: mj_connection_fn,
    /// The last argument of `connection`.
    pub user_data: *mut c_void,
    /// How many connections may wait to be accepted, at each socket; 0 for 4,096.
    pub backlog: c_int,
    /// As for mj_listen().
    pub flags: c_uint,
    /// Zero.
    pub reserved: [u64; 4],
}

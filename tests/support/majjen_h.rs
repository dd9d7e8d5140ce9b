//! The C ABI as `include/majjen.h` declares it, for tests that call it from Rust.
//!
//! Generated from the header by `tests/suite/majjen_h.rs`; do not edit. `make header` renews it.
#![allow(dead_code)] // No test uses all of it.
#![allow(non_camel_case_types)] // C's names.

use std::ffi::{c_char, c_int, c_short, c_uint, c_ulong, c_void};

/// As a parameter, the address of one: an array is that in C, and so is a struct of this size in the
/// calling convention of AArch64.
pub type va_list = *mut c_void;

pub const MJ_VERSION_MAJOR: c_int = 0;
pub const MJ_VERSION_MINOR: c_int = 2;
pub const MJ_VERSION_PATCH: c_int = 0;
pub const MJ_FOREVER: u64 = u64::MAX;
pub const MJ_RUN_STOPPED: c_int = 1;
pub const MJ_RUN_SIGNAL: c_int = 2;
pub const MJ_LISTEN_REUSEPORT: c_int = 1;
pub const MJ_LISTEN_V6ONLY: c_int = 2;
pub const MJ_LISTEN_INHERITED: c_int = 4;

pub type mj_task_fn = unsafe extern "C" fn(scheduler: *mut mj_scheduler, user_state: *mut c_void);

pub type mj_task_state = c_uint;
pub const MJ_TASK_RUNNABLE: mj_task_state = 0;
pub const MJ_TASK_SLEEPING: mj_task_state = 1;
pub const MJ_TASK_WAITING_IO: mj_task_state = 2;
pub const MJ_TASK_EXITED: mj_task_state = 3;

pub type mj_task_id = u64;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_task {
    pub task_function: Option<mj_task_fn>,
    pub user_state: *mut c_void,
    pub state: mj_task_state,
    pub wake_time_ns: u64,
    pub heap_index: usize,
    pub next: *mut mj_task,
}

impl Default for mj_task {
    fn default() -> mj_task {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

pub type mj_go_fn = unsafe extern "C" fn(argument: *mut c_void);

pub type mj_defer_fn = unsafe extern "C" fn(argument: *mut c_void);

pub type mj_task_key = u32;

pub type mj_destroy_fn = unsafe extern "C" fn(value: *mut c_void);

pub type mj_inherit_fn = unsafe extern "C" fn(value: *mut c_void) -> *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_signal_info {
    pub signal: c_int,
    pub code: c_int,
    pub pid: libc::pid_t,
    pub uid: libc::uid_t,
    pub value: c_int,
    pub pointer: *mut c_void,
    pub reserved: [*mut c_void; 4],
}

impl Default for mj_signal_info {
    fn default() -> mj_signal_info {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

#[repr(C)]
pub struct mj_remote {
    _opaque: [u8; 0],
}

pub type mj_abandon_fn = unsafe extern "C" fn(argument: *mut c_void);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_post_node {
    pub internal: [*mut c_void; 7],
}

impl Default for mj_post_node {
    fn default() -> mj_post_node {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

pub type mj_offload_fn = unsafe extern "C" fn(argument: *mut c_void);

pub type mj_offload_class = c_uint;
pub const MJ_OFFLOAD_CPU: mj_offload_class = 0;
pub const MJ_OFFLOAD_FILE: mj_offload_class = 1;
pub const MJ_OFFLOAD_DNS: mj_offload_class = 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_offload_counts {
    pub threads: u64,
    pub idle: u64,
    pub queued: u64,
    pub running: u64,
    pub ran_in_loop: u64,
}

impl Default for mj_offload_counts {
    fn default() -> mj_offload_counts {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

#[repr(C)]
pub struct mj_stream {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct mj_process {
    _opaque: [u8; 0],
}

pub type mj_process_descriptor = c_int;
pub const MJ_PROCESS_INHERIT: mj_process_descriptor = 0;
pub const MJ_PROCESS_NULL: mj_process_descriptor = -2;
pub const MJ_PROCESS_PIPE: mj_process_descriptor = -3;
pub const MJ_PROCESS_OUTPUT: mj_process_descriptor = -4;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_process_options {
    pub environment: *mut *const c_char,
    pub directory: *const c_char,
    pub input: c_int,
    pub output: c_int,
    pub error: c_int,
    pub new_group: bool,
    pub reserved: [u64; 2],
}

impl Default for mj_process_options {
    fn default() -> mj_process_options {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

#[repr(C)]
pub struct mj_chan {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct mj_xchan {
    _opaque: [u8; 0],
}

pub type mj_select_op = c_uint;
pub const MJ_SELECT_SEND: mj_select_op = 0;
pub const MJ_SELECT_RECV: mj_select_op = 1;
pub const MJ_SELECT_FD: mj_select_op = 2;
pub const MJ_SELECT_TASK: mj_select_op = 3;
pub const MJ_SELECT_DEADLINE: mj_select_op = 4;
pub const MJ_SELECT_XSEND: mj_select_op = 5;
pub const MJ_SELECT_XRECV: mj_select_op = 6;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_select_case {
    pub chan: *mut mj_chan,
    pub op: mj_select_op,
    pub result: c_int,
    pub element: *mut c_void,
    pub fd: c_int,
    pub events: c_short,
    pub happened: c_short,
    pub task: mj_task_id,
    pub deadline_ns: u64,
    pub xchan: *mut mj_xchan,
    pub reserved: [u64; 1],
    pub internal: [*mut c_void; 6],
}

impl Default for mj_select_case {
    fn default() -> mj_select_case {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

#[repr(C)]
pub struct mj_mutex {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct mj_cond {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct mj_sem {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct mj_waitgroup {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct mj_group {
    _opaque: [u8; 0],
}

pub type mj_group_fn = unsafe extern "C" fn(argument: *mut c_void) -> c_int;

#[repr(C)]
pub struct mj_cluster {
    _opaque: [u8; 0],
}

pub type mj_core_set_up_fn = unsafe extern "C" fn(
    scheduler: *mut mj_scheduler,
    core: usize,
    user_data: *mut c_void,
) -> c_int;

pub type mj_core_tear_down_fn =
    unsafe extern "C" fn(scheduler: *mut mj_scheduler, core: usize, user_data: *mut c_void);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_cluster_options {
    pub cores: usize,
    pub name: *const c_char,
    pub pin: bool,
    pub set_up: Option<mj_core_set_up_fn>,
    pub tear_down: Option<mj_core_tear_down_fn>,
    pub user_data: *mut c_void,
    pub reserved: [u64; 4],
}

impl Default for mj_cluster_options {
    fn default() -> mj_cluster_options {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

pub type mj_connection_fn = unsafe extern "C" fn(fd: c_int, user_data: *mut c_void) -> *mut c_void;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_service {
    pub handler: Option<mj_task_fn>,
    pub connection: Option<mj_connection_fn>,
    pub user_data: *mut c_void,
    pub backlog: c_int,
    pub flags: c_uint,
    pub reserved: [u64; 4],
}

impl Default for mj_service {
    fn default() -> mj_service {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

pub type mj_log_level = c_uint;
pub const MJ_LOG_TRACE: mj_log_level = 0;
pub const MJ_LOG_DEBUG: mj_log_level = 1;
pub const MJ_LOG_INFO: mj_log_level = 2;
pub const MJ_LOG_WARN: mj_log_level = 3;
pub const MJ_LOG_ERROR: mj_log_level = 4;
pub const MJ_LOG_FATAL: mj_log_level = 5;
pub const MJ_LOG_SILENT: mj_log_level = 6;

pub type mj_log_callback =
    unsafe extern "C" fn(level: mj_log_level, message: *const c_char, user_data: *mut c_void);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_logger {
    pub min_level: mj_log_level,
    pub callback: Option<mj_log_callback>,
    pub user_data: *mut c_void,
    pub include_time: bool,
    pub include_level: bool,
}

impl Default for mj_logger {
    fn default() -> mj_logger {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_metrics {
    pub task_executions: u64,
    pub total_execution_time_ns: u64,
    pub min_execution_time_ns: u64,
    pub max_execution_time_ns: u64,
    pub scheduler_loops: u64,
    pub total_loop_time_ns: u64,
    pub timer_expirations: u64,
    pub timer_cancellations: u64,
    pub wait_calls: u64,
    pub total_wait_time_ns: u64,
    pub io_events: u64,
    pub tasks_created: u64,
    pub tasks_exited: u64,
    pub current_tasks: u64,
    pub peak_tasks: u64,
    pub heap_operations: u64,
    pub memory_allocated_bytes: usize,
    pub long_turns: u64,
}

impl Default for mj_metrics {
    fn default() -> mj_metrics {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

pub type mj_metrics_format = c_uint;
pub const MJ_METRICS_TEXT: mj_metrics_format = 0;
pub const MJ_METRICS_PROMETHEUS: mj_metrics_format = 1;
pub const MJ_METRICS_JSON: mj_metrics_format = 2;

pub type mj_wait_fn = unsafe extern "C" fn(
    scheduler: *mut mj_scheduler,
    timeout_ns: u64,
    user_data: *mut c_void,
) -> c_int;

pub type mj_clock_fn = unsafe extern "C" fn(user_data: *mut c_void) -> u64;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_scheduler {
    pub runnable_head: *mut mj_task,
    pub runnable_tail: *mut mj_task,
    pub runnable_count: usize,
    pub timer_heap: *mut *mut mj_task,
    pub timer_count: usize,
    pub timer_capacity: usize,
    pub current_task: *mut mj_task,
    pub wait_func: Option<mj_wait_fn>,
    pub wait_data: *mut c_void,
    pub metrics: mj_metrics,
}

impl Default for mj_scheduler {
    fn default() -> mj_scheduler {
        // SAFETY: numbers, addresses, and functions that may be NULL: 0 is one of each.
        unsafe { std::mem::zeroed() }
    }
}

// SAFETY: these are the header's declarations. What the header asks of arguments is for the tests to
// keep, as for any C program; marking each call would say no more than that it is a call of C.
unsafe extern "C" {
    pub safe fn mj_version() -> *const c_char;
    pub safe fn mj_scheduler_create() -> *mut mj_scheduler;
    pub safe fn setup_scheduler_with_epoll() -> *mut mj_scheduler;
    pub safe fn mj_scheduler_destroy(scheduler: *mut mj_scheduler);
    pub safe fn mj_scheduler_run(scheduler: *mut mj_scheduler);
    pub safe fn mj_run(scheduler: *mut mj_scheduler) -> c_int;
    pub safe fn mj_scheduler_signal(scheduler: *mut mj_scheduler) -> c_int;
    pub safe fn mj_scheduler_current() -> *mut mj_scheduler;
    pub safe fn mj_scheduler_set_name(scheduler: *mut mj_scheduler, name: *const c_char) -> c_int;
    pub safe fn mj_create_task(
        scheduler: *mut mj_scheduler,
        task_function: Option<mj_task_fn>,
        user_state: *mut c_void,
    ) -> *mut mj_task;
    pub safe fn mj_go(
        scheduler: *mut mj_scheduler,
        function: Option<mj_go_fn>,
        argument: *mut c_void,
        id: *mut mj_task_id,
    ) -> c_int;
    pub safe fn mj_task_exit();
    pub safe fn mj_task_current() -> *mut mj_task;
    pub safe fn mj_task_get_id(task: *const mj_task) -> mj_task_id;
    pub safe fn mj_task_find(scheduler: *mut mj_scheduler, id: mj_task_id) -> *mut mj_task;
    pub safe fn mj_task_set_name(task: *mut mj_task, name: *const c_char) -> c_int;
    pub safe fn mj_task_get_name(task: *const mj_task) -> *const c_char;
    pub safe fn mj_task_wake(task: *mut mj_task) -> c_int;
    pub safe fn mj_task_cancel(task: *mut mj_task) -> c_int;
    pub safe fn mj_task_set_cancelable(cancelable: bool, old: *mut bool) -> c_int;
    pub safe fn mj_scheduler_wake(scheduler: *mut mj_scheduler, id: mj_task_id) -> c_int;
    pub safe fn mj_scheduler_cancel(scheduler: *mut mj_scheduler, id: mj_task_id) -> c_int;
    pub safe fn mj_task_defer(function: Option<mj_defer_fn>, argument: *mut c_void) -> c_int;
    pub safe fn mj_task_set_daemon(daemon: bool) -> c_int;
    pub safe fn mj_scheduler_set_daemon_limit(
        scheduler: *mut mj_scheduler,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_task_key_create(
        key: *mut mj_task_key,
        destroy: Option<mj_destroy_fn>,
        inherit: Option<mj_inherit_fn>,
    ) -> c_int;
    pub safe fn mj_task_set_value(key: mj_task_key, value: *mut c_void) -> c_int;
    pub safe fn mj_task_get_value(key: mj_task_key) -> *mut c_void;
    pub safe fn mj_task_yield();
    pub safe fn mj_yield() -> c_int;
    pub safe fn mj_task_sleep_ns(nanoseconds: u64);
    pub safe fn mj_task_sleep_ms(milliseconds: u64);
    pub safe fn mj_task_sleep_s(seconds: u64);
    pub safe fn mj_sleep_ns(nanoseconds: u64) -> c_int;
    pub safe fn mj_task_sleep_until_ns(deadline_ns: u64) -> c_int;
    pub safe fn mj_task_park(timeout_ns: u64) -> c_int;
    pub safe fn mj_task_join(id: mj_task_id, timeout_ns: u64) -> c_int;
    pub safe fn mj_signal_wait(
        signals: *const c_int,
        count: usize,
        info: *mut mj_signal_info,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_signal_release() -> c_int;
    pub safe fn mj_run_until_signal(
        scheduler: *mut mj_scheduler,
        function: Option<mj_go_fn>,
        argument: *mut c_void,
        grace_ns: u64,
    ) -> c_int;
    pub safe fn mj_deadline_after(timeout_ns: u64) -> u64;
    pub safe fn mj_deadline_left(deadline_ns: u64) -> u64;
    pub safe fn mj_task_set_deadline(deadline_ns: u64, old: *mut u64) -> c_int;
    pub safe fn mj_scheduler_stop(scheduler: *mut mj_scheduler) -> c_int;
    pub safe fn mj_scheduler_remote(scheduler: *mut mj_scheduler) -> *mut mj_remote;
    pub safe fn mj_remote_stop(remote: *mut mj_remote) -> c_int;
    pub safe fn mj_remote_retain(remote: *mut mj_remote) -> *mut mj_remote;
    pub safe fn mj_remote_release(remote: *mut mj_remote);
    pub safe fn mj_post(
        remote: *mut mj_remote,
        function: Option<mj_go_fn>,
        argument: *mut c_void,
        abandon: Option<mj_abandon_fn>,
    ) -> c_int;
    pub safe fn mj_post_with_node(
        remote: *mut mj_remote,
        node: *mut mj_post_node,
        function: Option<mj_go_fn>,
        argument: *mut c_void,
        abandon: Option<mj_abandon_fn>,
    ) -> c_int;
    pub safe fn mj_remote_set_post_limit(remote: *mut mj_remote, posts: usize) -> c_int;
    pub safe fn mj_remote_wake(remote: *mut mj_remote, id: mj_task_id) -> c_int;
    pub safe fn mj_remote_cancel(remote: *mut mj_remote, id: mj_task_id) -> c_int;
    pub safe fn mj_offload(
        function: Option<mj_offload_fn>,
        argument: *mut c_void,
        abandon: Option<mj_abandon_fn>,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_offload_in(
        class_: mj_offload_class,
        function: Option<mj_offload_fn>,
        argument: *mut c_void,
        abandon: Option<mj_abandon_fn>,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_offload_canceled() -> bool;
    pub safe fn mj_offload_set_limit(class_: mj_offload_class, threads: usize) -> c_int;
    pub safe fn mj_offload_get_counts(
        class_: mj_offload_class,
        counts: *mut mj_offload_counts,
        bytes: usize,
    ) -> c_int;
    pub safe fn mj_task_wait_readable(fd: c_int);
    pub safe fn mj_task_wait_fd(fd: c_int, events: c_short, timeout_ns: u64) -> c_int;
    pub safe fn mj_fd_close(fd: c_int) -> c_int;
    pub safe fn mj_scheduler_close_fd(scheduler: *mut mj_scheduler, fd: c_int) -> c_int;
    pub safe fn mj_read(fd: c_int, buffer: *mut c_void, bytes: usize, timeout_ns: u64) -> isize;
    pub safe fn mj_read_exact(
        fd: c_int,
        buffer: *mut c_void,
        bytes: usize,
        timeout_ns: u64,
        done: *mut usize,
    ) -> isize;
    pub safe fn mj_write(fd: c_int, buffer: *const c_void, bytes: usize, timeout_ns: u64) -> isize;
    pub safe fn mj_write_all(
        fd: c_int,
        buffer: *const c_void,
        bytes: usize,
        timeout_ns: u64,
        done: *mut usize,
    ) -> c_int;
    pub safe fn mj_readv(
        fd: c_int,
        buffers: *const libc::iovec,
        buffer_count: c_int,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_writev(
        fd: c_int,
        buffers: *const libc::iovec,
        buffer_count: c_int,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        bytes: usize,
        flags: c_int,
        address: *mut libc::sockaddr,
        length: *mut c_uint,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_sendto(
        fd: c_int,
        buffer: *const c_void,
        bytes: usize,
        flags: c_int,
        address: *const libc::sockaddr,
        length: c_uint,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_recvmsg(
        fd: c_int,
        message: *mut libc::msghdr,
        flags: c_int,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_sendmsg(
        fd: c_int,
        message: *const libc::msghdr,
        flags: c_int,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_sendfile(
        fd: c_int,
        file: c_int,
        offset: *mut libc::off_t,
        bytes: usize,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_poll(fds: *mut libc::pollfd, fd_count: c_ulong, timeout_ns: u64) -> c_int;
    pub safe fn mj_listen(
        address: *const c_char,
        service: *const c_char,
        backlog: c_int,
        flags: c_uint,
    ) -> c_int;
    pub safe fn mj_close_inherited() -> c_int;
    pub safe fn mj_accept(
        listener: c_int,
        address: *mut libc::sockaddr,
        length: *mut c_uint,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_connect(
        fd: c_int,
        address: *const libc::sockaddr,
        length: c_uint,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_fd_adopt(fd: c_int) -> c_int;
    pub safe fn mj_fd_release(fd: c_int) -> c_int;
    pub safe fn mj_dial(host: *const c_char, service: *const c_char, timeout_ns: u64) -> c_int;
    pub safe fn mj_getaddrinfo(
        host: *const c_char,
        service: *const c_char,
        hints: *const libc::addrinfo,
        list: *mut *mut libc::addrinfo,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_getnameinfo(
        address: *const libc::sockaddr,
        length: c_uint,
        host: *mut c_char,
        host_bytes: c_uint,
        service: *mut c_char,
        service_bytes: c_uint,
        flags: c_int,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_open(
        path: *const c_char,
        flags: c_int,
        mode: libc::mode_t,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_pread(
        fd: c_int,
        buffer: *mut c_void,
        bytes: usize,
        offset: libc::off_t,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_pwrite(
        fd: c_int,
        buffer: *const c_void,
        bytes: usize,
        offset: libc::off_t,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_fsync(fd: c_int, timeout_ns: u64) -> c_int;
    pub safe fn mj_stat(
        path: *const c_char,
        file_status: *mut libc::stat,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_lstat(
        path: *const c_char,
        file_status: *mut libc::stat,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_unlink(path: *const c_char, timeout_ns: u64) -> c_int;
    pub safe fn mj_rename(from: *const c_char, to: *const c_char, timeout_ns: u64) -> c_int;
    pub safe fn mj_mkdir(path: *const c_char, mode: libc::mode_t, timeout_ns: u64) -> c_int;
    pub safe fn mj_rmdir(path: *const c_char, timeout_ns: u64) -> c_int;
    pub safe fn mj_list_directory(
        path: *const c_char,
        most_names: usize,
        names: *mut *mut *mut c_char,
        types: *mut *mut u8,
        name_count: *mut usize,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_file_read_all(
        path: *const c_char,
        most_bytes: usize,
        data: *mut *mut c_char,
        bytes: *mut usize,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_stream_create(
        fd: c_int,
        read_bytes: usize,
        write_bytes: usize,
    ) -> *mut mj_stream;
    pub safe fn mj_stream_read(
        stream: *mut mj_stream,
        buffer: *mut c_void,
        bytes: usize,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_stream_read_exact(
        stream: *mut mj_stream,
        buffer: *mut c_void,
        bytes: usize,
        timeout_ns: u64,
        done: *mut usize,
    ) -> isize;
    pub safe fn mj_stream_read_line(
        stream: *mut mj_stream,
        line: *mut *mut c_char,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_stream_read_until(
        stream: *mut mj_stream,
        delimiter: c_int,
        text: *mut *mut c_char,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_stream_peek(
        stream: *mut mj_stream,
        at_least: usize,
        data: *mut *mut c_char,
        timeout_ns: u64,
    ) -> isize;
    pub safe fn mj_stream_skip(stream: *mut mj_stream, bytes: usize) -> c_int;
    pub safe fn mj_stream_write(
        stream: *mut mj_stream,
        data: *const c_void,
        bytes: usize,
        timeout_ns: u64,
        done: *mut usize,
    ) -> c_int;
    pub safe fn mj_stream_flush(stream: *mut mj_stream, timeout_ns: u64) -> c_int;
    pub safe fn mj_stream_shutdown(stream: *mut mj_stream, how: c_int, timeout_ns: u64) -> c_int;
    pub safe fn mj_stream_close(stream: *mut mj_stream, timeout_ns: u64) -> c_int;
    pub safe fn mj_stream_destroy(stream: *mut mj_stream) -> c_int;
    pub safe fn mj_stream_fd(stream: *const mj_stream) -> c_int;
    pub safe fn mj_process_spawn(
        arguments: *mut *const c_char,
        options: *const mj_process_options,
    ) -> *mut mj_process;
    pub safe fn mj_process_pid(process: *const mj_process) -> c_int;
    pub safe fn mj_process_take_pipe(process: *mut mj_process, descriptor: c_int) -> c_int;
    pub safe fn mj_process_wait(
        process: *mut mj_process,
        status: *mut c_int,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_process_kill(process: *mut mj_process, signal: c_int) -> c_int;
    pub safe fn mj_process_end(
        process: *mut mj_process,
        grace_ns: u64,
        status: *mut c_int,
    ) -> c_int;
    pub safe fn mj_process_let_go(process: *mut mj_process) -> c_int;
    pub safe fn mj_process_hand_over(
        arguments: *mut *const c_char,
        options: *const mj_process_options,
        listeners: *const c_int,
        count: usize,
        timeout_ns: u64,
        process: *mut *mut mj_process,
    ) -> c_int;
    pub safe fn mj_notify(state: *const c_char) -> c_int;
    pub safe fn mj_chan_create(
        scheduler: *mut mj_scheduler,
        element_bytes: usize,
        capacity: usize,
    ) -> *mut mj_chan;
    pub safe fn mj_chan_destroy(chan: *mut mj_chan) -> c_int;
    pub safe fn mj_chan_send(chan: *mut mj_chan, element: *const c_void, timeout_ns: u64) -> c_int;
    pub safe fn mj_chan_recv(chan: *mut mj_chan, element: *mut c_void, timeout_ns: u64) -> c_int;
    pub safe fn mj_chan_try_send(chan: *mut mj_chan, element: *const c_void) -> c_int;
    pub safe fn mj_chan_try_recv(chan: *mut mj_chan, element: *mut c_void) -> c_int;
    pub safe fn mj_chan_close(chan: *mut mj_chan) -> c_int;
    pub safe fn mj_chan_length(chan: *const mj_chan) -> usize;
    pub safe fn mj_xchan_create(element_bytes: usize, capacity: usize) -> *mut mj_xchan;
    pub safe fn mj_xchan_retain(xchan: *mut mj_xchan) -> *mut mj_xchan;
    pub safe fn mj_xchan_release(xchan: *mut mj_xchan);
    pub safe fn mj_xchan_send(
        xchan: *mut mj_xchan,
        element: *const c_void,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_xchan_recv(xchan: *mut mj_xchan, element: *mut c_void, timeout_ns: u64)
    -> c_int;
    pub safe fn mj_xchan_try_send(xchan: *mut mj_xchan, element: *const c_void) -> c_int;
    pub safe fn mj_xchan_try_recv(xchan: *mut mj_xchan, element: *mut c_void) -> c_int;
    pub safe fn mj_xchan_close(xchan: *mut mj_xchan) -> c_int;
    pub safe fn mj_xchan_length(xchan: *const mj_xchan) -> usize;
    pub safe fn mj_select(cases: *mut mj_select_case, count: usize, timeout_ns: u64) -> c_int;
    pub safe fn mj_try_select(cases: *mut mj_select_case, count: usize) -> c_int;
    pub safe fn mj_mutex_create(scheduler: *mut mj_scheduler) -> *mut mj_mutex;
    pub safe fn mj_mutex_destroy(mutex: *mut mj_mutex) -> c_int;
    pub safe fn mj_mutex_lock(mutex: *mut mj_mutex, timeout_ns: u64) -> c_int;
    pub safe fn mj_mutex_try_lock(mutex: *mut mj_mutex) -> c_int;
    pub safe fn mj_mutex_unlock(mutex: *mut mj_mutex) -> c_int;
    pub safe fn mj_cond_create(scheduler: *mut mj_scheduler) -> *mut mj_cond;
    pub safe fn mj_cond_destroy(cond: *mut mj_cond) -> c_int;
    pub safe fn mj_cond_wait(cond: *mut mj_cond, mutex: *mut mj_mutex, timeout_ns: u64) -> c_int;
    pub safe fn mj_cond_signal(cond: *mut mj_cond) -> c_int;
    pub safe fn mj_cond_broadcast(cond: *mut mj_cond) -> c_int;
    pub safe fn mj_sem_create(scheduler: *mut mj_scheduler, permits: u32) -> *mut mj_sem;
    pub safe fn mj_sem_destroy(sem: *mut mj_sem) -> c_int;
    pub safe fn mj_sem_acquire(sem: *mut mj_sem, permits: u32, timeout_ns: u64) -> c_int;
    pub safe fn mj_sem_try_acquire(sem: *mut mj_sem, permits: u32) -> c_int;
    pub safe fn mj_sem_release(sem: *mut mj_sem, permits: u32) -> c_int;
    pub safe fn mj_sem_available(sem: *const mj_sem) -> u32;
    pub safe fn mj_waitgroup_create(scheduler: *mut mj_scheduler) -> *mut mj_waitgroup;
    pub safe fn mj_waitgroup_destroy(group: *mut mj_waitgroup) -> c_int;
    pub safe fn mj_waitgroup_add(group: *mut mj_waitgroup, count: usize) -> c_int;
    pub safe fn mj_waitgroup_done(group: *mut mj_waitgroup) -> c_int;
    pub safe fn mj_waitgroup_wait(group: *mut mj_waitgroup, timeout_ns: u64) -> c_int;
    pub safe fn mj_group_create(scheduler: *mut mj_scheduler, limit: usize) -> *mut mj_group;
    pub safe fn mj_group_destroy(group: *mut mj_group) -> c_int;
    pub safe fn mj_group_set_fail_fast(group: *mut mj_group, fail_fast: bool) -> c_int;
    pub safe fn mj_group_go(
        group: *mut mj_group,
        function: Option<mj_group_fn>,
        argument: *mut c_void,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_group_try_go(
        group: *mut mj_group,
        function: Option<mj_group_fn>,
        argument: *mut c_void,
    ) -> c_int;
    pub safe fn mj_group_wait(group: *mut mj_group, timeout_ns: u64) -> c_int;
    pub safe fn mj_group_cancel(group: *mut mj_group) -> c_int;
    pub safe fn mj_group_end(group: *mut mj_group, grace_ns: u64) -> c_int;
    pub safe fn mj_group_error(group: *const mj_group) -> c_int;
    pub safe fn mj_group_count(group: *const mj_group) -> usize;
    pub safe fn mj_cluster_create(options: *const mj_cluster_options) -> *mut mj_cluster;
    pub safe fn mj_cluster_destroy(cluster: *mut mj_cluster) -> c_int;
    pub safe fn mj_cluster_start(cluster: *mut mj_cluster) -> c_int;
    pub safe fn mj_cluster_join(cluster: *mut mj_cluster) -> c_int;
    pub safe fn mj_cluster_run(cluster: *mut mj_cluster, grace_ns: u64) -> c_int;
    pub safe fn mj_cluster_stop(cluster: *mut mj_cluster, grace_ns: u64) -> c_int;
    pub safe fn mj_cluster_signal(cluster: *const mj_cluster) -> c_int;
    pub safe fn mj_cluster_size(cluster: *const mj_cluster) -> usize;
    pub safe fn mj_cluster_here(cluster: *const mj_cluster) -> c_int;
    pub safe fn mj_cluster_remote(cluster: *mut mj_cluster, core: usize) -> *mut mj_remote;
    pub safe fn mj_cluster_load(cluster: *const mj_cluster, core: usize) -> usize;
    pub safe fn mj_cluster_next(cluster: *mut mj_cluster) -> usize;
    pub safe fn mj_cluster_least_loaded(cluster: *mut mj_cluster) -> usize;
    pub safe fn mj_cluster_of_key(cluster: *const mj_cluster, key: u64) -> usize;
    pub safe fn mj_cluster_go(
        cluster: *mut mj_cluster,
        core: usize,
        function: Option<mj_go_fn>,
        argument: *mut c_void,
        abandon: Option<mj_abandon_fn>,
    ) -> c_int;
    pub safe fn mj_cluster_call(
        cluster: *mut mj_cluster,
        core: usize,
        function: Option<mj_group_fn>,
        argument: *mut c_void,
        timeout_ns: u64,
        result: *mut c_int,
    ) -> c_int;
    pub safe fn mj_cluster_group_go(
        cluster: *mut mj_cluster,
        core: usize,
        group: *mut mj_group,
        function: Option<mj_group_fn>,
        argument: *mut c_void,
        timeout_ns: u64,
    ) -> c_int;
    pub safe fn mj_cluster_listen(
        cluster: *mut mj_cluster,
        address: *const c_char,
        service: *const c_char,
        what: *const mj_service,
    ) -> c_int;
    pub safe fn mj_cluster_listeners(
        cluster: *const mj_cluster,
        fds: *mut c_int,
        capacity: usize,
    ) -> c_int;
    pub safe fn mj_scheduler_set_stack_size(
        scheduler: *mut mj_scheduler,
        stack_bytes: usize,
    ) -> c_int;
    pub safe fn mj_task_set_stack_size(task: *mut mj_task, stack_bytes: usize) -> c_int;
    pub safe fn mj_scheduler_set_guard_size(
        scheduler: *mut mj_scheduler,
        guard_bytes: usize,
    ) -> c_int;
    pub safe fn mj_task_stack_used(task: *const mj_task) -> usize;
    pub safe fn mj_task_stack_bounds(
        task: *const mj_task,
        lowest: *mut *mut c_void,
        bytes: *mut usize,
    ) -> c_int;
    pub safe fn mj_scheduler_set_overflow_report(
        scheduler: *mut mj_scheduler,
        report: bool,
    ) -> c_int;
    pub safe fn mj_scheduler_report_long_turns(scheduler: *mut mj_scheduler, ns: u64) -> c_int;
    pub safe fn mj_set_long_turn_signal(signal: c_int) -> c_int;
    pub safe fn mj_log(level: mj_log_level, format: *const c_char, ...);
    pub safe fn mj_vlog(level: mj_log_level, format: *const c_char, arguments: va_list);
    pub safe fn mj_log_set_level(level: mj_log_level);
    pub safe fn mj_log_enabled(level: mj_log_level) -> bool;
    pub safe fn mj_log_set_callback(callback: Option<mj_log_callback>, user_data: *mut c_void);
    pub safe fn mj_log_set_config(logger: *const mj_logger) -> c_int;
    pub safe fn mj_log_get_config(logger: *mut mj_logger);
    pub safe fn mj_log_to_stderr() -> c_int;
    pub safe fn mj_log_to_file(path: *const c_char) -> c_int;
    pub safe fn mj_log_reopen() -> c_int;
    pub safe fn mj_log_to_syslog(ident: *const c_char) -> c_int;
    pub safe fn mj_log_dropped() -> u64;
    pub safe fn mj_log_set_escape(escape: bool);
    pub safe fn mj_scheduler_get_metrics(scheduler: *mut mj_scheduler) -> *const mj_metrics;
    pub safe fn mj_remote_metrics(
        remote: *mut mj_remote,
        metrics: *mut mj_metrics,
        bytes: usize,
    ) -> c_int;
    pub safe fn mj_scheduler_reset_metrics(scheduler: *mut mj_scheduler);
    pub safe fn mj_scheduler_print_metrics(scheduler: *mut mj_scheduler, out: *mut libc::FILE);
    pub safe fn mj_scheduler_write_metrics(
        scheduler: *mut mj_scheduler,
        buffer: *mut c_char,
        buffer_bytes: usize,
        format: mj_metrics_format,
    ) -> c_int;
    pub safe fn mj_remote_write_metrics(
        remote: *mut mj_remote,
        buffer: *mut c_char,
        buffer_bytes: usize,
        format: mj_metrics_format,
    ) -> c_int;
    pub safe fn mj_cluster_write_metrics(
        cluster: *mut mj_cluster,
        buffer: *mut c_char,
        buffer_bytes: usize,
        format: mj_metrics_format,
    ) -> c_int;
    pub safe fn mj_scheduler_dump(scheduler: *mut mj_scheduler, out: *mut libc::FILE);
    pub safe fn mj_scheduler_dump_on_signal(scheduler: *mut mj_scheduler, signal: c_int) -> c_int;
    pub safe fn mj_scheduler_trace(scheduler: *mut mj_scheduler, events: usize) -> c_int;
    pub safe fn mj_scheduler_write_trace(
        scheduler: *mut mj_scheduler,
        out: *mut libc::FILE,
    ) -> c_int;
    pub safe fn mj_scheduler_set_wait_func(
        scheduler: *mut mj_scheduler,
        function: Option<mj_wait_fn>,
        user_data: *mut c_void,
    );
    pub safe fn mj_wait_epoll(
        scheduler: *mut mj_scheduler,
        timeout_ns: u64,
        user_data: *mut c_void,
    ) -> c_int;
    pub safe fn mj_wait_poll(
        scheduler: *mut mj_scheduler,
        timeout_ns: u64,
        user_data: *mut c_void,
    ) -> c_int;
    pub safe fn mj_wait_nanosleep(
        scheduler: *mut mj_scheduler,
        timeout_ns: u64,
        user_data: *mut c_void,
    ) -> c_int;
    pub safe fn mj_scheduler_backend_fd(scheduler: *mut mj_scheduler) -> c_int;
    pub safe fn mj_scheduler_enqueue(scheduler: *mut mj_scheduler, task: *mut mj_task) -> c_int;
    pub safe fn mj_scheduler_dequeue(scheduler: *mut mj_scheduler) -> *mut mj_task;
    pub safe fn mj_scheduler_set_clock(
        scheduler: *mut mj_scheduler,
        clock: Option<mj_clock_fn>,
        user_data: *mut c_void,
    ) -> c_int;
    pub safe fn mj_scheduler_now_ns(scheduler: *mut mj_scheduler) -> u64;
}

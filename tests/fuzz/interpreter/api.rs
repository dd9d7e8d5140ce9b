//! The public interface as `include/majjen.h` declares it: what of it the interpreter calls.
#![allow(non_camel_case_types)] // C's names.

use std::ffi::{c_char, c_int, c_short, c_void};

pub const SLEEPING: u32 = 1;
pub const WAITING_IO: u32 = 2;
pub const EXITED: u32 = 3;

pub const WARN: u32 = 3;

pub type Body = unsafe extern "C" fn(*mut mj_scheduler, *mut c_void);
pub type Wait = unsafe extern "C" fn(*mut mj_scheduler, u64, *mut c_void) -> c_int;
pub type Clock = unsafe extern "C" fn(*mut c_void) -> u64;
pub type LogCallback = unsafe extern "C" fn(u32, *const c_char, *mut c_void);

#[repr(C)]
pub struct mj_task {
    pub task_function: Option<Body>,
    pub user_state: *mut c_void,
    pub state: u32,
    pub wake_time_ns: u64,
    pub heap_index: usize,
    pub next: *mut mj_task,
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
}

#[repr(C)]
pub struct mj_scheduler {
    pub runnable_head: *mut mj_task,
    pub runnable_tail: *mut mj_task,
    pub runnable_count: usize,
    pub timer_heap: *mut *mut mj_task,
    pub timer_count: usize,
    pub timer_capacity: usize,
    pub current_task: *mut mj_task,
    pub wait_func: Option<Wait>,
    pub wait_data: *mut c_void,
    pub metrics: mj_metrics,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct mj_chan_case {
    pub chan: *mut c_void,
    pub op: u32,
    pub result: c_int,
    pub element: *mut c_void,
    pub reserved: [*mut c_void; 3],
}

#[repr(C)]
pub struct mj_logger {
    pub min_level: u32,
    pub callback: Option<LogCallback>,
    pub user_data: *mut c_void,
    pub include_time: bool,
    pub include_level: bool,
}

// SAFETY: the declarations are the header's, and `c-tests/abi` checks the layouts. What makes every
// call safe is the rule by which the interpreter chooses arguments: a pointer is NULL or to an
// object that the model knows to be alive, or the header says that it may be any address.
unsafe extern "C" {
    pub safe fn mj_scheduler_create() -> *mut mj_scheduler;
    pub safe fn setup_scheduler_with_epoll() -> *mut mj_scheduler;
    pub safe fn mj_scheduler_report_overflow(scheduler: *mut mj_scheduler, report: bool) -> c_int;
    pub safe fn mj_scheduler_destroy(scheduler: *mut mj_scheduler);
    pub safe fn mj_scheduler_run(scheduler: *mut mj_scheduler);
    pub safe fn mj_scheduler_stop(scheduler: *mut mj_scheduler) -> c_int;
    pub safe fn mj_scheduler_current() -> *mut mj_scheduler;
    pub safe fn mj_scheduler_enqueue(scheduler: *mut mj_scheduler, task: *mut mj_task) -> c_int;
    pub safe fn mj_scheduler_dequeue(scheduler: *mut mj_scheduler) -> *mut mj_task;
    pub safe fn mj_scheduler_set_stack_size(scheduler: *mut mj_scheduler, bytes: usize) -> c_int;
    pub safe fn mj_scheduler_backend_fd(scheduler: *mut mj_scheduler) -> c_int;
    pub safe fn mj_scheduler_now_ns(scheduler: *mut mj_scheduler) -> u64;
    pub safe fn mj_scheduler_set_clock(
        scheduler: *mut mj_scheduler,
        clock: Option<Clock>,
        user_data: *mut c_void,
    ) -> c_int;
    pub safe fn mj_scheduler_set_wait_func(
        scheduler: *mut mj_scheduler,
        function: Option<Wait>,
        user_data: *mut c_void,
    );
    pub safe fn mj_wait_epoll(s: *mut mj_scheduler, timeout_ns: u64, data: *mut c_void) -> c_int;
    pub safe fn mj_wait_poll(s: *mut mj_scheduler, timeout_ns: u64, data: *mut c_void) -> c_int;
    pub safe fn mj_wait_nanosleep(s: *mut mj_scheduler, ns: u64, data: *mut c_void) -> c_int;

    pub safe fn mj_create_task(
        scheduler: *mut mj_scheduler,
        body: Option<Body>,
        user_state: *mut c_void,
    ) -> *mut mj_task;
    pub safe fn mj_task_set_stack_size(task: *mut mj_task, stack_bytes: usize) -> c_int;
    pub safe fn mj_task_stack_used(task: *const mj_task) -> usize;
    pub safe fn mj_task_exit();
    pub safe fn mj_task_current() -> *mut mj_task;
    pub safe fn mj_task_get_id(task: *const mj_task) -> u64;
    pub safe fn mj_task_find(scheduler: *mut mj_scheduler, id: u64) -> *mut mj_task;
    pub safe fn mj_task_wake(task: *mut mj_task) -> c_int;
    pub safe fn mj_task_cancel(task: *mut mj_task) -> c_int;
    pub safe fn mj_task_set_name(task: *mut mj_task, name: *const c_char) -> c_int;
    pub safe fn mj_task_name(task: *const mj_task) -> *const c_char;

    pub safe fn mj_task_yield();
    pub safe fn mj_task_yield_now() -> c_int;
    pub safe fn mj_task_sleep_ns(nanoseconds: u64);
    pub safe fn mj_task_sleep_for(nanoseconds: u64) -> c_int;
    pub safe fn mj_task_sleep_until_ns(deadline_ns: u64) -> c_int;
    pub safe fn mj_task_park(timeout_ns: u64) -> c_int;
    pub safe fn mj_task_wait_readable(fd: c_int);
    pub safe fn mj_task_wait_writable(fd: c_int) -> c_int;
    pub safe fn mj_task_wait_fd(fd: c_int, events: c_short, timeout_ns: u64) -> c_int;
    pub safe fn mj_task_join(id: u64, timeout_ns: u64) -> c_int;
    pub safe fn mj_fd_close(fd: c_int) -> c_int;

    pub safe fn mj_scheduler_get_metrics(scheduler: *mut mj_scheduler) -> *const mj_metrics;
    pub safe fn mj_scheduler_reset_metrics(scheduler: *mut mj_scheduler);
    pub safe fn mj_scheduler_print_metrics(scheduler: *mut mj_scheduler, out: *mut libc::FILE);
    pub safe fn mj_scheduler_write_metrics(
        scheduler: *mut mj_scheduler,
        buffer: *mut c_char,
        buffer_bytes: usize,
        format: u32,
    ) -> c_int;
    pub safe fn mj_scheduler_dump(scheduler: *mut mj_scheduler, out: *mut libc::FILE);

    pub safe fn mj_mutex_create(scheduler: *mut mj_scheduler) -> *mut c_void;
    pub safe fn mj_mutex_destroy(mutex: *mut c_void) -> c_int;
    pub safe fn mj_mutex_lock(mutex: *mut c_void, timeout_ns: u64) -> c_int;
    pub safe fn mj_mutex_try_lock(mutex: *mut c_void) -> c_int;
    pub safe fn mj_mutex_unlock(mutex: *mut c_void) -> c_int;
    pub safe fn mj_cond_create(scheduler: *mut mj_scheduler) -> *mut c_void;
    pub safe fn mj_cond_destroy(cond: *mut c_void) -> c_int;
    pub safe fn mj_cond_wait(cond: *mut c_void, mutex: *mut c_void, timeout_ns: u64) -> c_int;
    pub safe fn mj_cond_signal(cond: *mut c_void) -> c_int;
    pub safe fn mj_cond_broadcast(cond: *mut c_void) -> c_int;
    pub safe fn mj_semaphore_create(scheduler: *mut mj_scheduler, permits: u32) -> *mut c_void;
    pub safe fn mj_semaphore_destroy(semaphore: *mut c_void) -> c_int;
    pub safe fn mj_semaphore_acquire(semaphore: *mut c_void, permits: u32, limit_ns: u64) -> c_int;
    pub safe fn mj_semaphore_try_acquire(semaphore: *mut c_void, permits: u32) -> c_int;
    pub safe fn mj_semaphore_release(semaphore: *mut c_void, permits: u32) -> c_int;
    pub safe fn mj_semaphore_available(semaphore: *const c_void) -> u32;
    pub safe fn mj_waitgroup_create(scheduler: *mut mj_scheduler) -> *mut c_void;
    pub safe fn mj_waitgroup_destroy(group: *mut c_void) -> c_int;
    pub safe fn mj_waitgroup_add(group: *mut c_void, count: usize) -> c_int;
    pub safe fn mj_waitgroup_done(group: *mut c_void) -> c_int;
    pub safe fn mj_waitgroup_wait(group: *mut c_void, timeout_ns: u64) -> c_int;
    pub safe fn mj_chan_create(
        scheduler: *mut mj_scheduler,
        element_bytes: usize,
        capacity: usize,
    ) -> *mut c_void;
    pub safe fn mj_chan_destroy(chan: *mut c_void) -> c_int;
    pub safe fn mj_chan_send(chan: *mut c_void, element: *const c_void, timeout_ns: u64) -> c_int;
    pub safe fn mj_chan_recv(chan: *mut c_void, element: *mut c_void, timeout_ns: u64) -> c_int;
    pub safe fn mj_chan_try_send(chan: *mut c_void, element: *const c_void) -> c_int;
    pub safe fn mj_chan_try_recv(chan: *mut c_void, element: *mut c_void) -> c_int;
    pub safe fn mj_chan_close(chan: *mut c_void) -> c_int;
    pub safe fn mj_chan_length(chan: *const c_void) -> usize;
    pub safe fn mj_chan_select(cases: *mut mj_chan_case, count: usize, timeout_ns: u64) -> c_int;
    pub safe fn mj_chan_try_select(cases: *mut mj_chan_case, count: usize) -> c_int;

    pub safe fn mj_log(level: u32, format: *const c_char, ...);
    pub safe fn mj_log_set_level(level: u32);
    pub safe fn mj_log_enabled(level: u32) -> bool;
    pub safe fn mj_log_set_callback(callback: Option<LogCallback>, user_data: *mut c_void);
    pub safe fn mj_log_configure(logger: *const mj_logger) -> c_int;
    pub safe fn mj_log_get_config(logger: *mut mj_logger);
}

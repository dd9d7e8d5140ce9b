//! The types as C sees them: the source of the header, and nothing else uses their fields.
//!
//! `mj_task` and `mj_scheduler` are the first bytes of [`Task`] and [`Scheduler`]; the assertions
//! at the end hold the two descriptions together.
#![allow(non_camel_case_types, clippy::upper_case_acronyms)] // C's names.
#![allow(dead_code)] // Some only C uses.

use std::ffi::{c_char, c_int, c_short, c_void};
use std::mem::{align_of, offset_of, size_of};

use crate::engine::log::Level;
use crate::engine::measure::Metrics;
use crate::engine::scheduler::Scheduler;
use crate::engine::sync::{
    Case, DEADLINE, DESCRIPTOR, Operation, REMOTE_RECEIVE, REMOTE_SEND, TASK,
};
use crate::engine::task::{State, Task};

/// A function type, which Rust has no name for: only pointers to it are used.
#[repr(C)]
pub struct mj_task_fn([u8; 0]);

/// C's stream, opaque here.
#[repr(C)]
pub struct FILE([u8; 0]);

/// `mj_task_state` in C.
pub type TaskStateInt = u32;

/// `mj_log_level` in C.
pub type LogLevelInt = u32;

/// Identifies a task for ever: no other task of its scheduler has it, before or after. 0 is no
/// task.
pub type mj_task_id = u64;

/// What a task is doing.
#[repr(C)]
pub enum mj_task_state {
    /// Running, or ready to run and in the run queue.
    MJ_TASK_RUNNABLE,
    /// Parked until its timer expires.
    MJ_TASK_SLEEPING,
    /// Parked until a descriptor, a channel, a mutex or another object is ready, or a task ends;
    /// perhaps also with a time limit.
    MJ_TASK_WAITING_IO,
    /// Marked by mj_task_exit(), or ended.
    MJ_TASK_EXITED,
}

/// One task. Created by mj_create_task() and owned by its scheduler: it ends when its body returns
/// after mj_task_exit(), and its memory is then used for later tasks, so keep no pointer past that,
/// but its id. Only the scheduler's thread may touch it. Read the fields freely; write only
/// `user_state`, and `state` from within the task's own body.
#[repr(C)]
pub struct mj_task {
    /// The body.
    pub task_function: *mut mj_task_fn,
    /// The body's argument, from malloc(). Released with free() when the task ends.
    pub user_state: *mut c_void,
    /// What the task is doing. A body that sets SLEEPING or WAITING_IO and returns stays parked
    /// until mj_scheduler_enqueue(), and is then called again from the top.
    pub state: TaskStateInt,
    /// When a sleeping task wakes: nanoseconds of CLOCK_MONOTONIC.
    pub wake_time_ns: u64,
    /// The task's index in the scheduler's `timer_heap`; SIZE_MAX when it has no timer.
    pub heap_index: usize,
    /// The task behind this one in the run queue.
    pub next: *mut mj_task,
}

/// Counters since mj_scheduler_create() or mj_scheduler_reset_metrics(). Times are nanoseconds.
#[repr(C)]
pub struct mj_metrics {
    /// Turns that tasks have had: a task is given the thread once for each.
    pub task_executions: u64,
    /// The sum of the time of all turns.
    pub total_execution_time_ns: u64,
    /// The shortest turn; 0 before the first.
    pub min_execution_time_ns: u64,
    /// The longest turn.
    pub max_execution_time_ns: u64,
    /// Iterations of the loop in mj_scheduler_run().
    pub scheduler_loops: u64,
    /// Time spent in mj_scheduler_run().
    pub total_loop_time_ns: u64,
    /// Timers that expired and woke a task.
    pub timer_expirations: u64,
    /// Timers that ended early, because the task was made runnable before.
    pub timer_cancellations: u64,
    /// Calls of the wait function.
    pub wait_calls: u64,
    /// Time spent in the wait function.
    pub total_wait_time_ns: u64,
    /// Descriptor events that woke a task.
    pub io_events: u64,
    /// Tasks created.
    pub tasks_created: u64,
    /// Tasks ended.
    pub tasks_exited: u64,
    /// Tasks alive now. A reset leaves it as it is.
    pub current_tasks: u64,
    /// The most tasks alive at one time. A reset makes it `current_tasks`.
    pub peak_tasks: u64,
    /// Insertions into and removals from the timer heap.
    pub heap_operations: u64,
    /// Bytes of heap memory the scheduler holds: tasks, queues and tables, not stacks. A reset
    /// leaves it as it is.
    pub memory_allocated_bytes: usize,
    /// Turns that have been found to take longer than the limit of
    /// mj_scheduler_report_long_turns().
    pub long_turns: u64,
}

/// Waits until something may have happened. The loop of a run calls it on the thread's own stack,
/// so it may block but cannot suspend. `timeout_ns` is the longest it may wait: MJ_FOREVER without
/// limit, 0 to look and return at once, which is asked every so often while tasks are ready or the
/// library has something else to do. It may return early for no reason, may call
/// mj_scheduler_enqueue(), and must return when mj_scheduler_backend_fd() is readable. A C++
/// exception that would leave it calls std::terminate(), after a line on stderr.
///
/// Returns the number of events, 0 for none, or -1, which is logged and ends nothing.
pub type mj_wait_fn = Option<
    unsafe extern "C" fn(
        scheduler: *mut mj_scheduler,
        timeout_ns: u64,
        user_data: *mut c_void,
    ) -> c_int,
>;

/// What mj_go() runs as a task. A C++ exception that would leave it calls std::terminate(), as if it
/// were noexcept, after a line on stderr.
pub type mj_go_fn = Option<unsafe extern "C-unwind" fn(argument: *mut c_void)>;

/// What mj_task_defer() has called when the task ends. A C++ exception that would leave it calls
/// std::terminate(), as if it were noexcept, after a line on stderr.
pub type mj_defer_fn = Option<unsafe extern "C" fn(argument: *mut c_void)>;

/// A key of task-local values, from mj_task_key_create(); 0 is none.
pub type mj_task_key = u32;

/// What destroys a task's value, which is not NULL, at its end; as mj_defer_fn.
pub type mj_destroy_fn = Option<unsafe extern "C" fn(value: *mut c_void)>;

/// What makes the value of a new task of that of the task which makes it, which is not NULL; NULL for none. A
/// C++ exception that would leave it calls std::terminate(), as if it were noexcept, after a line on stderr.
pub type mj_inherit_fn = Option<unsafe extern "C" fn(value: *mut c_void) -> *mut c_void>;

/// What mj_post() and mj_offload() call with the argument of a function that will not be called, or for whose
/// end nobody waits any more, so that it can be released. It must not suspend. A C++ exception that would
/// leave it calls std::terminate(), after a line on stderr.
pub type mj_abandon_fn = Option<unsafe extern "C" fn(argument: *mut c_void)>;

/// What mj_offload() runs, on a thread of the library. A C++ exception that would leave it calls
/// std::terminate(), after a line on stderr.
pub type mj_offload_fn = Option<unsafe extern "C" fn(argument: *mut c_void)>;

/// What kind of function mj_offload_in() is given.
#[repr(C)]
pub enum mj_offload_class {
    /// It computes.
    MJ_OFFLOAD_CPU = 0,
    /// It waits for files, or for anything else: it blocks.
    MJ_OFFLOAD_FILE = 1,
    /// It waits for names to be resolved.
    MJ_OFFLOAD_DNS = 2,
}

/// `mj_offload_class` in C.
pub type OffloadClassInt = u32;

/// What a class of functions does at the moment. See mj_offload_get_counts().
#[repr(C)]
pub struct mj_offload_counts {
    /// Threads.
    pub threads: u64,
    /// Those of them that have nothing to do.
    pub idle: u64,
    /// Functions that wait for a thread.
    pub queued: u64,
    /// Functions that run on threads of the class.
    pub running: u64,
    /// Functions that were given to the loops of their schedulers since the process began, because there was
    /// no thread to be had.
    pub ran_in_loop: u64,
}

/// A clock for sleeps and time limits: returns nanoseconds since any fixed moment, never less than
/// before. UINT64_MAX, which stands for never, counts as one less. It is called often, in the middle
/// of other calls, so it must not suspend, nor release what these use. A C++ exception that would
/// leave it calls std::terminate(), after a line on stderr. See mj_scheduler_set_clock().
pub type mj_clock_fn = Option<unsafe extern "C" fn(user_data: *mut c_void) -> u64>;

/// How mj_scheduler_write_metrics() writes.
#[repr(C)]
pub enum mj_metrics_format {
    /// The block of mj_scheduler_print_metrics(), and a line for each distribution.
    MJ_METRICS_TEXT = 0,
    /// Prometheus' text format.
    MJ_METRICS_PROMETHEUS = 1,
    /// One JSON object and a newline.
    MJ_METRICS_JSON = 2,
}

/// `mj_metrics_format` in C.
pub type MetricsFormatInt = u32;

/// One scheduler: a run queue, a timer heap, and the loop over them. The fields are the real queue
/// and heap, for reading; only `metrics.io_events` is also meant to be written, by wait functions
/// that enqueue tasks themselves.
#[repr(C)]
pub struct mj_scheduler {
    /// The task that runs next, NULL when none is ready.
    pub runnable_head: *mut mj_task,
    /// The task that runs last.
    pub runnable_tail: *mut mj_task,
    /// How many tasks are in the run queue.
    pub runnable_count: usize,
    /// The sleeping tasks as a heap of `timer_count` entries, four children to each: the first one
    /// wakes first.
    pub timer_heap: *mut *mut mj_task,
    /// How many tasks have a timer.
    pub timer_count: usize,
    /// How many entries `timer_heap` has room for.
    pub timer_capacity: usize,
    /// The task that is running, NULL between tasks.
    pub current_task: *mut mj_task,
    /// The wait function, NULL for the built-in one.
    pub wait_func: mj_wait_fn,
    /// The wait function's last argument.
    pub wait_data: *mut c_void,
    /// Up to date after mj_scheduler_get_metrics(), before each wait and after
    /// mj_scheduler_run(); in between, the execution and loop times lag.
    pub metrics: mj_metrics,
}

/// A handle to a scheduler that outlives it, for other threads: they hand it work by mj_post(), wake
/// and cancel its tasks, read its counters, and stop it. See mj_scheduler_remote().
pub struct mj_remote {
    _private: [u8; 0],
}

/// A post in memory of the caller's, for mj_post_with_node(), which sets its fields. It must keep its
/// address, and nobody may touch it, from an accepted post until `function` or `abandon` is called with
/// the argument: then it is the caller's again, and may be posted once more, or freed.
#[repr(C)]
pub struct mj_post_node {
    /// The library's.
    pub internal: [*mut c_void; 7],
}

/// A mutex. See mj_mutex_create().
pub struct mj_mutex {
    _private: [u8; 0],
}

/// A condition variable. See mj_cond_create().
pub struct mj_cond {
    _private: [u8; 0],
}

/// A counting semaphore. See mj_sem_create().
pub struct mj_sem {
    _private: [u8; 0],
}

/// A wait group: a counter that tasks wait for to become 0. See mj_waitgroup_create().
pub struct mj_waitgroup {
    _private: [u8; 0],
}

/// A group: tasks that belong together. See mj_group_create().
pub struct mj_group {
    _private: [u8; 0],
}

/// The function of a member of a group. What it returns is 0, or a failure, as it likes. A C++ exception that
/// would leave it calls std::terminate(), as if it were noexcept, after a line on stderr.
pub type mj_group_fn = Option<unsafe extern "C-unwind" fn(argument: *mut c_void) -> c_int>;

/// A channel: a queue of elements of one size. See mj_chan_create().
pub struct mj_chan {
    _private: [u8; 0],
}

/// A channel between threads. See mj_xchan_create().
pub struct mj_xchan {
    _private: [u8; 0],
}

/// A stream: a descriptor that it owns, with a buffer for what has been read and one for what is to be
/// written. See mj_stream_create().
pub struct mj_stream {
    _private: [u8; 0],
}

/// What a case of mj_select() does.
#[repr(C)]
pub enum mj_select_op {
    /// mj_chan_send().
    MJ_SELECT_SEND = 0,
    /// mj_chan_recv().
    MJ_SELECT_RECV = 1,
    /// mj_task_wait_fd().
    MJ_SELECT_FD = 2,
    /// mj_task_join(), but that a task which has ended before is no error.
    MJ_SELECT_TASK = 3,
    /// mj_task_sleep_until_ns().
    MJ_SELECT_DEADLINE = 4,
    /// mj_xchan_send().
    MJ_SELECT_XSEND = 5,
    /// mj_xchan_recv().
    MJ_SELECT_XRECV = 6,
}

/// `mj_select_op` in C.
pub type SelectOpInt = u32;

/// One of the things that mj_select() waits for. Set the operation and what it needs, and leave the
/// rest zero:
///   {.op = MJ_SELECT_RECV, .chan = chan, .element = &value}
///   {.op = MJ_SELECT_FD, .fd = fd, .events = POLLIN}
///   {.op = MJ_SELECT_TASK, .task = id}
///   {.op = MJ_SELECT_DEADLINE, .deadline_ns = mj_deadline_after(1000000)}
///   {.op = MJ_SELECT_XRECV, .xchan = xchan, .element = &value}
/// or, in C++, `mj_select_case c{}; c.chan = chan;` and so on. Each call has cases of its own: a
/// static array is shared by all tasks, and filling it in while one waits breaks that wait.
#[repr(C)]
pub struct mj_select_case {
    /// To send to or to receive from; NULL for a case that is never ready.
    pub chan: *mut mj_chan,
    /// What to do with it.
    pub op: SelectOpInt,
    /// Of the case that was chosen: 0, or -EPIPE when the channel is closed, and nothing was sent
    /// or received; for a descriptor -EBADF when it is not open.
    pub result: c_int,
    /// The element to send, or the place to receive one in.
    pub element: *mut c_void,
    /// For MJ_SELECT_FD: the descriptor; a negative one is never ready. For that of a stream see
    /// mj_stream_fd().
    pub fd: c_int,
    /// For MJ_SELECT_FD: the events to wait for, bits of poll(2).
    pub events: c_short,
    /// For MJ_SELECT_FD: the events that happened.
    pub happened: c_short,
    /// For MJ_SELECT_TASK: the task whose end to wait for, if it lives.
    pub task: mj_task_id,
    /// For MJ_SELECT_DEADLINE: a time by mj_scheduler_now_ns(). MJ_FOREVER never comes.
    pub deadline_ns: u64,
    /// For MJ_SELECT_XSEND and MJ_SELECT_XRECV: to send to or to receive from; NULL for a case that is
    /// never ready.
    pub xchan: *mut mj_xchan,
    /// Zero.
    pub reserved: [u64; 1],
    /// The library's own.
    pub internal: [*mut c_void; 6],
}

/// The level of a log line.
#[repr(C)]
pub enum mj_log_level {
    /// Steps of the loop.
    MJ_LOG_TRACE = 0,
    /// The operations of tasks.
    MJ_LOG_DEBUG = 1,
    /// Information for operators. The default threshold.
    MJ_LOG_INFO = 2,
    /// Misuse, and possible problems.
    MJ_LOG_WARN = 3,
    /// Failures.
    MJ_LOG_ERROR = 4,
    /// Unrecoverable failures. Logging one does not end the process.
    MJ_LOG_FATAL = 5,
    /// Only for mj_log_set_level(): no line is logged.
    MJ_LOG_SILENT = 6,
}

/// Receives each logged line: the text without time stamp, level and newline, valid during the
/// call. Called on the thread that logs, with no lock held, on the task's stack if a task logs. It
/// may log: those lines go to the streams. A C++ exception that leaves it goes on to the caller of
/// mj_log() or mj_vlog(); where the line is the library's own, it calls std::terminate(), after a
/// line on stderr. The thread is not canceled in it.
pub type mj_log_callback = Option<
    unsafe extern "C-unwind" fn(level: LogLevelInt, message: *const c_char, user_data: *mut c_void),
>;

/// The logger's settings, for mj_log_set_config() and mj_log_get_config(). Every process has one
/// logger for all its threads and schedulers.
#[repr(C)]
pub struct mj_logger {
    /// Lines below this level are not written.
    pub min_level: LogLevelInt,
    /// Receives the lines; NULL when the streams, a file or the system log do.
    pub callback: mj_log_callback,
    /// The callback's last argument.
    pub user_data: *mut c_void,
    /// Whether lines on the streams and in a file begin with `[date time]`.
    pub include_time: bool,
    /// Whether lines on the streams and in a file have `[LEVEL]`.
    pub include_level: bool,
}

/// Asserts that two structs agree on the offset and size of one field, for each pair of names.
macro_rules! same_layout {
    ($c:ty, $inner:ty: $($c_field:ident = $($inner_field:ident).+),+ $(,)?) => {
        $(const _: () = assert!(
            offset_of!($c, $c_field) == offset_of!($inner, $($inner_field).+)
        );)+
    };
}

same_layout!(mj_task, Task:
    task_function = body,
    user_state = user_state,
    state = state,
    wake_time_ns = wake_time_ns,
    heap_index = heap_index,
    next = next,
);

same_layout!(mj_scheduler, Scheduler:
    runnable_head = run_queue.head,
    runnable_tail = run_queue.tail,
    runnable_count = run_queue.count,
    timer_heap = timers.slots,
    timer_count = timers.count,
    timer_capacity = timers.capacity,
    current_task = current_task,
    wait_func = wait_function,
    wait_data = wait_data,
    metrics = metrics,
);

same_layout!(mj_metrics, Metrics:
    task_executions = task_executions,
    total_execution_time_ns = total_execution_time_ns,
    min_execution_time_ns = min_execution_time_ns,
    max_execution_time_ns = max_execution_time_ns,
    scheduler_loops = scheduler_loops,
    total_loop_time_ns = total_loop_time_ns,
    timer_expirations = timer_expirations,
    timer_cancellations = timer_cancellations,
    wait_calls = wait_calls,
    total_wait_time_ns = total_wait_time_ns,
    io_events = io_events,
    tasks_created = tasks_created,
    tasks_exited = tasks_exited,
    current_tasks = current_tasks,
    peak_tasks = peak_tasks,
    heap_operations = heap_operations,
    memory_allocated_bytes = memory_allocated_bytes,
    long_turns = long_turns,
);

same_layout!(mj_select_case, Case:
    chan = channel,
    op = operation,
    result = result,
    element = element,
    fd = fd,
    events = events,
    happened = happened,
    task = task,
    deadline_ns = deadline_ns,
    xchan = remote,
    reserved = reserved,
    internal = waiting,
);

const _: () = {
    assert!(size_of::<mj_select_case>() == size_of::<Case>());
    assert!(align_of::<mj_select_case>() == align_of::<Case>());
    assert!(mj_select_op::MJ_SELECT_SEND as u32 == Operation::Send as u32);
    assert!(mj_select_op::MJ_SELECT_RECV as u32 == Operation::Receive as u32);
    assert!(mj_select_op::MJ_SELECT_FD as u32 == DESCRIPTOR);
    assert!(mj_select_op::MJ_SELECT_TASK as u32 == TASK);
    assert!(mj_select_op::MJ_SELECT_DEADLINE as u32 == DEADLINE);
    assert!(mj_select_op::MJ_SELECT_XSEND as u32 == REMOTE_SEND);
    assert!(mj_select_op::MJ_SELECT_XRECV as u32 == REMOTE_RECEIVE);
    assert!(size_of::<mj_metrics>() == size_of::<Metrics>());
    assert!(size_of::<mj_task>() <= size_of::<Task>());
    assert!(size_of::<mj_scheduler>() <= size_of::<Scheduler>());
    assert!(align_of::<mj_task>() <= align_of::<Task>());
    assert!(align_of::<mj_scheduler>() <= align_of::<Scheduler>());
    assert!(mj_task_state::MJ_TASK_RUNNABLE as u32 == State::Runnable as u32);
    assert!(mj_task_state::MJ_TASK_SLEEPING as u32 == State::Sleeping as u32);
    assert!(mj_task_state::MJ_TASK_WAITING_IO as u32 == State::WaitingIo as u32);
    assert!(mj_task_state::MJ_TASK_EXITED as u32 == State::Exited as u32);
    assert!(mj_log_level::MJ_LOG_TRACE as u32 == Level::Trace as u32);
    assert!(mj_log_level::MJ_LOG_DEBUG as u32 == Level::Debug as u32);
    assert!(mj_log_level::MJ_LOG_INFO as u32 == Level::Info as u32);
    assert!(mj_log_level::MJ_LOG_WARN as u32 == Level::Warn as u32);
    assert!(mj_log_level::MJ_LOG_ERROR as u32 == Level::Error as u32);
    assert!(mj_log_level::MJ_LOG_FATAL as u32 == Level::Fatal as u32);
    assert!(mj_log_level::MJ_LOG_SILENT as u32 == Level::Silent as u32);
};

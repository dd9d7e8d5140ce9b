//! What libmajjen-hook calls: a table, since it may belong to any copy of this library, whose names need not
//! be known outside.
//!
//! The order is that of `struct mj_hook_calls` in `hook/src/core.h`; new functions are added at the end, and
//! `bytes` says how many there are. Those that are not of the C ABI are here.

use std::ffi::{c_int, c_void};
use std::ptr::null;

use libc::{iovec, nfds_t, pollfd, ssize_t};

use super::cancel::mj_scheduler_wake;
use super::fd::{buffers, mj_sendfile, poll};
use super::offload::mj_offload_in;
use super::status;
use super::suspend::{mj_fd_close, mj_sleep_ns, mj_task_wait_fd, mj_yield};
use super::task::{mj_task_find, mj_task_get_id, mj_task_get_name};
use super::wait::mj_scheduler_now_ns;
use crate::engine::context::switch;
use crate::engine::log;
use crate::engine::scheduler::{self, HookCalls, Limit};
use crate::engine::sys::{self, Form, Result};
use crate::engine::task::{self, Task};

#[repr(C)]
struct Calls {
    bytes: usize,
    functions: [*const c_void; 17],
}

// SAFETY: addresses of functions.
unsafe impl Sync for Calls {}

static CALLS: Calls = Calls {
    bytes: size_of::<Calls>(),
    functions: [
        log::MJ_LOG,
        mj_yield as *const c_void,
        mj_sleep_ns as *const c_void,
        mj_scheduler_wake as *const c_void,
        mj_task_find as *const c_void,
        mj_task_get_id as *const c_void,
        mj_task_get_name as *const c_void,
        mj_task_wait_fd as *const c_void,
        poll_until_woken as *const c_void,
        mj_fd_close as *const c_void,
        mj_offload_in as *const c_void,
        mj_sendfile as *const c_void,
        mj_scheduler_now_ns as *const c_void,
        try_readv as *const c_void,
        try_writev as *const c_void,
        find_on_stack as *const c_void,
        wait_regardless as *const c_void,
    ],
};

/// For [`run`](crate::engine::scheduler::run).
pub const HOOK_CALLS: HookCalls = HookCalls((&raw const CALLS).cast());

/// Reads what is there, without waiting whatever the descriptor's flags are. In a task or not. `is_socket` is
/// told whether it is one.
///
/// Returns how many bytes. Errors:
///   -EAGAIN  it would have to wait, also for the time of a disk
///   and as readv(2)
unsafe extern "C" fn try_readv(
    fd: c_int,
    list: *const iovec,
    count: c_int,
    is_socket: *mut bool,
) -> ssize_t {
    let mut form = Form::default();
    // SAFETY: the library has them from a caller of readv(2), which they are good for.
    let read = unsafe { buffers(list, count) }.and_then(|buffers| {
        // SAFETY: as above.
        unsafe { sys::read_some(fd, buffers, &mut form) }
    });
    // SAFETY: a variable of the library.
    unsafe { is_socket.write(form == Form::Socket) };
    done(read)
}

/// Writes what there is room for, without waiting and without a signal.
///
/// Returns how many bytes. Errors:
///   -EAGAIN  it would have to wait, also for the time of a disk
///   and as writev(2)
unsafe extern "C" fn try_writev(fd: c_int, list: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: as in `try_readv`.
    done(unsafe { buffers(list, count) }.and_then(|buffers| {
        // SAFETY: as above.
        unsafe { sys::write_some(fd, buffers, &mut Form::default()) }
    }))
}

/// `mj_poll`, but that a wake-up ends it, as a signal ends poll(2): -EINTR.
unsafe extern "C" fn poll_until_woken(
    fds: *mut pollfd,
    fd_count: nfds_t,
    timeout_ns: u64,
) -> c_int {
    // SAFETY: the library has them from a caller of poll(2), which they are good for.
    unsafe { poll(fds, fd_count, Limit::after_ns(timeout_ns)) }
}

/// Looks for a word from `first` up to `width - 1` more in the running task's stack, from an address in it
/// on. Neither a sanitizer nor Valgrind minds what the words are.
///
/// Returns where it is, or NULL if there is none; the address itself if it is not in the task's stack.
unsafe extern "C" fn find_on_stack(from: *const usize, first: usize, width: usize) -> *const usize {
    let Some((lowest, bytes)) = task::running().and_then(Task::stack_bounds) else {
        return from;
    };
    let Some(below) = (from as usize).checked_sub(lowest as usize).filter(|below| *below < bytes)
    else {
        return from;
    };
    let count = (bytes - below) / size_of::<usize>();
    // SAFETY: between the address and the top of the stack, which is mapped.
    let word = |index: usize| unsafe { switch::read_word(from.add(index)) };
    let is_it = |word: usize| word.wrapping_sub(first) < width;
    // Each suspension of a hooked call comes through here.
    const ROW: usize = 8;
    let mut index = 0;
    while index < count {
        if !switch::on_valgrind() {
            // SAFETY: as above.
            let (from, rows) = (unsafe { from.add(index) }, (count - index) / ROW);
            // SAFETY: as above, for whole rows.
            index += ROW * unsafe { switch::rows_without(from, rows, first, width) };
        }
        for at in index..count.min(index + ROW) {
            let mut copy = word(at);
            switch::valgrind_allow_reading((&raw mut copy).cast(), size_of_val(&copy));
            // SAFETY: the variable; as Valgrind was told, what is in it is defined.
            if is_it(unsafe { (&raw const copy).read_volatile() }) {
                return from.wrapping_add(at);
            }
        }
        index += ROW;
    }
    null()
}

/// Suspends the running task until it is woken, for at most `timeout_ns`; for a call that cannot fail. Neither
/// a cancellation nor the task's deadline ends it, and a task that is marked as ended waits, too. May suspend.
///
/// Returns 0 when woken. Errors:
///   -ETIMEDOUT  nothing woke it in time
///   -ECANCELED  the scheduler is being destroyed
///   -ENOMEM     no memory for the timer; the others have had a turn
///   -EPERM      outside a task
extern "C" fn wait_regardless(timeout_ns: u64) -> c_int {
    status(scheduler::wait_regardless(timeout_ns))
}

fn done(result: Result<usize>) -> ssize_t {
    result.map_or_else(|error| error.status() as ssize_t, |count| count as ssize_t)
}

//! The calls that suspend the running task. The guide's return nothing; the others say how the wait
//! ended.

use std::ffi::{c_int, c_short};

use super::types::mj_task_id;
use super::{reported, status};
use crate::engine::log;
use crate::engine::scheduler::{self, Limit};
use crate::engine::sys::{Error, Result};
use crate::engine::time::Deadline;

/// Suspends the running task behind all others that are ready, so that each gets its turn. Returns
/// at once when the task is marked as ended. mj_yield() is the same with a result.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_yield() {
    if scheduler::yield_now() == Err(Error::NotInTask) {
        refuse_yield();
    }
}

/// Suspends the running task for at least `nanoseconds`, never less. A time past the end of the
/// clock never comes, and MJ_FOREVER is such a time: no run goes on for its sake. Ends early when
/// the task is woken, canceled or enqueued, or its deadline passes. Returns at once when the task is
/// marked as ended, and after a mere yield when it is canceled or, with an ERROR line, when memory
/// for the timer is missing. mj_sleep_ns() is the same with a result.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_sleep_ns(nanoseconds: u64) {
    sleep("mj_task_sleep_ns", nanoseconds);
}

/// mj_task_sleep_ns() in milliseconds. May suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_sleep_ms(milliseconds: u64) {
    sleep("mj_task_sleep_ms", milliseconds.saturating_mul(1_000_000));
}

/// mj_task_sleep_ns() in seconds. May suspend.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_sleep_s(seconds: u64) {
    sleep("mj_task_sleep_s", seconds.saturating_mul(1_000_000_000));
}

/// Suspends the running task until a descriptor is readable: data, a connection to accept, end of
/// file, or an error for the next read() to report. A regular file is always readable. Several
/// tasks may wait for one descriptor; all are woken, so each but the first may find nothing left.
///
/// Give the descriptor O_NONBLOCK unless it is a regular file: a read(), write() or accept() that
/// blocks would block the thread, and with it all tasks; on EAGAIN, wait again.
///
/// Ends early when the task is woken, canceled or enqueued, or its deadline passes. A descriptor
/// that cannot be waited for is an ERROR line, and the call then yields and returns: the next read()
/// fails. Returns at once when the task is marked as ended. In a canceled task it only yields.
/// mj_task_wait_fd() tells these apart.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_wait_readable(fd: c_int) {
    let _ = wait_fd("mj_task_wait_readable", fd, READABLE, u64::MAX);
}

const READABLE: u32 = libc::POLLIN as u32;

/// mj_task_yield() with a result. May suspend.
///
/// Returns 0. Errors:
///   -ECANCELED  the task is canceled, or marked as ended
///   -EPERM      outside a task
#[unsafe(no_mangle)]
pub extern "C" fn mj_yield() -> c_int {
    status(reported("mj_yield", scheduler::yield_now()))
}

/// mj_task_sleep_ns() with a result. May suspend.
///
/// Returns 0 after the full time. Errors:
///   -ETIMEDOUT  the task's deadline is earlier, mj_task_set_deadline()
///   -EINTR      mj_task_wake() or mj_scheduler_enqueue() ended the sleep
///   -ECANCELED  the task is canceled, or marked as ended
///   -ENOMEM     no memory for the timer
///   -EPERM      outside a task
#[unsafe(no_mangle)]
pub extern "C" fn mj_sleep_ns(nanoseconds: u64) -> c_int {
    sleep("mj_sleep_ns", nanoseconds)
}

/// Suspends the running task until its scheduler's clock, mj_scheduler_now_ns(), is at
/// `deadline_ns` or past it: for periods that do not drift. MJ_FOREVER never comes.
///
/// Returns 0. Errors:
///   -ETIMEDOUT, -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_sleep_until_ns(deadline_ns: u64) -> c_int {
    let limit = Limit::until(Deadline::At(deadline_ns));
    status(reported("mj_task_sleep_until_ns", scheduler::sleep(limit)))
}

/// Suspends the running task until it is woken, by mj_task_wake() or mj_scheduler_enqueue(), for at
/// most `timeout_ns`: for tasks that other tasks or a wait function hand something to. An
/// mj_scheduler_enqueue() since the task's last wait counts, also in a canceled task; an
/// mj_task_wake() while it was not waiting does not.
///
/// Returns 0 when woken. Errors:
///   -ETIMEDOUT                   nothing woke it in time
///   -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_park(timeout_ns: u64) -> c_int {
    status(reported("mj_task_park", scheduler::park_until_woken(Deadline::after_ns(timeout_ns))))
}

/// Suspends the running task until one of the `events` of a descriptor happens, for at most
/// `timeout_ns`; with 0 only until the other tasks have had their turn. Events are bits of poll(2):
/// POLLIN, POLLOUT, POLLPRI, POLLRDHUP and the like, from <poll.h>. Any number of tasks may wait
/// for one descriptor. A regular file is always readable and writable, and has no other events.
/// Give descriptors O_NONBLOCK unless they are regular files: a read(), write() or accept() that
/// blocks would block the thread, and with it all tasks; on EAGAIN, wait again.
///
/// Returns the events that happened, with POLLERR and POLLHUP even if not asked for. Errors:
///   -ETIMEDOUT  none of the events happened in time
///   -ECANCELED  the task is marked as ended, or is canceled and no event has happened, or has been
///               told of events 64 times since
///   -EBADF      the descriptor is not open, was closed with mj_fd_close(), or was closed otherwise
///               and its number is another file's by now
///   -EINVAL     `events` has other bits, or the descriptor is one of the scheduler's own two
///   -ENOSPC     the user's epoll sets are full (fs.epoll.max_user_watches in epoll(7))
///   -EINTR, -ENOMEM, -EPERM  as mj_sleep_ns()
/// A descriptor that cannot be waited for is also an ERROR line.
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_wait_fd(fd: c_int, events: c_short, timeout_ns: u64) -> c_int {
    let events = u32::from(events.cast_unsigned());
    match wait_fd("mj_task_wait_fd", fd, events, timeout_ns) {
        Ok(happened) => happened as c_int,
        Err(error) => error.status(),
    }
}

/// Suspends the running task until another task of its scheduler has ended, for at most
/// `timeout_ns`. Any number of tasks may wait for one.
///
/// Returns 0 when the task has ended during the call. Errors:
///   -ESRCH      no living task has this id: it has ended already, if it ever lived; a canceled
///               task is told this too
///   -ETIMEDOUT  the task has not ended in time
///   -EDEADLK    the id is the caller's own
///   -EINTR, -ECANCELED, -ENOMEM, -EPERM  as mj_sleep_ns()
#[unsafe(no_mangle)]
pub extern "C" fn mj_task_join(id: mj_task_id, timeout_ns: u64) -> c_int {
    status(reported("mj_task_join", scheduler::join(id, Limit::after_ns(timeout_ns))))
}

/// Closes a descriptor as close(2) does, and ends the waits for it with -EBADF: the waits of the
/// scheduler that runs on this thread, so outside a run it is close(2) alone: mj_scheduler_close_fd()
/// closes between runs, and another thread has an mj_post() close it. For descriptors that other
/// tasks may be waiting for: a plain close() leaves those waiting. In a child of fork() it
/// concerns the child alone. Callable from any thread. Does not suspend, but blocks the thread where
/// close(2) does, as for a socket with SO_LINGER and a time.
///
/// Returns 0. Errors:
///   -EBUSY  it is one of the scheduler's own two descriptors, and stays open (also an ERROR line)
///   and as close(2)
#[unsafe(no_mangle)]
pub extern "C" fn mj_fd_close(fd: c_int) -> c_int {
    let closed = scheduler::close_fd(fd);
    if closed == Err(Error::Busy) {
        log::error(format_args!("mj_fd_close: fd {fd} is the scheduler's own, and stays open"));
    }
    status(closed)
}

/// Apart, and `extern "C"`, which does not unwind: a call that may makes each yield keep a frame.
#[cold]
#[inline(never)]
extern "C" fn refuse_yield() {
    let _ = reported::<()>("mj_task_yield", Err(Error::NotInTask));
}

#[track_caller]
fn sleep(call: &str, ns: u64) -> c_int {
    status(reported(call, scheduler::sleep(Limit::until(Deadline::In(ns)))))
}

#[track_caller]
fn wait_fd(call: &str, fd: c_int, events: u32, timeout_ns: u64) -> Result<u32> {
    reported(call, scheduler::wait_fd(fd, events, Limit::after_ns(timeout_ns)))
}

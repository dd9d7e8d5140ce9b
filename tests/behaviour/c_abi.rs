//! The C ABI under test: the functions of `majjen.h`, linked into this program.

use std::ffi::{CStr, c_int, c_short, c_void};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::null_mut;
use std::rc::Rc;
use std::time::Duration;

use super::majjen_h::*;
use super::{Api, End};

#[derive(Clone)]
pub struct CAbi(Rc<Owned>);

struct Owned(*mut mj_scheduler);

impl Drop for Owned {
    fn drop(&mut self) {
        mj_scheduler_destroy(self.0);
    }
}

impl CAbi {
    pub fn scheduler(&self) -> *mut mj_scheduler {
        self.0.0
    }
}

/// Stops a scheduler that the tests keep alive.
pub struct Stop(*mut mj_scheduler);

// SAFETY: mj_scheduler_stop may be called from any thread.
unsafe impl Send for Stop {}

#[derive(Clone)]
pub struct Task {
    scheduler: *mut mj_scheduler,
    pub id: mj_task_id,
}

/// Calls the closure in `user_state`.
extern "C" fn body(_scheduler: *mut mj_scheduler, user_state: *mut c_void) {
    // SAFETY: `spawn` made it, and it is called once, since the task ends afterwards. Majjen frees
    // the memory itself.
    unsafe { user_state.cast::<Box<dyn FnOnce()>>().read()() };
    mj_task_exit();
}

pub fn result(status: c_int) -> Result<(), i32> {
    if status < 0 { Err(-status) } else { Ok(()) }
}

/// The timeout in the C ABI's form.
pub fn ns(timeout: Option<Duration>) -> u64 {
    timeout.map_or(u64::MAX, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

fn wait(fd: BorrowedFd<'_>, events: c_short, timeout: Option<Duration>) -> Result<(), i32> {
    result(mj_task_wait_fd(fd.as_raw_fd(), events, ns(timeout)))
}

impl Api for CAbi {
    type Task = Task;
    type Stop = Stop;
    const KEEPS_WAKE_UPS: bool = false;

    fn new() -> CAbi {
        let scheduler = mj_scheduler_create();
        assert_ne!(scheduler, null_mut());
        CAbi(Rc::new(Owned(scheduler)))
    }

    fn with_clock(clock: fn() -> Duration) -> CAbi {
        extern "C" fn call(clock: *mut c_void) -> u64 {
            // SAFETY: it is the function that is passed below.
            let clock = unsafe { std::mem::transmute::<*mut c_void, fn() -> Duration>(clock) };
            clock().as_nanos() as u64
        }
        let api = CAbi::new();
        assert_eq!(mj_scheduler_set_clock(api.scheduler(), Some(call), clock as *mut c_void), 0);
        api
    }

    fn with_signals() -> CAbi {
        let scheduler = setup_scheduler_with_epoll();
        assert_ne!(scheduler, null_mut());
        CAbi(Rc::new(Owned(scheduler)))
    }

    fn with_guards(bytes: usize) -> Result<CAbi, i32> {
        let api = CAbi::new();
        result(mj_scheduler_set_guard_size(api.scheduler(), bytes)).map(|()| api)
    }

    fn stack_bounds(task: &Task) -> Option<Range<usize>> {
        let (mut lowest, mut bytes) = (null_mut(), 0);
        let task = mj_task_find(task.scheduler, task.id);
        match mj_task_stack_bounds(task, &mut lowest, &mut bytes) {
            0 => Some(lowest as usize..lowest as usize + bytes),
            status => {
                // Before the first turn, and after the end.
                assert_eq!(status, if task.is_null() { -libc::EINVAL } else { -libc::EAGAIN });
                None
            }
        }
    }

    fn run(&self) -> End {
        let result = mj_run(self.scheduler());
        let signal = mj_scheduler_signal(self.scheduler());
        assert_eq!(signal != 0, result == MJ_RUN_SIGNAL);
        match result {
            0 => End::Completed,
            MJ_RUN_STOPPED => End::Stopped,
            MJ_RUN_SIGNAL => End::Signal(signal),
            error => End::Failed(-error),
        }
    }

    fn spawn(&self, closure: impl FnOnce() + 'static) -> Task {
        let closure: Box<dyn FnOnce()> = Box::new(closure);
        // SAFETY: no preconditions.
        let state = unsafe { libc::malloc(size_of_val(&closure)) };
        // SAFETY: large enough for the closure, which is moved there, and the task's from then on.
        unsafe { state.cast::<Box<dyn FnOnce()>>().write(closure) };
        let task = mj_create_task(self.scheduler(), Some(body), state);
        assert_ne!(task, null_mut());
        Task { scheduler: self.scheduler(), id: mj_task_get_id(task) }
    }

    fn stop(&self) -> Stop {
        Stop(self.scheduler())
    }

    fn raise(stop: &Stop) {
        assert_eq!(mj_scheduler_stop(stop.0), 0);
    }

    fn tasks(&self) -> (u64, u64) {
        // SAFETY: alive, and so are its counters.
        let metrics = unsafe { &*mj_scheduler_get_metrics(self.scheduler()) };
        (metrics.tasks_created, metrics.tasks_exited)
    }

    fn turns(&self) -> u64 {
        // SAFETY: as above.
        unsafe { &*mj_scheduler_get_metrics(self.scheduler()) }.task_executions
    }

    fn yield_now() -> Result<(), i32> {
        result(mj_yield())
    }

    fn sleep(duration: Duration) -> Result<(), i32> {
        result(mj_sleep_ns(ns(Some(duration))))
    }

    fn park(timeout: Option<Duration>) -> Result<(), i32> {
        result(mj_task_park(ns(timeout)))
    }

    fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32> {
        wait(fd, libc::POLLIN, timeout)
    }

    fn wait_writable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32> {
        wait(fd, libc::POLLOUT, timeout)
    }

    fn join(task: &Task, timeout: Option<Duration>) -> Result<(), i32> {
        match mj_task_join(task.id, ns(timeout)) {
            // It has ended already.
            status if status == -libc::ESRCH => Ok(()),
            status => result(status),
        }
    }

    fn cancel(task: &Task) {
        mj_task_cancel(mj_task_find(task.scheduler, task.id));
    }

    fn wake(task: &Task) {
        mj_task_wake(mj_task_find(task.scheduler, task.id));
    }

    fn cancel_in(&self, task: &Task) -> Result<(), i32> {
        result(mj_scheduler_cancel(self.scheduler(), task.id))
    }

    fn wake_in(&self, task: &Task) -> Result<(), i32> {
        result(mj_scheduler_wake(self.scheduler(), task.id))
    }

    fn set_deadline(after: Option<Duration>) -> Result<Option<Duration>, i32> {
        let mut old = 0;
        let deadline_ns = mj_deadline_after(ns(after));
        result(mj_task_set_deadline(deadline_ns, &raw mut old))?;
        let left_ns = mj_deadline_left(old);
        Ok((left_ns != u64::MAX).then_some(Duration::from_nanos(left_ns)))
    }

    fn with_daemon_limit(limit: Duration) -> CAbi {
        let api = CAbi::new();
        assert_eq!(mj_scheduler_set_daemon_limit(api.scheduler(), ns(Some(limit))), 0);
        api
    }

    fn set_daemon(daemon: bool) {
        assert_eq!(mj_task_set_daemon(daemon), 0);
    }

    fn shield<R>(body: impl FnOnce() -> R) -> R {
        let mut old = false;
        assert_eq!(mj_task_set_cancelable(false, &raw mut old), 0);
        let value = body();
        assert_eq!(mj_task_set_cancelable(old, null_mut()), 0);
        value
    }
}

/// What a call writes to a stream.
pub fn text_of(call: impl FnOnce(*mut libc::FILE)) -> String {
    let (mut text, mut length) = (null_mut(), 0);
    // SAFETY: both addresses are good until the stream is closed.
    let stream = unsafe { libc::open_memstream(&mut text, &mut length) };
    call(stream);
    // SAFETY: from above. Then the text is ours, and NUL-terminated.
    unsafe {
        libc::fclose(stream);
        let written = CStr::from_ptr(text).to_str().unwrap().to_owned();
        libc::free(text.cast());
        written
    }
}

//! The C ABI as a door: the functions of `majjen.h`, linked into this program.

use std::ffi::{c_int, c_short, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;
use std::time::Duration;

use super::Door;

/// An `mj_scheduler` or an `mj_task`.
pub type Handle = *mut c_void;

/// The beginning of an `mj_metrics`, in words.
const TASKS_CREATED: usize = 11;
const TASKS_EXITED: usize = 12;

unsafe extern "C" {
    fn mj_scheduler_create() -> Handle;
    fn mj_scheduler_run(scheduler: Handle);
    fn mj_scheduler_destroy(scheduler: Handle);
    fn mj_scheduler_stop(scheduler: Handle) -> c_int;
    fn mj_scheduler_get_metrics(scheduler: Handle) -> *const u64;
    fn mj_create_task(
        scheduler: Handle,
        body: extern "C" fn(Handle, *mut c_void),
        user_state: *mut c_void,
    ) -> Handle;
    fn mj_task_exit();
    fn mj_task_get_id(task: Handle) -> u64;
    fn mj_task_find(scheduler: Handle, id: u64) -> Handle;
    fn mj_task_yield_now() -> c_int;
    fn mj_task_sleep_for(ns: u64) -> c_int;
    fn mj_task_park(timeout_ns: u64) -> c_int;
    fn mj_task_wait_fd(fd: c_int, events: c_short, timeout_ns: u64) -> c_int;
    fn mj_task_join(id: u64, timeout_ns: u64) -> c_int;
    fn mj_task_wake(task: Handle) -> c_int;
    fn mj_task_cancel(task: Handle) -> c_int;
}

#[derive(Clone)]
pub struct CAbi(Rc<Owned>);

struct Owned(NonNull<c_void>);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: from mj_scheduler_create, and not used again.
        unsafe { mj_scheduler_destroy(self.0.as_ptr()) };
    }
}

impl CAbi {
    pub fn handle(&self) -> Handle {
        self.0.0.as_ptr()
    }
}

/// Stops a scheduler, which the tests keep alive.
pub struct Stop(Handle);

// SAFETY: mj_scheduler_stop may be called from any thread.
unsafe impl Send for Stop {}

#[derive(Clone)]
pub struct Task {
    scheduler: Handle,
    id: u64,
}

/// Calls the closure that `user_state` holds.
extern "C" fn body(_scheduler: Handle, user_state: *mut c_void) {
    // SAFETY: from `spawn`, and called once, since the task ends afterwards. The memory itself is
    // majjen's to free.
    unsafe { user_state.cast::<Box<dyn FnOnce()>>().read()() };
    // SAFETY: in a task.
    unsafe { mj_task_exit() };
}

pub fn result(status: c_int) -> Result<(), i32> {
    if status < 0 { Err(-status) } else { Ok(()) }
}

/// As the C ABI takes it.
pub fn ns(timeout: Option<Duration>) -> u64 {
    timeout.map_or(u64::MAX, |timeout| timeout.as_nanos() as u64)
}

fn wait(fd: BorrowedFd<'_>, events: c_short, timeout: Option<Duration>) -> Result<(), i32> {
    // SAFETY: the descriptor is open.
    match unsafe { mj_task_wait_fd(fd.as_raw_fd(), events, ns(timeout)) } {
        0 => Err(libc::ETIMEDOUT),
        status => result(status),
    }
}

impl Door for CAbi {
    type Task = Task;
    type Stop = Stop;
    const KEEPS_WAKE_UPS: bool = false;

    fn new() -> CAbi {
        // SAFETY: no preconditions.
        CAbi(Rc::new(Owned(NonNull::new(unsafe { mj_scheduler_create() }).unwrap())))
    }

    fn run(&self) {
        // SAFETY: alive.
        unsafe { mj_scheduler_run(self.handle()) };
    }

    fn spawn(&self, closure: impl FnOnce() + 'static) -> Task {
        let closure: Box<dyn FnOnce()> = Box::new(closure);
        // SAFETY: the memory is large enough for the closure, which is moved there, and belongs to
        // the task from then on.
        let task = unsafe {
            let state = libc::malloc(size_of_val(&closure)).cast::<Box<dyn FnOnce()>>();
            state.write(closure);
            mj_create_task(self.handle(), body, state.cast())
        };
        assert_ne!(task, null_mut());
        // SAFETY: alive.
        Task { scheduler: self.handle(), id: unsafe { mj_task_get_id(task) } }
    }

    fn stop(&self) -> Stop {
        Stop(self.handle())
    }

    fn raise(stop: &Stop) {
        // SAFETY: alive.
        assert_eq!(unsafe { mj_scheduler_stop(stop.0) }, 0);
    }

    fn tasks(&self) -> (u64, u64) {
        // SAFETY: alive; a metrics struct begins with words.
        unsafe {
            let metrics = mj_scheduler_get_metrics(self.handle());
            (*metrics.add(TASKS_CREATED), *metrics.add(TASKS_EXITED))
        }
    }

    fn yield_now() -> Result<(), i32> {
        // SAFETY: no preconditions.
        result(unsafe { mj_task_yield_now() })
    }

    fn sleep(duration: Duration) -> Result<(), i32> {
        // SAFETY: no preconditions.
        result(unsafe { mj_task_sleep_for(ns(Some(duration))) })
    }

    fn park(timeout: Option<Duration>) -> Result<(), i32> {
        // SAFETY: no preconditions.
        result(unsafe { mj_task_park(ns(timeout)) })
    }

    fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32> {
        wait(fd, libc::POLLIN, timeout)
    }

    fn wait_writable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32> {
        wait(fd, libc::POLLOUT, timeout)
    }

    fn join(task: &Task, timeout: Option<Duration>) -> Result<(), i32> {
        // SAFETY: no preconditions.
        match unsafe { mj_task_join(task.id, ns(timeout)) } {
            // It has ended already.
            status if status == -libc::ESRCH => Ok(()),
            status => result(status),
        }
    }

    fn cancel(task: &Task) {
        // SAFETY: the scheduler is alive; what is found is, too.
        unsafe { mj_task_cancel(mj_task_find(task.scheduler, task.id)) };
    }

    fn wake(task: &Task) {
        // SAFETY: as in `cancel`.
        unsafe { mj_task_wake(mj_task_find(task.scheduler, task.id)) };
    }
}

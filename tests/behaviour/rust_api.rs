//! The Rust API under test.

use std::cell::Cell;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use majjen::{Ended, Error, Instant, JoinHandle, Scheduler, StopHandle, task};

use super::{Api, End};

#[derive(Clone)]
pub struct RustApi {
    scheduler: Rc<Scheduler>,
    has_failed: Rc<Cell<bool>>,
}

impl RustApi {
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }
}

/// Records that a check in a task has failed, since no task need join it and get its panic.
struct Watch(Rc<Cell<bool>>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.set(self.0.get() || std::thread::panicking());
    }
}

/// Runs a call that returns a cancellation as an error, instead of unwinding.
fn told(call: impl FnOnce() -> Result<(), Error>) -> Result<(), i32> {
    task::no_unwind(call).map_err(Error::errno)
}

impl Api for RustApi {
    type Task = Rc<JoinHandle<()>>;
    type Stop = StopHandle;
    const KEEPS_WAKE_UPS: bool = true;

    fn new() -> RustApi {
        RustApi { scheduler: Rc::new(Scheduler::new().unwrap()), has_failed: Rc::default() }
    }

    fn with_clock(clock: fn() -> Duration) -> RustApi {
        let scheduler = Scheduler::builder().clock(clock).build().unwrap();
        RustApi { scheduler: Rc::new(scheduler), has_failed: Rc::default() }
    }

    fn with_signals() -> RustApi {
        let scheduler = Scheduler::builder().handle_signals(true).build().unwrap();
        RustApi { scheduler: Rc::new(scheduler), has_failed: Rc::default() }
    }

    fn with_guards(bytes: usize) -> Result<RustApi, i32> {
        let scheduler = Scheduler::builder().guard_size(bytes).build().map_err(Error::errno)?;
        Ok(RustApi { scheduler: Rc::new(scheduler), has_failed: Rc::default() })
    }

    fn stack_bounds(task: &Rc<JoinHandle<()>>) -> Option<Range<usize>> {
        task.task().stack_bounds()
    }

    fn run(&self) -> End {
        let result = self.scheduler.run();
        assert!(!self.has_failed.get(), "a task has panicked");
        match result {
            Ok(Ended::Completed) => End::Completed,
            Ok(Ended::Stopped) => End::Stopped,
            Ok(Ended::Signal(signal)) => End::Signal(signal),
            Err(error) => End::Failed(error.errno()),
            Ok(ended) => unreachable!("{ended:?}"),
        }
    }

    fn spawn(&self, body: impl FnOnce() + 'static) -> Rc<JoinHandle<()>> {
        let watch = Watch(self.has_failed.clone());
        Rc::new(self.scheduler.spawn(move || {
            let _watch = watch;
            body();
        }))
    }

    fn stop(&self) -> StopHandle {
        self.scheduler.stop_handle()
    }

    fn raise(stop: &StopHandle) {
        stop.stop().unwrap();
    }

    fn tasks(&self) -> (u64, u64) {
        let metrics = self.scheduler.metrics();
        (metrics.tasks_created, metrics.tasks_exited)
    }

    fn turns(&self) -> u64 {
        self.scheduler.metrics().task_executions
    }

    fn yield_now() -> Result<(), i32> {
        told(task::yield_now)
    }

    fn sleep(duration: Duration) -> Result<(), i32> {
        told(|| task::sleep(duration))
    }

    fn park(timeout: Option<Duration>) -> Result<(), i32> {
        told(|| task::park(timeout))
    }

    fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| match timeout {
            Some(timeout) => task::wait_readable_timeout(fd, timeout),
            None => task::wait_readable(fd),
        })
    }

    fn wait_writable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| match timeout {
            Some(timeout) => task::wait_writable_timeout(fd, timeout),
            None => task::wait_writable(fd),
        })
    }

    fn join(task: &Rc<JoinHandle<()>>, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| match timeout {
            Some(timeout) => task.wait_timeout(timeout),
            None => task.wait(),
        })
    }

    fn cancel(task: &Rc<JoinHandle<()>>) {
        task.cancel();
    }

    fn wake(task: &Rc<JoinHandle<()>>) {
        task.task().wake();
    }

    fn cancel_in(&self, task: &Rc<JoinHandle<()>>) -> Result<(), i32> {
        self.scheduler.cancel(task.task().id()).map_err(Error::errno)
    }

    fn wake_in(&self, task: &Rc<JoinHandle<()>>) -> Result<(), i32> {
        self.scheduler.wake(task.task().id()).map_err(Error::errno)
    }

    fn set_deadline(after: Option<Duration>) -> Result<Option<Duration>, i32> {
        let deadline = after.map(|after| Instant::now() + after);
        let old = task::set_deadline(deadline).map_err(Error::errno)?;
        Ok(old.map(|old| old - Instant::now()))
    }

    fn with_daemon_limit(limit: Duration) -> RustApi {
        let scheduler = Scheduler::builder().daemon_limit(limit).build().unwrap();
        RustApi { scheduler: Rc::new(scheduler), has_failed: Rc::default() }
    }

    fn set_daemon(daemon: bool) {
        task::current().unwrap().set_daemon(daemon);
    }

    fn shield<R>(body: impl FnOnce() -> R) -> R {
        task::shield(body)
    }
}

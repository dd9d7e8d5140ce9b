//! The Rust API as a door.

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use majjen::{Error, JoinHandle, Scheduler, StopHandle, task};

use super::Door;

#[derive(Clone)]
pub struct RustApi(Rc<Scheduler>);

/// Runs a call that is told of a cancelation, rather than unwound.
fn told(call: impl FnOnce() -> Result<(), Error>) -> Result<(), i32> {
    task::shield(call).map_err(Error::errno)
}

impl Door for RustApi {
    type Task = Rc<JoinHandle<()>>;
    type Stop = StopHandle;
    const KEEPS_WAKE_UPS: bool = true;

    fn new() -> RustApi {
        RustApi(Rc::new(Scheduler::new().unwrap()))
    }

    fn run(&self) {
        let _ = self.0.run();
    }

    fn spawn(&self, body: impl FnOnce() + 'static) -> Rc<JoinHandle<()>> {
        Rc::new(self.0.spawn(body))
    }

    fn stop(&self) -> StopHandle {
        self.0.stop_handle()
    }

    fn raise(stop: &StopHandle) {
        stop.stop().unwrap();
    }

    fn tasks(&self) -> (u64, u64) {
        let metrics = self.0.metrics();
        (metrics.tasks_created, metrics.tasks_exited)
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
        told(|| task::wait_readable(fd, timeout))
    }

    fn wait_writable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| task::wait_writable(fd, timeout))
    }

    fn join(task: &Rc<JoinHandle<()>>, timeout: Option<Duration>) -> Result<(), i32> {
        told(|| task.wait(timeout))
    }

    fn cancel(task: &Rc<JoinHandle<()>>) {
        task.cancel();
    }

    fn wake(task: &Rc<JoinHandle<()>>) {
        task.task().wake();
    }
}

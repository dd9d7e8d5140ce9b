//! The handles for other threads of the Rust API.

use std::rc::Rc;

use majjen::{Error, JoinHandle, Remote};

use super::Handles;
use crate::rust_api::RustApi;

impl Handles for RustApi {
    type Remote = Remote;

    fn remote(&self) -> Remote {
        self.scheduler().remote()
    }

    fn post(remote: &Remote, body: impl FnOnce() + Send + 'static) -> Result<(), i32> {
        remote.spawn(body).map_err(|refused| refused.error.errno())
    }

    fn set_limit(remote: &Remote, posts: usize) -> Result<(), i32> {
        remote.set_limit(posts).map_err(Error::errno)
    }

    fn wake_by(remote: &Remote, id: u64) -> Result<(), i32> {
        remote.wake(id).map_err(Error::errno)
    }

    fn cancel_by(remote: &Remote, id: u64) -> Result<(), i32> {
        remote.cancel(id).map_err(Error::errno)
    }

    fn stop_by(remote: &Remote) -> Result<(), i32> {
        remote.stop().map_err(Error::errno)
    }

    fn tasks_by(remote: &Remote) -> Result<(u64, u64), i32> {
        let metrics = remote.metrics().map_err(Error::errno)?;
        Ok((metrics.tasks_created, metrics.tasks_exited))
    }

    fn text_by(remote: &Remote) -> Result<String, i32> {
        remote.metrics_prometheus().map_err(Error::errno)
    }

    fn id(task: &Rc<JoinHandle<()>>) -> u64 {
        task.task().id()
    }
}

//! The handles for other threads of the C ABI.

use std::ffi::c_void;

use super::Handles;
use crate::c_abi::{CAbi, Task, result};
use crate::majjen_h::*;

pub struct Remote(*mut mj_remote);

// SAFETY: all threads may use it.
unsafe impl Send for Remote {}
// SAFETY: as above.
unsafe impl Sync for Remote {}

impl Clone for Remote {
    fn clone(&self) -> Remote {
        Remote(mj_remote_retain(self.0))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        mj_remote_release(self.0);
    }
}

type Body = Box<dyn FnOnce() + Send>;

fn open(body: *mut c_void) -> Body {
    // SAFETY: from `post`, and of the three who may open it one does.
    *unsafe { Box::from_raw(body.cast::<Body>()) }
}

extern "C" fn run(body: *mut c_void) {
    open(body)();
}

extern "C" fn abandon(body: *mut c_void) {
    drop(open(body));
}

impl Handles for CAbi {
    type Remote = Remote;

    fn remote(&self) -> Remote {
        let remote = mj_scheduler_remote(self.scheduler());
        assert!(!remote.is_null());
        Remote(remote)
    }

    fn post(remote: &Remote, body: impl FnOnce() + Send + 'static) -> Result<(), i32> {
        let body: *mut Body = Box::into_raw(Box::new(Box::new(body)));
        result(mj_post(remote.0, Some(run), body.cast(), Some(abandon)))
            .inspect_err(|_| drop(open(body.cast())))
    }

    fn set_limit(remote: &Remote, posts: usize) -> Result<(), i32> {
        result(mj_remote_set_post_limit(remote.0, posts))
    }

    fn wake_by(remote: &Remote, id: u64) -> Result<(), i32> {
        result(mj_remote_wake(remote.0, id))
    }

    fn cancel_by(remote: &Remote, id: u64) -> Result<(), i32> {
        result(mj_remote_cancel(remote.0, id))
    }

    fn stop_by(remote: &Remote) -> Result<(), i32> {
        result(mj_remote_stop(remote.0))
    }

    fn tasks_by(remote: &Remote) -> Result<(u64, u64), i32> {
        let mut metrics = mj_metrics::default();
        result(mj_remote_metrics(remote.0, &raw mut metrics, size_of::<mj_metrics>()))?;
        Ok((metrics.tasks_created, metrics.tasks_exited))
    }

    fn text_by(remote: &Remote) -> Result<String, i32> {
        let mut text = vec![0u8; 10_000];
        let (at, format) = (text.as_mut_ptr().cast(), MJ_METRICS_PROMETHEUS);
        let length = mj_remote_write_metrics(remote.0, at, text.len(), format);
        result(length.min(0))?;
        text.truncate(length as usize);
        Ok(String::from_utf8(text).expect("text"))
    }

    fn id(task: &Task) -> u64 {
        task.id
    }
}

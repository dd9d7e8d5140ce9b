//! STUB of the pool.
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::engine::scheduler::{Limit, READABLE, running_task, wait_fd};
use crate::engine::sys::{self, Error, Mark, Result};
use crate::engine::time::Deadline;

#[derive(Clone, Copy)]
pub enum Class {
    File,
    Dns,
}

struct Addr(*mut c_void);
unsafe impl Send for Addr {}

pub struct Work {
    pub function: unsafe extern "C" fn(*mut c_void),
    pub argument: *mut c_void,
    pub abandon: Option<unsafe extern "C" fn(*mut c_void)>,
}

pub unsafe fn run(
    _class: Class,
    Work { function, argument, abandon }: Work,
    deadline: Deadline,
) -> Result<()> {
    let limit = Limit::uninterrupted(deadline);
    let (_s, task) = running_task().ok_or(Error::NotInTask)?;
    if task.is_canceled() && abandon.is_none() {
        return Err(Error::Canceled);
    }
    let fd = sys::eventfd(Mark::of_process(1))?;
    let state = Arc::new(AtomicU32::new(0));
    let (theirs, argument_there) = (state.clone(), Addr(argument));
    let worker = std::thread::spawn(move || {
        let argument_there = argument_there;
        unsafe { function(argument_there.0) };
        if theirs.swap(1, SeqCst) == 2 {
            if let Some(abandon) = abandon {
                unsafe { abandon(argument_there.0) };
            }
            sys::close(fd);
        } else {
            sys::eventfd_raise(fd);
        }
    });
    let waited = wait_fd(fd, READABLE, limit);
    if let Err(error) = waited {
        if abandon.is_none() {
            let _ = worker.join();
            sys::close(fd);
            return Ok(());
        }
        if state.swap(2, SeqCst) == 0 {
            return Err(error);
        }
    }
    let _ = worker.join();
    sys::close(fd);
    Ok(())
}

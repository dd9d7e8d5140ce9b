//! The groups of the C ABI.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use super::Groups;
use crate::c_abi::{CAbi, ns, result};
use crate::majjen_h::*;

/// The body of a member.
type Body = Box<dyn FnOnce()>;

/// Calls the closure that is the argument.
extern "C" fn call(argument: *mut c_void) -> c_int {
    // SAFETY: from `go`, and called once.
    unsafe { Box::from_raw(argument.cast::<Body>())() };
    0
}

impl Groups for CAbi {
    /// Never destroyed.
    type Group = *mut mj_group;

    fn group(&self, limit: usize) -> *mut mj_group {
        mj_group_create(self.scheduler(), limit)
    }

    fn go(
        group: &*mut mj_group,
        body: impl FnOnce() + 'static,
        timeout: Option<Duration>,
    ) -> Result<(), i32> {
        let body = Box::into_raw(Box::new(Box::new(body) as Body));
        let added = result(mj_group_go(*group, Some(call), body.cast(), ns(timeout)));
        if added.is_err() {
            // SAFETY: made above, and the function is not called.
            drop(unsafe { Box::from_raw(body) });
        }
        added
    }

    fn wait(group: &*mut mj_group, timeout: Option<Duration>) -> Result<(), i32> {
        result(mj_group_wait(*group, ns(timeout)))
    }

    fn cancel_all(group: &*mut mj_group) {
        result(mj_group_cancel(*group)).unwrap();
    }

    fn end(group: &*mut mj_group, grace: Duration) -> Result<(), i32> {
        result(mj_group_end(*group, grace.as_nanos() as u64))
    }
}

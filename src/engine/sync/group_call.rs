//! A member of a group that is a function with an argument. The task ends when the function returns,
//! and what it returns is a failure unless it is 0.

use std::ffi::{c_int, c_void};

use super::group::{Group, Member};
use super::object::Object;
use crate::engine::scheduler::{Limit, Scheduler, exit, running_task};
use crate::engine::sys::{Error, Result};
use crate::engine::task::Words;

/// The function of a member.
pub type Function = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

/// The task's `user_state`, which it owns.
struct Call {
    member: Member,
    group: *const Group,
    function: Function,
    argument: *mut c_void,
}

impl Group {
    /// Adds a task that calls a function, once there is a place for it.
    pub fn go(
        &self,
        (function, argument): (Function, *mut c_void),
        limit: Limit,
        words: &'static Words,
    ) -> Result<()> {
        self.go_when_made(|| Ok((function, argument)), limit, words)
    }

    /// [`go`](Self::go) of what is made once there is a place: until then the task may be destroyed.
    pub fn go_when_made(
        &self,
        make: impl FnOnce() -> Result<(Function, *mut c_void)>,
        limit: Limit,
        words: &'static Words,
    ) -> Result<()> {
        self.take_place(limit)?;
        let (scheduler, _) = running_task().ok_or(Error::NotInTask)?;
        let made = make().inspect_err(|_| self.give_place_back(scheduler))?;
        self.start(scheduler, made, words)
    }

    /// [`go`](Self::go) without waiting.
    pub fn try_go(
        &self,
        (function, argument): (Function, *mut c_void),
        words: &'static Words,
    ) -> Result<()> {
        let scheduler = self.home().for_caller()?.ok_or(Error::InvalidArgument)?;
        self.try_take_place()?;
        self.start(scheduler, (function, argument), words)
    }

    /// Adds the task for a place that was taken.
    fn start(
        &self,
        scheduler: &Scheduler,
        (function, argument): (Function, *mut c_void),
        words: &'static Words,
    ) -> Result<()> {
        let call = Call { member: Member::default(), group: self, function, argument };
        match scheduler.spawn_with(run, call, words) {
            Ok((task, call)) => {
                // SAFETY: the task's, which has not run yet.
                self.enter(unsafe { &(*call).member }, task);
                Ok(())
            }
            Err(error) => {
                self.give_place_back(scheduler);
                Err(error)
            }
        }
    }
}

/// The argument of such a task's function, for [`Words::abandon`].
///
/// # Safety
/// With the state of a task that [`Group::go`] has made, and that has not begun.
pub unsafe fn argument_of(call: *mut c_void) -> *mut c_void {
    // SAFETY: as this function's contract says.
    unsafe { &*call.cast::<Call>() }.argument
}

/// The body of such a task.
///
/// # Safety
/// Called by the core, with the [`Call`] of the running task, whose group is alive while it has
/// members.
unsafe extern "C-unwind" fn run(_scheduler: *mut c_void, call: *mut c_void) {
    // SAFETY: from `start`, and freed when the task has ended.
    let call = unsafe { &*call.cast::<Call>() };
    // SAFETY: the program's function and argument.
    let result = unsafe { (call.function)(call.argument) };
    // SAFETY: it has a member, this one.
    let group = unsafe { &*call.group };
    if result != 0 {
        group.fail(result);
    }
    if let Some((scheduler, task)) = running_task() {
        scheduler.finish(task); // Who waits for the members waits for what they have deferred.
    }
    group.leave(&call.member);
    let _ = exit(); // In a task.
}

//! The end of a task that has more to do then than most: what it has deferred is called, on its own stack,
//! before anything of it is released, and then its task-local values are destroyed.
//!
//! Such a task has an end hook, by which [`Scheduler::end`](super::turns) knows: the others pay nothing. Who
//! must not be told of the end before all that calls [`Scheduler::finish`] first: a group whose member the task
//! is, and a Rust task, whose stack is unwound as long as it has a record.
//!
//! A task that is destroyed with its scheduler does not run again. What it has deferred is called by who
//! destroys the scheduler, on that stack and outside any task.

use std::ffi::{CStr, c_void};
use std::mem::size_of;
use std::ptr::{NonNull, null};

use super::object::{Scheduler, running_task};
use super::on_thread::OnThread;
use super::spare::SPARE_BYTES;
use crate::engine::context::callback;
use crate::engine::log;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Belongings, Deferrable, Deferred, Part, State, Task};
use crate::engine::threads::destroy_of;

const _: () = assert!(size_of::<Belongings>() <= SPARE_BYTES && size_of::<Part>() <= SPARE_BYTES);

/// How many rounds of destroying values there are: what is set in the last one is left.
const MOST_ROUNDS: usize = 4;

/// Has a function called when the running task ends.
#[inline(always)]
pub fn defer(function: Deferrable, argument: *mut c_void) -> Result<()> {
    let (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
    let belongings = scheduler.belongings(task)?;
    belongings.push(Deferred { function, argument }, || Some(scheduler.spare.take()?.cast()))
}

/// Calls a function at the end of a task, which is as any other meanwhile.
///
/// # Safety
/// The function may be called with the argument.
unsafe fn call(task: &Task, function: Deferrable, argument: *mut c_void, what: &'static CStr) {
    task.set_state(State::Runnable);
    // SAFETY: as this function's contract says.
    unsafe { callback::call(function as *const c_void, [argument as usize, 0, 0], what) };
}

/// Destroys the values that a task has, in the order of their keys. Returns whether anything was called.
fn destroy_values(task: &Task, belongings: &Belongings) -> bool {
    let mut has_called = false;
    for index in belongings.indices() {
        let value = belongings.take_value(index);
        if let Some(destroy) = destroy_of(index) {
            // SAFETY: the program's function, for a value of this key.
            unsafe { call(task, destroy, value, c"a destroy function") };
            has_called = true;
        }
    }
    has_called
}

impl Scheduler {
    /// What belongs to a task, made if there is none.
    pub(super) fn belongings<'t>(&self, task: &'t Task) -> Result<&'t Belongings> {
        // SAFETY: null, or from below, and released when the task has ended.
        if let Some(belongings) = unsafe { task.belongings.get().as_ref() } {
            return Ok(belongings);
        }
        let belongings = self.make_belongings()?;
        task.belongings.set(belongings);
        task.expect_end();
        Ok(belongings)
    }

    /// Makes what is to belong to a task; to be released by `release_belongings`.
    pub(super) fn make_belongings<'b>(&self) -> Result<&'b Belongings> {
        let memory = self.spare.take().ok_or(Error::OutOfMemory)?.cast::<Belongings>();
        // SAFETY: a block, which is large enough, and which nobody uses.
        unsafe {
            memory.write(Belongings::new());
            Ok(memory.as_ref())
        }
    }

    /// # Safety
    /// From `make_belongings`, not used again, and nothing is deferred.
    pub(super) unsafe fn release_belongings(&self, belongings: *const Belongings) {
        let Some(memory) = NonNull::new(belongings.cast_mut()) else { return };
        // SAFETY: as this function's contract says.
        unsafe {
            memory.as_ref().forget_values();
            self.spare.keep(memory.cast());
        }
    }

    /// Calls what a task has deferred, the newest first, until nothing is left, and destroys its values: what
    /// is called may defer more, set values, suspend, and mark the task as ended, which has an effect until
    /// it returns.
    #[cold]
    pub fn finish(&self, task: &Task) {
        // SAFETY: null, or from `belongings`, and released only below.
        let Some(belongings) = (unsafe { task.belongings.get().as_ref() }) else { return };
        self.call_deferred(task, belongings);
        let rounds = self.end_values(task, belongings);
        if rounds == MOST_ROUNDS && belongings.indices().next().is_some() {
            log::warn(format_args!(
                "task {:#x} has ended with task-local values that are not destroyed: what destroys \
                 them has set them again in each of {MOST_ROUNDS} rounds",
                task.id.get()
            ));
            self.call_deferred(task, belongings); // By the log callback.
        }
        let belongings = task.belongings.replace(null());
        // SAFETY: nothing is left in it but such values.
        unsafe { self.release_belongings(belongings) };
    }

    /// Destroys the values of a task, and calls what that has deferred, in a deferred function of the library's own: for
    /// what may only be done when nothing of the program's runs in the task any more.
    #[cold]
    pub fn finish_values(&self, task: &Task) {
        // SAFETY: null, or from `belongings`, and released behind the deferred functions.
        if let Some(belongings) = unsafe { task.belongings.get().as_ref() } {
            self.end_values(task, belongings);
        }
    }

    /// Returns in how many rounds: more than `MOST_ROUNDS` there are not.
    fn end_values(&self, task: &Task, belongings: &Belongings) -> usize {
        let mut rounds = 0;
        while rounds < MOST_ROUNDS && destroy_values(task, belongings) {
            self.call_deferred(task, belongings);
            rounds += 1;
        }
        rounds
    }

    fn call_deferred(&self, task: &Task, belongings: &Belongings) {
        // SAFETY: a block of `spare`, which is not used any more.
        let release = |part: NonNull<Part>| unsafe { self.spare.keep(part.cast()) };
        while let Some(Deferred { function, argument }) = belongings.pop(release) {
            // SAFETY: the program's function with the argument that it was deferred with.
            unsafe { call(task, function, argument, c"a deferred function") };
        }
    }

    /// Ends what a task has that runs on this stack and is about to end. Its hook may call the program's log
    /// callback, which may give it something new.
    #[cold]
    #[inline(never)]
    pub(super) fn end_belongings(&self, task: &Task) {
        while let Some(at_end) = task.at_end.take() {
            self.finish(task);
            // SAFETY: a task of this scheduler.
            unsafe { at_end(self.as_ref(), task) };
        }
        self.set_daemon(task, false);
        task.set_state(State::Exited);
    }

    /// Calls, on this stack, what the tasks have deferred: the scheduler is being destroyed, or is not run any more. To
    /// others it runs meanwhile, so that it is neither run nor destroyed by what is called.
    pub fn finish_all(&self) {
        if !self.tasks.iter().any(|task| !task.belongings.get().is_null())
            || self.remote.enter().is_err()
        {
            return;
        }
        self.is_over.set(true);
        let before = OnThread::NOTHING.install();
        self.tasks.iter().for_each(|task| self.finish(task));
        before.install();
        self.remote.undo_enter();
    }
}

//! The end of a task that has more to do then than most: what it has deferred is called, on its own stack,
//! before anything of it is released.
//!
//! Such a task has an end hook, by which [`Scheduler::end`](super::turns) knows: the others pay nothing. Who
//! must not be told of the end before all that calls [`Scheduler::finish`] first: a group whose member the task
//! is, and a Rust task, whose stack is unwound as long as it has a record.
//!
//! A task that is destroyed with its scheduler does not run again. What it has deferred is called by who
//! destroys the scheduler, on that stack and outside any task.

use std::ffi::c_void;
use std::mem::size_of;
use std::ptr::NonNull;

use super::object::{Scheduler, running_task};
use super::on_thread::OnThread;
use super::spare::SPARE_BYTES;
use crate::engine::context::callback;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Belongings, Deferrable, Deferred, Part, State, Task};

const _: () = assert!(size_of::<Belongings>() <= SPARE_BYTES && size_of::<Part>() <= SPARE_BYTES);

/// Has a function called when the running task ends.
pub fn defer(function: Deferrable, argument: *mut c_void) -> Result<()> {
    let (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
    let belongings = scheduler.belongings(task)?;
    belongings.push(Deferred { function, argument }, || Some(scheduler.spare.take()?.cast()))
}

impl Scheduler {
    /// What belongs to a task, made if there is none.
    fn belongings<'t>(&self, task: &'t Task) -> Result<&'t Belongings> {
        // SAFETY: null, or from below, and released when the task has ended.
        if let Some(belongings) = unsafe { task.belongings.get().as_ref() } {
            return Ok(belongings);
        }
        let memory = self.spare.take().ok_or(Error::OutOfMemory)?.cast::<Belongings>();
        // SAFETY: a block, which is large enough, and which nobody uses.
        let belongings = unsafe {
            memory.write(Belongings::new());
            memory.as_ref()
        };
        task.belongings.set(belongings);
        task.expect_end();
        Ok(belongings)
    }

    /// Calls what a task has deferred, the newest first, until nothing is left: what is called may defer
    /// more, suspend, and mark the task as ended, which has an effect until it returns.
    #[cold]
    pub fn finish(&self, task: &Task) {
        // SAFETY: null, or from `belongings`, and released only below.
        let Some(belongings) = (unsafe { task.belongings.get().as_ref() }) else { return };
        // SAFETY: a block of `spare`, which is not used any more.
        let release = |part: NonNull<Part>| unsafe { self.spare.keep(part.cast()) };
        while let Some(Deferred { function, argument }) = belongings.pop(release) {
            task.set_state(State::Runnable);
            let arguments = [argument as usize, 0, 0];
            // SAFETY: the program's function with the argument that it was deferred with.
            unsafe { callback::call(function as *const c_void, arguments, c"a deferred function") };
        }
        if let Some(memory) = NonNull::new(task.belongings.replace(std::ptr::null()).cast_mut()) {
            // SAFETY: as above. Nothing is left in it.
            unsafe { self.spare.keep(memory.cast()) };
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

    /// Calls, on this stack, what the tasks have deferred: the scheduler is being destroyed. To others it
    /// runs meanwhile, so that it is neither run nor destroyed by what is called.
    pub(super) fn finish_all(&self) {
        if !self.tasks.iter().any(|task| !task.belongings.get().is_null())
            || self.remote.enter().is_err()
        {
            return;
        }
        let before = OnThread::NOTHING.install();
        self.tasks.iter().for_each(|task| self.finish(task));
        before.install();
        self.remote.undo_enter();
    }
}

//! Task-local values: each task has its own of each key. The keys are the process's (`threads/task_keys.rs`);
//! how values are destroyed is in `ending.rs`.
//!
//! What makes inherited values is called while a task is being made, so it is outside any task, and can neither
//! suspend nor end the running one; so is what destroys those for which there is no task then.
//!
//! Only a scheduler in which a value was set that new tasks inherit looks for such values when a task is made.

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

use super::object::{Scheduler, running_task};
use crate::engine::context::callback;
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Belongings, Body, MOST_VALUES, Task, Words};
use crate::engine::threads::{MOST_KEYS, destroy_of, inherit_of, is_key};

const _: () = assert!(MOST_KEYS == MOST_VALUES);

/// The running task's value of a key, by its index, which may be any; null if there is none.
#[inline]
pub fn value(index: usize) -> *mut c_void {
    let Some((_, task)) = running_task() else { return null_mut() };
    // SAFETY: null, or what belongs to the task, which runs.
    unsafe { task.belongings.get().as_ref() }.map_or(null_mut(), |own| own.value(index))
}

/// Sets the running task's value of a key. The one before is not destroyed.
pub fn set_value(index: usize, value: *mut c_void) -> Result<()> {
    if !is_key(index) {
        return Err(Error::InvalidArgument);
    }
    let (scheduler, task) = running_task().ok_or(Error::NotInTask)?;
    if value.is_null() && task.belongings.get().is_null() {
        return Ok(());
    }
    if inherit_of(index).is_some() {
        scheduler.inherits.set(true);
    }
    scheduler.belongings(task)?.set_value(index, value)
}

impl Scheduler {
    /// [`spawn`](Self::spawn) of a task that may inherit values of the running one, or for which slots have to
    /// be made.
    #[cold]
    #[inline(never)]
    pub(super) fn spawn_with_values(
        &self,
        body: Body,
        user_state: *mut c_void,
        words: &'static Words,
    ) -> Result<&Task> {
        let inherited = if self.inherits.get() { self.inherit()? } else { None };
        let spawned = self.spawn_alone(body, user_state, words);
        let Some(inherited) = inherited else { return spawned };
        match &spawned {
            Ok(task) => {
                task.belongings.set(inherited);
                task.expect_end();
            }
            Err(_) => self.discard(inherited),
        }
        spawned
    }

    /// Calls the program's function with a value, outside any task.
    ///
    /// # Safety
    /// The function may be called with the value.
    unsafe fn call_for_value(
        &self,
        function: *const c_void,
        value: *mut c_void,
        what: &'static CStr,
    ) -> *mut c_void {
        let task = self.current_task.replace(null());
        // SAFETY: as this function's contract says.
        let result = unsafe { callback::call(function, [value as usize, 0, 0], what) };
        self.current_task.set(task);
        result as usize as *mut c_void
    }

    /// Values for a new task, of those of the running one. What makes them may make tasks, so this one is not
    /// made yet.
    fn inherit<'b>(&self) -> Result<Option<&'b Belongings>> {
        // SAFETY: the current task is alive.
        let Some(task) = (unsafe { self.current_task.get().as_ref() }) else { return Ok(None) };
        let mut inherited: Option<&Belongings> = None;
        // SAFETY: null, or what belongs to the task, which does not end meanwhile.
        let Some(own) = (unsafe { task.belongings.get().as_ref() }) else { return Ok(None) };
        for index in own.indices() {
            let value = own.value(index);
            let Some(inherit) = inherit_of(index) else { continue };
            let made = match inherited {
                Some(made) => made,
                None => self.make_belongings()?,
            };
            inherited = Some(made);
            let (inherit, what) = (inherit as *const c_void, c"an inherit function");
            // SAFETY: the program's function, for a value of this key.
            let copy = unsafe { self.call_for_value(inherit, value, what) };
            if let Err(error) = made.set_value(index, copy) {
                self.destroy_unowned(index, copy); // It is not null.
                self.discard(made);
                return Err(error);
            }
        }
        Ok(inherited)
    }

    /// Destroys the values that were for a task that is not made.
    fn discard(&self, inherited: &Belongings) {
        for index in inherited.indices() {
            self.destroy_unowned(index, inherited.take_value(index));
        }
        // SAFETY: made by `inherit`, for nobody else.
        unsafe { self.release_belongings(inherited) };
    }

    /// Destroys a value that no task has.
    fn destroy_unowned(&self, index: usize, value: *mut c_void) {
        if let Some(destroy) = destroy_of(index) {
            let what = c"a destroy function";
            // SAFETY: the program's function, for a value of this key.
            unsafe { self.call_for_value(destroy as *const c_void, value, what) };
        }
    }
}

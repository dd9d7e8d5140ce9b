//! What all synchronization objects have in common.

use super::home::Home;
use crate::engine::sys::{self, Error, Result};

/// An object that C has a pointer to.
pub trait Object: Sized {
    fn home(&self) -> &Home;

    /// Whether a task waits for it, or holds it.
    fn is_in_use(&self) -> bool;

    /// Moves it to C's heap.
    fn into_heap(self) -> Result<*mut Self> {
        let memory = sys::allocate::<Self>(1);
        if memory.is_null() {
            return Err(Error::OutOfMemory);
        }
        // SAFETY: fresh memory for one.
        unsafe { memory.write(self) };
        Ok(memory)
    }

    /// Destroys it. [`Error::Busy`] while it is in use.
    ///
    /// # Safety
    /// From [`into_heap`](Self::into_heap), and not used again if this succeeds.
    unsafe fn destroy(object: *mut Self) -> Result<()> {
        {
            // SAFETY: as this function's contract says.
            let object = unsafe { &*object };
            // Without a scheduler there are no tasks.
            if object.home().for_caller()?.is_some() && object.is_in_use() {
                return Err(Error::Busy);
            }
        }
        // SAFETY: as above. No task's `wait` names it.
        unsafe {
            object.drop_in_place();
            sys::free(object.cast());
        }
        Ok(())
    }
}

//! What all synchronization objects have in common.

use super::home::Home;
use crate::engine::scheduler::{Running, yield_spent};
use crate::engine::sys::{self, Error, Result};
use crate::engine::task::{ObjectKind, SchedulerRef, Task, Wait, WaitKind};

/// An object that C has a pointer to.
pub trait Object: Sized {
    fn home(&self) -> &Home;

    /// Whether a task waits for it, or holds it.
    fn is_in_use(&self) -> bool;

    /// The task yields before it uses the object, since its budget is spent. It is in no wait queue.
    const YIELDED: &'static WaitKind = &WaitKind {
        object: ObjectKind::Hidden,
        is_yield: true,
        ..WaitKind::new(c"its turn", unlink::<Self>)
    };

    /// The running task, for a call that may wait. It yields first if its budget is spent.
    #[inline(always)]
    fn begin_call<'t>(&self) -> Result<Running<'t>> {
        let running = self.home().current_task()?;
        if running.0.spend(running.1) {
            self.yield_first(running)?
        };
        Ok(running)
    }

    #[cold]
    #[inline(never)]
    fn yield_first(&self, running: Running<'_>) -> Result<()> {
        self.home().add_user();
        yield_spent(running, Wait::on(Self::YIELDED, self))
    }

    /// Whether it must stay where it is.
    fn is_needed(&self) -> bool {
        self.is_in_use() || self.home().has_users()
    }

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
            if object.home().for_caller()?.is_some() && object.is_needed() {
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

/// # Safety
/// As [`WaitKind::unlink`].
unsafe fn unlink<O: Object>(_: SchedulerRef, object: usize, _: &Task) {
    // SAFETY: an object that has a user is alive.
    unsafe { (*(object as *const O)).home().remove_user() };
}

//! What tasks of one scheduler synchronise by: mutexes, condition variables, semaphores, wait
//! groups and channels. The C ABI and the safe API are two doors to these.
//!
//! There is one thread, so nothing here is atomic, and what a task finds stays so until it
//! suspends. A call that need not wait does not suspend, and works in a canceled task too, so that
//! it can clean up. One that has to wait puts the task into the object's list and parks it; time
//! limits, wake-ups and cancellation take it out again, as from any list (see [`crate::engine::scheduler::park`]).
//!
//! # Handing over
//!
//! Who ends a wait first gives the waiter what it waits for (the mutex, the permits, the element),
//! and then readies it. First come, first served: nobody can take it in between, so a waiter never
//! wakes in vain, and a wake-up cannot be lost: when a task is canceled or its time is over after
//! that, it has what it waited for and says so, and before that it has left the list. The price is
//! a switch each time a contended mutex is passed on; but a task that does not suspend while it
//! has a mutex never meets contention here.
//!
//! # What is alive
//!
//! A list holds tasks of one scheduler, that of the object's [`Home`]. They leave it when the
//! scheduler is destroyed; the objects stay. An object stays alive, and where it is, while a task
//! is in its list: C gets `-EBUSY` when it wants to destroy one, and the safe API borrows it. A
//! task that has been readied does not touch the object again.

mod channel;
mod condvar;
mod home;
mod mutex;
mod select;
mod semaphore;
mod wait_group;

use crate::engine::sys;
use crate::engine::sys::{Error, Result};

pub use channel::Channel;
pub use condvar::Condvar;
pub use home::Home;
pub use mutex::Mutex;
pub use select::{Case, Operation, select, try_select};
pub use semaphore::Semaphore;
pub use wait_group::WaitGroup;

/// An object that C is given the address of.
pub trait Object: Sized {
    fn home(&self) -> &Home;

    /// Whether a task waits for it, or has it.
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

    /// Releases it, unless it is in use.
    ///
    /// # Safety
    /// From [`into_heap`](Self::into_heap), and not used again if this succeeds.
    unsafe fn destroy(object: *mut Self) -> Result<()> {
        {
            // SAFETY: as this function's contract says.
            let object = unsafe { &*object };
            // Without a scheduler there are no tasks.
            if object.home().visit()?.is_some() && object.is_in_use() {
                return Err(Error::Busy);
            }
        }
        // SAFETY: as above. No task's `waits` names it.
        unsafe {
            object.drop_in_place();
            sys::free(object.cast());
        }
        Ok(())
    }
}

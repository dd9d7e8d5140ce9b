//! What tasks synchronise by: [`Mutex`], [`Condvar`], [`Semaphore`], [`WaitGroup`], and the
//! [`channel`], with [`Select`] to wait for several. Between threads: [`remote`].
//!
//! A call that has to wait suspends the task, not the thread. All but what is in `remote` is for the tasks of one
//! thread, and of one scheduler: that of the task that waits first, until it is dropped. So there are no
//! atomics, nothing is `Send`, and tasks share an object by [`Rc`](std::rc::Rc). Where no task
//! suspends between two steps, nobody comes in between, and a [`Cell`](std::cell::Cell) or a
//! [`RefCell`](std::cell::RefCell) is enough.
//!
//! Who waits is served first come, first served, and woken with what it waited for: nobody can take
//! it in between.
//!
//! # Errors
//!
//! A call that need not wait also works in a destructor and, but for those of the mutex, outside a
//! task. In a task it may suspend all the same, so that a task that never has to wait does not keep the thread: after
//! 64 calls, or about 50 us, unless the task has locked a mutex. The calls that begin with `try_` never do, nor does
//! [`Select::attempt`]. One that has to wait is unwound when the task is [canceled](super::task#cancellation), and
//! has taken nothing then. It returns these errors, where it does not say otherwise:
//! [`Error::NotInTask`], [`Error::Unwinding`], [`Error::WrongScheduler`] when tasks of another
//! scheduler of the thread use the object, [`Error::OutOfMemory`] for a timer, and
//! [`Error::Canceled`] in [`no_unwind`](super::task::no_unwind).
//!
//! # Why it is sound
//!
//! *A waiting task refers to the object, and the object to the task.* The task borrows the object
//! for the call, and its frames are left only when the wait is over. A thread-local may be gone
//! before a scheduler whose tasks have borrowed it; an object that is dropped so lets go of them
//! first. Conversely, a scheduler that is dropped takes its tasks out of all lists.
//!
//! *A guard is the proof of the lock.* The core locks a mutex once, and only the guard's drop
//! unlocks it, in whatever task or destructor that happens. A mutex whose guard is never dropped is
//! never locked again.
//!
//! *An element is in one place.* It is moved as bytes from the frame of the sender, over the
//! buffer, to that of the receiver, and each of them knows from the result of its call whether it
//! has it. A frame that is unwound drops what it has.
//!
//! [`Error::NotInTask`]: crate::Error::NotInTask
//! [`Error::Unwinding`]: crate::Error::Unwinding
//! [`Error::WrongScheduler`]: crate::Error::WrongScheduler
//! [`Error::OutOfMemory`]: crate::Error::OutOfMemory
//! [`Error::Canceled`]: crate::Error::Canceled

mod channel;
mod condvar;
mod iter;
mod mutex;
pub mod remote;
mod select;
mod semaphore;
mod slot;
mod wait_group;

pub use channel::{Receiver, SendError, Sender, channel};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use iter::{IntoIter, Iter};
pub use mutex::{Mutex, MutexGuard};
pub use select::{ReceiveEnd, Select, SendEnd};
pub use semaphore::{Permits, Semaphore};
pub use wait_group::{Member, WaitGroup};

use std::ops::Deref;
use std::ptr::from_ref;

use crate::engine::sync::Object;

/// An object of the core's that belongs to safe code.
pub(super) struct Owned<O: Object>(pub(super) O);

impl<O: Object> Deref for Owned<O> {
    type Target = O;

    fn deref(&self) -> &O {
        &self.0
    }
}

impl<O: Object> Drop for Owned<O> {
    fn drop(&mut self) {
        // A thread-local whose borrowers are parked for good: see the module's docs.
        if self.0.is_needed()
            && let Ok(Some(scheduler)) = self.0.home().for_drop()
        {
            scheduler.forget_object(from_ref(&self.0).cast());
        }
    }
}

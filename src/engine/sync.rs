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
mod object;
mod select;
mod semaphore;
mod wait_group;

pub use channel::Channel;
pub use condvar::Condvar;
pub use home::Home;
pub use mutex::Mutex;
pub use object::Object;
pub use select::{Case, Operation, select, try_select};
pub use semaphore::Semaphore;
pub use wait_group::WaitGroup;

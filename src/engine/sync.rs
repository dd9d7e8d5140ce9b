//! Synchronization of one scheduler's tasks: mutexes, condition variables, semaphores, wait groups,
//! channels, and groups of tasks. The C ABI and the Rust API are built on these.
//!
//! There is one thread, so nothing here is atomic, and state cannot change until the task suspends.
//! A call that need not wait works in a canceled task too, so that it can clean up. If it is one that
//! may wait, it spends of the turn's budget, and yields first if that is spent
//! ([`crate::engine::scheduler::spend`]). A call that has to wait links the task into the object's wait queue and parks it;
//! timeouts, wake-ups and cancellation unlink it, as from any wait queue (see
//! [`crate::engine::scheduler::park`]).
//!
//! # Hand-off
//!
//! Ownership is handed off in FIFO order: the mutex, the permits or the element belong to the
//! waiter before it becomes ready. No other task can take them in between, so a waiter never wakes
//! in vain, and no wake-up is lost: a cancel or timeout after the hand-off leaves the waiter the
//! owner, and its call succeeds; one before it has unlinked the waiter. The price is a switch each
//! time a contended mutex is handed off; but a task that does not suspend while it holds a mutex
//! never causes contention.
//!
//! # Lifetimes
//!
//! A wait queue holds tasks of one scheduler, that of the object's [`Home`]. They are unlinked when
//! the scheduler is destroyed; the objects stay. An object stays alive, and keeps its address,
//! while a task waits for it, or has yielded before its call: in C destroying it is `-EBUSY`, and the
//! Rust API borrows it. A task
//! that has been readied does not touch the object again.

mod case;
mod channel;
mod condvar;
mod group;
mod group_call;
mod home;
mod mutex;
mod object;
mod remote_channel;
mod select;
mod semaphore;
mod wait_group;

pub use case::{Case, DEADLINE, DESCRIPTOR, Operation, REMOTE_RECEIVE, REMOTE_SEND, TASK};
pub use channel::Channel;
pub use condvar::Condvar;
pub use group::{Group, Member};
pub use group_call::{Function, argument_of};
pub use home::Home;
pub use mutex::Mutex;
pub use object::Object;
pub use remote_channel::{Handle, Later, RemoteChannel};
pub use select::{SelectWait, select, try_select};
pub use semaphore::Semaphore;
pub use wait_group::WaitGroup;

//! The task object, and the orders that tasks stand in: ready, by time, for the same thing. Pure data
//! structures: no clock, no system call.

mod object;
mod run_queue;
mod timer_heap;
mod wait_queue;

pub use object::*;
pub use run_queue::RunQueue;
pub use timer_heap::{NOT_IN_HEAP, TimerHeap};
pub use wait_queue::{Links, Waiter, Waiters};

//! The task object, the slab, and the queues of tasks: run queue, timer heap, wait queues. Pure
//! data structures: no clock, no system call but for memory.

mod belongings;
mod chunk;
mod named;
mod object;
pub mod probe;
mod run_queue;
mod slab;
mod timer_heap;
mod wait;
mod wait_node;
mod wait_queue;

pub use belongings::{Belongings, Deferrable, Deferred, MOST_VALUES, Part};
pub use chunk::{Chunk, Chunks, INDEX_BITS, ONE_USE};
pub use named::Named;
pub use object::{Body, NOT_IN_HEAP, Name, State, Task, Words, running, to_name};
pub use run_queue::RunQueue;
pub use slab::Slab;
pub use timer_heap::TimerHeap;
pub use wait::{Holders, Left, ObjectKind, Outcome, SchedulerRef, Wait, WaitKind};
pub use wait_node::{FIRED, Place, WaitNode};
pub use wait_queue::{Links, WaitQueue, Waiter};

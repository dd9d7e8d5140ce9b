//! A suspended computation: the switch between stacks, the stacks, and what a thread keeps for the
//! computation that runs on it. Knows no scheduler and no task.

pub mod sanitizer;
pub mod stack;
mod stack_pool;
pub mod switch;
mod thread_state;

pub use stack::Stack;
pub use stack_pool::StackPool;
pub use thread_state::ThreadState;

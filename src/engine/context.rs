//! Execution contexts: the switch, stacks, and per-thread state that is switched along. Knows no
//! scheduler and no task.

mod arena;
pub mod callback;
mod hook;
pub mod leak_roots;
pub mod probe;
pub mod sanitizer;
pub mod stack;
mod stack_class;
mod stack_pool;
pub mod switch;
mod thread_state;

pub use stack::Stack;
pub use stack_pool::StackPool;
pub use thread_state::ThreadState;

//! A suspended computation: the switch between stacks, the stacks, and what a thread keeps for the
//! computation that runs on it. Knows no scheduler.

pub mod sanitizer;
pub mod stack;
pub mod switch;
mod thread_state;

pub use thread_state::ThreadWords;

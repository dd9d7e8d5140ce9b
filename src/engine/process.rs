//! What belongs to the process: signals, and faults of the stack.

pub mod overflow;
pub mod signals;

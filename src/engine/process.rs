//! Process-wide state: signals, and stack overflows.

pub mod overflow;
pub mod signals;

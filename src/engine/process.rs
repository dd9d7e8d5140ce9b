//! Process-wide state: signals, and stack overflows.

pub mod catch;
mod handler;
pub mod overflow;
mod places;
pub mod signals;

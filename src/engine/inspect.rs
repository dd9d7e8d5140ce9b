//! Looking at a scheduler from outside: metrics and tasks in words, and for a debugger.

mod debugger;
mod report;

pub use report::{Bounded, Format, dump, print_metrics, write_metrics};

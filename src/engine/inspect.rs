//! Looking at a scheduler from outside: its metrics and tasks in words, and for a debugger.

mod debugger;
mod dump;
mod report;

pub use dump::dump;
pub use report::{Format, print_metrics, write_metrics};

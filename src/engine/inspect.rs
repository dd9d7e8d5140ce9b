//! Inspection: metrics and tasks as text, and the debugger's table.

mod debugger;
mod dump;
mod report;

pub use dump::dump;
pub use report::{Format, print_metrics, write_counters, write_metrics};

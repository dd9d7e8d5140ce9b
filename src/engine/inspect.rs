//! Inspection: metrics and tasks as text, also at a signal, and the debugger's table.

mod debugger;
mod dump;
mod dump_at_signal;
mod report;
mod trace;

pub use dump::dump;
pub use dump_at_signal::dump_at_signal;
pub use report::{Format, print_metrics, write_counters, write_counters_of_all, write_metrics};
pub use trace::{trace_if_asked, write_trace};

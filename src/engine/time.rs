//! The clock, and deadlines.

mod clock;
mod deadline;
mod rate;

pub use clock::{Clock, ClockFunction, Instant, Ratio};
pub use deadline::Deadline;

//! The clock, and deadlines.

mod clock;
mod deadline;

pub use clock::{Clock, ClockFunction, Instant, Ratio};
pub use deadline::Deadline;

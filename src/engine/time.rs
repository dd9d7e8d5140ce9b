//! The clock, and deadlines.

mod clock;
mod deadline;
mod instant;
mod rate;

pub use clock::{Clock, ClockFunction, Ratio};
pub use deadline::Deadline;
pub use instant::Instant;

//! The clock.

mod clock;

pub use clock::{Clock, ClockFunction, Instant, Ratio};

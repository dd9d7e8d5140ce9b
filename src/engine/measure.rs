//! Metrics: counters and distributions.

mod counters;
mod histogram;
mod turn_times;

pub use counters::{Metrics, add};
pub use histogram::{Histogram, Summary};
pub use turn_times::TurnTimes;

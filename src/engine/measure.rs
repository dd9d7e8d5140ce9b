//! Metrics: counters and distributions.

mod counters;
mod delays;
mod histogram;
mod turn_times;

pub use counters::{Kind, Metric, Metrics, add, distributions};
pub use delays::{Delay, Delays};
pub use histogram::{Histogram, Summary};
pub use turn_times::TurnTimes;

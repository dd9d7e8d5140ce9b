//! What is counted and measured.

mod counters;
mod histogram;
mod run_times;

pub use counters::{Kind, Metric, Metrics, add, distributions};
pub use histogram::{Histogram, Summary};
pub use run_times::TurnTimes;

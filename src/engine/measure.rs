//! What is counted and measured.

mod counters;
mod histogram;
mod run_times;

pub use counters::{Metrics, add};
pub use histogram::{Histogram, Summary};
pub use run_times::TurnTimes;

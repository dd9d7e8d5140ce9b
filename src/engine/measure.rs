//! Metrics: counters and distributions.

mod counters;
mod delays;
mod entry;
mod histogram;
mod recorder;
mod turn_times;

pub use counters::{Kind, Metric, Metrics, add, distributions, sum};
pub use delays::{Delay, Delays};
pub use entry::{Code, EXPONENTS, Entry, PARKED, Recording, Request, write_chrome, write_quoted};
pub use histogram::{Histogram, Summary};
pub use recorder::{Reading, Recorder};
pub use turn_times::TurnTimes;

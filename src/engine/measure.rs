//! What is counted.

mod counters;

pub use counters::{Histogram, Metrics, Summary, TurnTimes, add};

//! Closures for the pool: work that blocks, off the thread of the tasks.

mod run;
mod stub;

pub use run::{run_apart, run_within};
pub use stub::Class;

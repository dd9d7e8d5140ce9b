//! Child processes: making them, waiting for them, ending them.

mod child;
mod list;
mod pauses;
mod pipes;
mod spawn;

pub use child::Child;
pub use spawn::{Descriptor, Spawn, spawn};

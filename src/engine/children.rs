//! Child processes: making them, waiting for them, ending them.

mod child;
mod environment;
mod hand_over;
mod list;
mod notify;
mod pauses;
mod pipes;
mod spawn;

pub use child::Child;
pub use hand_over::hand_over;
pub use notify::notify;
pub use spawn::{Descriptor, Spawn, spawn};

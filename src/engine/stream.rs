//! Buffered streams: a descriptor with a buffer for each direction.
//!
//! What has been read and not been asked for stays in one buffer, and what has been written and not been
//! sent in the other, whatever a call ends with. So a call that is cut short by a time limit, a cancel or
//! an error loses nothing, and the next one goes on.
//!
//! A stream has two sides, for one task at a time each: reading and writing do not touch each other. A
//! side that is in use keeps the stream alive.

mod buffer;
mod input;
mod object;
mod output;
mod session;
mod side;

pub use input::Held;
pub use object::Stream;

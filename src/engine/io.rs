//! Descriptors: who waits for which.

mod reactor;

pub use reactor::{EVENTS, FAILURE, READABLE, Reactor, WRITABLE};

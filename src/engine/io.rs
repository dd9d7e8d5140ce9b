//! Descriptors: which tasks wait for which, and the epoll set that watches them.

mod entry;
mod reactor;

pub use entry::{EVENTS, FAILURE, READABLE, WRITABLE};
pub use reactor::Reactor;

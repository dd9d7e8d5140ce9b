//! I/O readiness: the tasks that wait for each descriptor, and the epoll set.

mod entry;
mod reactor;
mod shrink;

pub use entry::{EVENTS, FAILURE, READABLE, WRITABLE};
pub use reactor::Reactor;

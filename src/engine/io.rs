//! I/O readiness: the tasks that wait for each descriptor, and the epoll set.

mod entry;
mod owned;
mod reactor;
mod resize;
mod waits;

pub use entry::{CLOSED, EVENTS, FAILURE, READABLE, WRITABLE};
pub use reactor::Reactor;

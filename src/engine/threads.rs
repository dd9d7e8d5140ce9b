//! What other threads, signal handlers and children of fork() may meet.

mod fork_lock;

pub use fork_lock::{ForkLock, Held};

//! What other threads, signal handlers and children of fork() may meet.

mod atomic;
mod fork_safe_mutex;
mod identity;
mod inbox;
mod mailbox;
mod remote;

pub use fork_safe_mutex::{ForkSafeMutex, ForkSafeMutexGuard};
pub use identity::this_process;
pub use remote::{Remote, WeakRemote};

//! What other threads, signal handlers and children of fork() may meet.

mod atomic;
mod fork_lock;
mod identity;
mod inbox;
mod mailbox;
mod remote;

pub use fork_lock::{ForkLock, Held};
pub use identity::this_process;
pub use remote::{Remote, WeakRemote};

//! State that is shared with other threads, signal handlers and children of fork().

pub mod atomic;
mod fork_safe_mutex;
mod identity;
mod inbox;
mod mailbox;
mod ownership;
mod remote;

pub use fork_safe_mutex::{ForkSafeMutex, ForkSafeMutexGuard};
pub use identity::this_process;
pub use inbox::{Message, Queue};
pub use ownership::Ownership;
pub use remote::{Poster, Remote, WeakRemote};

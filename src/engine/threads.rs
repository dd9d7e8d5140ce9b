//! What other threads, signal handlers and children of fork() may meet.

mod fork_lock;
mod stop_flag;
mod weak;

pub use fork_lock::{ForkLock, Held};
pub use stop_flag::StopFlag;
pub use weak::WeakRemote;

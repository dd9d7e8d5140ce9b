//! State that is shared with other threads, signal handlers and children of fork().

pub mod atomic;
mod fork_safe_mutex;
mod identity;
mod inbox;
mod mailbox;
mod owner;
mod ownership;
mod parker;
mod parties;
mod quota;
mod remote;
mod remote_block;
mod ring;

pub use fork_safe_mutex::{ForkSafeMutex, ForkSafeMutexGuard};
pub use identity::this_process;
pub use inbox::{Message, Queue};
pub use ownership::Ownership;
pub use parties::{Parties, Party, PartyKind, Rank};
pub use remote::{Poster, Remote, WeakRemote};
pub use ring::{End, Ring};

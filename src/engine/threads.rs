//! State that is shared with other threads, signal handlers and children of fork().

mod arrivals;
pub mod atomic;
mod futex;
mod identity;
mod inbox;
mod lock;
mod mailbox;
mod owner;
mod ownership;
mod parties;
mod quota;
mod remote;
mod remote_block;
mod ring;
mod spare_blocks;
mod task_keys;

pub use arrivals::{Arrival, Arrivals};
pub use futex::Futex;
pub use identity::this_process;
pub use inbox::{Message, Queue};
pub use ownership::{Generation, Ownership};
pub use parties::{Parties, Party, PartyKind, Rank};
pub use remote::{Poster, Remote, WeakRemote};
pub use remote_block::COUNTERS;
pub use ring::{End, Ring};
pub use spare_blocks::BLOCK_BYTES;
pub use task_keys::{MOST_KEYS, destroy_of, inherit_of, is_key, make_key};

// The models of what uses the lock have loom's, which has fewer orders to try. It has models of its own.
#[cfg(loom)]
pub use lock::models::{Lock, LockGuard};
#[cfg(not(loom))]
pub use lock::{Lock, LockGuard};

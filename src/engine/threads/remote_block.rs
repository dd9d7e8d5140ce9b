//! The block that all handles to a scheduler share.
//!
//! | field | who may change it |
//! |---|---|
//! | `handles`, `references` | anybody who has one |
//! | `scheduler` | set once by whoever makes it; null from its destruction on. Only the owner follows it |
//! | `owner`, `quota`, `mailbox`, `spare` | see there |
//! | `posters` | up: the owner, for each `Poster` that it hands out; down: who has it, as its last use of the block, or the owner for it |
//! | `counters` | the owner; anybody reads them, each for itself |
//! | `name` | the owner; anybody reads it, under its lock |
//! | `wake_up_fd`, `opened_by`, then `process` | in a child of fork(): the owner, or who has the scheduler between runs, before the first use of the descriptor |

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::Acquire,
};

use super::identity::this_process;
use super::lock::Lock;
use super::mailbox::Mailbox;
use super::owner::Owner;
use super::parties::Rank;
use super::quota::Quota;
use super::spare_blocks::SpareBlocks;

/// The shared block.
pub struct Block {
    /// How many `Remote`s there are.
    pub handles: AtomicUsize,
    /// How many `WeakRemote`s there are, plus one for all `Remote`s together.
    pub references: AtomicUsize,
    pub scheduler: AtomicPtr<c_void>,
    /// By the address of the thread's thread-local variable.
    pub owner: Owner,
    /// The process that owns the descriptor: a child of fork() shares it with its parent at first,
    /// and must neither write nor read it.
    pub process: AtomicU32,
    /// An eventfd. Whoever has found that `process` is this one may use it.
    pub wake_up_fd: AtomicI32,
    /// The process that has opened it: before the others are opened, which may fail.
    pub opened_by: AtomicU32,
    pub mailbox: Mailbox,
    /// How many `Poster`s are out.
    pub posters: AtomicUsize,
    pub quota: Quota,
    /// Memory of counted messages.
    pub spare: SpareBlocks,
    /// The scheduler's counters, as they were in the latest iteration of its loop.
    pub counters: [AtomicU64; COUNTERS],
    /// The scheduler's name.
    pub name: Lock<ShortName>,
}

/// NUL-terminated.
pub type ShortName = [u8; 24];

/// How many counters a scheduler has at most.
pub const COUNTERS: usize = 20;

/// How many posts may wait at first: 1 MiB of them, which the caches hold.
const MOST_POSTS: usize = 16_384;

impl Block {
    pub fn new(wake_up_fd: c_int) -> Block {
        Block {
            handles: AtomicUsize::new(1),
            references: AtomicUsize::new(1),
            scheduler: AtomicPtr::new(null_mut()),
            owner: Owner::new(),
            process: AtomicU32::new(this_process()),
            wake_up_fd: AtomicI32::new(wake_up_fd),
            opened_by: AtomicU32::new(this_process()),
            mailbox: Mailbox::new(),
            posters: AtomicUsize::new(0),
            quota: Quota::new(MOST_POSTS),
            spare: SpareBlocks::new(),
            counters: [const { AtomicU64::new(0) }; COUNTERS],
            name: Lock::new([0; 24]),
        }
    }

    /// How soon the scheduler would run a message.
    pub fn rank(&self) -> Rank {
        match self.owner.is_there() {
            false => Rank::Away,
            _ if self.process.load(Acquire) != this_process() => Rank::Away,
            _ if self.mailbox.is_stopped() => Rank::Away, // It will not read any more.
            _ if self.mailbox.is_asleep() => Rank::Asleep,
            _ => Rank::Busy,
        }
    }
}

//! Memory of posts that have run, for the next ones. Checked with loom: `make loom`.
//!
//! A post is made by one thread and released by another, which is what C's allocator is slowest at. So the
//! owner leaves the memory here, and who makes a post looks here first. A post has a number, which is how many
//! were left before it, and looks at one place only: that of the numbers with the same remainder. Where posts
//! come about as fast as they run, each finds the memory of an earlier one there, and no two look at the same
//! place. Nobody waits: who finds nothing, or no room, takes C's allocator.
//!
//! | a place is | goes to | by whom |
//! |---|---|---|
//! | empty (null) | full | the owner, who alone fills places |
//! | full | empty | who swaps the address out: the block is theirs. Or the last one that has a reference, who releases all |

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};

use super::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

/// The size of a block, which may be released by free(3).
pub const BLOCK_BYTES: usize = 56;

/// How many are kept at the most.
#[cfg(not(loom))]
const PLACES: usize = 128;
#[cfg(loom)]
const PLACES: usize = 2;

pub struct SpareBlocks([AtomicPtr<c_void>; PLACES]);

impl SpareBlocks {
    pub fn new() -> SpareBlocks {
        SpareBlocks(std::array::from_fn(|_| AtomicPtr::new(null_mut())))
    }

    /// A block for the post of about this number, if there is one.
    #[inline]
    pub fn take(&self, number: usize) -> Option<NonNull<c_void>> {
        let place = &self.0[number % PLACES];
        if place.load(Relaxed).is_null() {
            return None; // Without writing to what others read.
        }
        NonNull::new(place.swap(null_mut(), Acquire))
    }

    /// Leaves a block for later. False, and it stays the caller's, if there is no room. For the owner.
    #[inline]
    pub fn give(&self, number: usize, block: NonNull<c_void>) -> bool {
        let place = &self.0[number % PLACES];
        let is_empty = place.load(Relaxed).is_null();
        if is_empty {
            place.store(block.as_ptr(), Release);
        }
        is_empty
    }

    /// Takes out all, for who releases them.
    pub fn drain(&self) -> impl Iterator<Item = NonNull<c_void>> {
        (0..PLACES).filter_map(|number| self.take(number))
    }
}

#[cfg(all(test, loom))]
#[path = "../../../tests/models/spare_blocks.rs"]
mod models;

//! Spare memory: blocks of one size, for what may outlive the call that makes it, so that a call takes
//! none from C's allocator once there are some.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::engine::sys;

/// The size of a block, which may be released by free(3).
pub const SPARE_BYTES: usize = 128;

/// How many blocks are kept at the most.
const MOST: usize = 256;

/// A block that nobody uses.
#[repr(C, align(16))]
pub struct Block {
    next: *mut Block,
    rest: [usize; SPARE_BYTES / size_of::<usize>() - 1],
}

/// The blocks.
pub struct Spare {
    first: Cell<*mut Block>,
    count: Cell<usize>,
}

impl Spare {
    pub const fn new() -> Spare {
        Spare { first: Cell::new(std::ptr::null_mut()), count: Cell::new(0) }
    }

    /// A block; `None` if there is no memory.
    pub fn take(&self) -> Option<NonNull<Block>> {
        let Some(block) = NonNull::new(self.first.get()) else {
            return NonNull::new(sys::allocate::<Block>(1));
        };
        // SAFETY: a block that nobody uses, whose link was written when it was given back.
        self.first.set(unsafe { (&raw const (*block.as_ptr()).next).read() });
        self.count.set(self.count.get() - 1);
        Some(block)
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// From [`take`](Self::take), of any scheduler, and not used again.
    pub unsafe fn keep(&self, block: NonNull<Block>) {
        if self.count.get() == MOST {
            // SAFETY: as this function's contract says.
            return unsafe { sys::free(block.as_ptr().cast()) };
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*block.as_ptr()).next).write(self.first.get()) };
        self.first.set(block.as_ptr());
        self.count.set(self.count.get() + 1);
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        while self.count.get() > 0 {
            if let Some(block) = self.take() {
                // SAFETY: nobody uses it.
                unsafe { sys::free(block.as_ptr().cast()) };
            }
        }
    }
}

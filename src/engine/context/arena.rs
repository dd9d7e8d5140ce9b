//! An arena: one mapping of many stacks of one size. It is reserved, not committed: a stack that has
//! used one page holds one page.

use std::ptr;

use super::stack::{guard, prepare};
use super::{sanitizer, switch};
use crate::engine::sys::{self, Result};

/// Cache coloring: tops are offset by multiples of a cache line, or the hot ends of all stacks
/// would map to the same few sets of the L1 cache. Half a page at most, so that a shallow stack
/// still fits in one page.
const COLORS: usize = 32;
const COLOR_BYTES: usize = 64;

/// The most slots of an arena.
pub(super) const LARGEST_SLOTS: usize = 1024;

/// The sizes of the parts of a slot.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub usable_bytes: usize,
    pub guard_bytes: usize,
}

impl Shape {
    pub fn slot_bytes(self) -> usize {
        self.guard_bytes + self.usable_bytes
    }
}

/// A mapping of slots. A slot is fresh, then in the hands of the size class, and
/// while it is decommitted it is cold, and again the arena's.
pub(super) struct Arena {
    pub memory: *mut u8,
    pub shape: Shape,
    pub slots: usize,
    /// How many slots are not fresh: they are allocated in order.
    pub allocated: usize,
    /// How many are cold, and a bit for each that is.
    pub cold: usize,
    cold_bits: [u64; LARGEST_SLOTS / 64],
    /// Where its colors begin.
    first_color: usize,
    /// Whether it outlives the pool.
    pub leaked: bool,
}

impl Arena {
    /// Reserves memory for `slots` stacks, or fewer if address space is short.
    pub fn map(mut slots: usize, shape: Shape, first_color: usize) -> Result<Arena> {
        let memory = loop {
            match sys::map(slots * shape.slot_bytes()) {
                Ok(memory) => break memory,
                Err(error) if slots == 1 => return Err(error),
                Err(_) => slots /= 2,
            }
        };
        // SAFETY: the mapping just made.
        unsafe { sys::advise_small_pages(memory, slots * shape.slot_bytes()) };
        let cold_bits = [0; LARGEST_SLOTS / 64];
        let (allocated, cold) = (0, 0);
        Ok(Arena { memory, shape, slots, allocated, cold, cold_bits, first_color, leaked: false })
    }

    /// Unmaps it. Nobody uses any of its stacks.
    pub fn unmap(&self) {
        for index in 0..if switch::on_valgrind() { self.allocated } else { 0 } {
            self.forget(index);
        }
        let bytes = self.slots * self.shape.slot_bytes();
        sanitizer::unpoison(self.memory, bytes);
        // SAFETY: the whole mapping from `map`; no task is left that uses it.
        unsafe { sys::unmap(self.memory, bytes) };
    }

    /// The next fresh slots, `count` at most: guarded, and if there are several, with a populated
    /// page. Returns the range of their indices, which is not empty.
    pub fn allocate(
        &mut self,
        count: usize,
        one_by_one: &mut bool,
    ) -> Result<std::ops::Range<usize>> {
        let slot_bytes = self.shape.slot_bytes();
        let first = self.memory.wrapping_add(self.allocated * slot_bytes);
        let mut count = count.min(self.slots - self.allocated);
        if count > 1 && !*one_by_one {
            *one_by_one = !prepare(first, count, slot_bytes, self.shape.guard_bytes);
        }
        if count == 1 || *one_by_one {
            guard(first, self.shape.guard_bytes)?;
            count = 1;
        }
        let range = self.allocated..self.allocated + count;
        self.allocated += count;
        Ok(range)
    }

    /// The top of a slot.
    pub fn top(&self, index: usize) -> *mut u8 {
        let slot_end = self.memory.wrapping_add((index + 1) * self.shape.slot_bytes());
        slot_end.wrapping_sub((self.first_color + index) % COLORS * COLOR_BYTES)
    }

    /// The index of the slot that a top is of.
    pub fn index(&self, top: *mut u8) -> usize {
        (top as usize - self.memory as usize - 1) / self.shape.slot_bytes()
    }

    fn lowest(&self, index: usize) -> *mut u8 {
        self.memory.wrapping_add(index * self.shape.slot_bytes() + self.shape.guard_bytes)
    }

    /// Takes over a slot whose stack has been decommitted.
    pub fn put_cold(&mut self, index: usize) {
        self.cold_bits[index / 64] |= 1 << (index % 64);
        self.cold += 1;
    }

    /// Hands out the lowest cold slot.
    pub fn take_cold(&mut self) -> Option<usize> {
        let word = self.cold_bits.iter().position(|word| *word != 0)?;
        let bit = self.cold_bits[word].trailing_zeros() as usize;
        self.cold_bits[word] &= self.cold_bits[word] - 1;
        self.cold -= 1;
        Some(word * 64 + bit)
    }

    /// Whether all of its stacks are cold or fresh.
    pub fn is_idle(&self) -> bool {
        self.cold == self.allocated
    }

    /// Tells Valgrind of a stack that is about to be used. Valgrind's stack id is stored in the stack
    /// itself, for [`forget`](Self::forget).
    pub fn announce(&self, index: usize) {
        let lowest = self.lowest(index);
        let end = lowest.wrapping_add(self.shape.usable_bytes);
        let number = switch::valgrind_register_stack(lowest, end);
        if number != 0 {
            // SAFETY: the lowest word of a stack that nobody uses yet.
            unsafe { lowest.cast::<usize>().write(number) };
        }
    }

    /// Tells Valgrind that a stack is none any more, before its memory is given back.
    pub fn forget(&self, index: usize) {
        // SAFETY: within the arena. `announce` has put the number there; it is 0 if the stack's memory
        // was given back since.
        let number = unsafe { ptr::read(self.lowest(index).cast::<usize>()) };
        if number != 0 {
            switch::valgrind_deregister_stack(number);
        }
    }
}

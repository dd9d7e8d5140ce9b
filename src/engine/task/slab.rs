//! The slab: the memory of a scheduler's task objects.
//!
//! A slot keeps its address until the scheduler is destroyed, so a reference to a task that has
//! ended is to a slot that is free or in use again, never to unmapped memory.

use std::cell::Cell;
use std::ptr::null;

use super::object::{NOT_IN_HEAP, State, Task};
use crate::engine::sys::{self, Error, Result};

const FIRST_CHUNK: usize = 32;
/// Tasks of many chunks are not in the caches, so they should at least need few entries of the page
/// tables: a chunk of this size fills a huge page.
const LARGEST_CHUNK: usize = sys::HUGE_PAGE_BYTES / size_of::<Task>();

/// An id is a slot's index in the low bits, and above them how often the slot has been used. At 30
/// ns a use, the 40 bits of the count last for nine hours of using one slot and nothing else.
const INDEX_BITS: u32 = 24;
const LARGEST_SLAB: usize = 1 << INDEX_BITS;
const ONE_USE: u64 = 1 << INDEX_BITS;

/// The slots of a scheduler's tasks: chunks of C's heap memory that never move.
#[derive(Default)]
pub struct Slab {
    /// In the order of their indices.
    chunks: Vec<Chunk>,
    /// The chunks in the order of their addresses.
    by_address: Vec<Chunk>,
    /// Number of slots in all chunks.
    slots: usize,
    /// Where this slab's ids begin, so that ids of different schedulers differ.
    first_id: u64,
    alive: Cell<usize>,
    /// Free slots, linked by `next`.
    free: Cell<*const Task>,
}

/// A piece of memory with `count` slots.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Chunk {
    pub memory: *const Task,
    pub count: usize,
    /// Index of the first slot.
    first_index: usize,
}

/// The chunks of a slab, in the order of their indices, for debuggers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Chunks {
    pub first: *const Chunk,
    pub count: usize,
}

impl Chunks {
    pub const NONE: Chunks = Chunks { first: null(), count: 0 };
}

impl Slab {
    /// A slab whose ids are unlikely to be those of another one: `serial` is the number of the
    /// scheduler.
    pub fn new(serial: u32) -> Slab {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4) spreads the counts'
        // starts.
        let spread = u64::from(serial).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut slab = Slab::default();
        slab.first_id = spread & !(ONE_USE - 1);
        slab
    }

    /// How many tasks are alive.
    pub fn alive(&self) -> usize {
        self.alive.get()
    }

    /// Takes a free slot, if there is one. Its fields are those of a task that has ended; the
    /// caller sets what differs.
    #[inline]
    pub fn allocate<'t>(&self) -> Option<&'t Task> {
        // SAFETY: free slots are in chunks, which live as long as the slab.
        let task = unsafe { self.free.get().as_ref() }?;
        self.free.set(task.next.replace(null()));
        self.alive.set(self.alive.get() + 1);
        task.alive.set(true);
        Some(task)
    }

    /// Frees a slot. The task must be in no queue or heap.
    #[inline]
    pub fn free(&self, task: &Task) {
        debug_assert!(!task.queued.get() && task.heap_index.get() == NOT_IN_HEAP);
        task.alive.set(false);
        task.id.set(task.id.get().wrapping_add(ONE_USE));
        task.next.set(self.free.replace(task));
        self.alive.set(self.alive.get() - 1);
    }

    /// Adds a chunk, so that there are free slots.
    #[cold]
    pub fn grow(&mut self) -> Result<()> {
        let count = self.slots.clamp(FIRST_CHUNK, LARGEST_CHUNK).min(LARGEST_SLAB - self.slots);
        self.chunks.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.by_address.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let memory = sys::allocate::<Task>(count);
        if memory.is_null() || count == 0 {
            return Err(Error::OutOfMemory);
        }
        for index in (0..count).rev() {
            let slot = memory.wrapping_add(index);
            let task = Task { state: Cell::new(State::Exited as u32), ..Task::default() };
            task.next.set(self.free.get());
            task.id.set(self.first_id + (self.slots + index) as u64);
            // SAFETY: `index` is within the chunk, which is aligned for tasks.
            unsafe { slot.write(task) };
            self.free.set(slot);
        }
        let chunk = Chunk { memory, count, first_index: self.slots };
        let place = self.by_address.partition_point(|other| other.memory < chunk.memory);
        self.by_address.insert(place, chunk);
        self.chunks.push(chunk);
        self.slots += count;
        Ok(())
    }

    /// The living task at an address, which may be any.
    pub fn find<'t>(&self, address: *const Task) -> Option<&'t Task> {
        let after = self.by_address.partition_point(|chunk| chunk.memory <= address);
        let chunk = self.by_address.get(after.checked_sub(1)?)?;
        let offset = address as usize - chunk.memory as usize;
        if !offset.is_multiple_of(size_of::<Task>()) || offset / size_of::<Task>() >= chunk.count {
            return None;
        }
        // SAFETY: the address of a slot, which is initialized and lives as long as the slab.
        let task = unsafe { &*address };
        task.alive.get().then_some(task)
    }

    /// The living task with an id, which may be any number.
    pub fn find_id<'t>(&self, id: u64) -> Option<&'t Task> {
        self.at((id & (ONE_USE - 1)) as usize).filter(|task| task.id.get() == id)
    }

    /// Where the chunks are, until the slab grows.
    pub fn chunks(&self) -> Chunks {
        Chunks { first: self.chunks.as_ptr(), count: self.chunks.len() }
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The living task in a slot, which may be any number.
    pub fn at<'t>(&self, index: usize) -> Option<&'t Task> {
        let after = self.chunks.partition_point(|chunk| chunk.first_index <= index);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        let offset = index - chunk.first_index;
        if offset >= chunk.count {
            return None;
        }
        // SAFETY: a slot of the chunk, as in `find`.
        let task = unsafe { &*chunk.memory.wrapping_add(offset) };
        task.alive.get().then_some(task)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.slots * size_of::<Task>()
            + (self.chunks.capacity() + self.by_address.capacity()) * size_of::<Chunk>()
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // SAFETY: from `grow`; tasks need no drop, and the scheduler that used them is gone.
            unsafe { sys::free(chunk.memory.cast_mut().cast()) };
        }
    }
}

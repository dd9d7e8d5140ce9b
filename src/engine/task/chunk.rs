//! A chunk of the slab: a mapping of task objects.
//!
//! It is the scheduler's own mapping, and not of C's heap: task objects live as long as the scheduler,
//! and would keep the program's freed blocks around them from going back to the system.

use std::cell::Cell;
use std::ptr::null;

use super::object::{State, Task};
use crate::engine::context::leak_roots;
use crate::engine::sys;

/// The first slot of a chunk in use.
#[repr(align(64))]
pub struct Head {
    /// Its free slots, linked by `next`.
    pub free: Cell<*const Task>,
    /// How many of its slots hold a task.
    pub used: Cell<usize>,
    /// Links the slab's list of chunks.
    pub next: Cell<*const Head>,
    /// Whether no task was in it when the latest period began, and none has been since.
    pub idle: Cell<bool>,
    /// Its place in the slab's table.
    pub place: usize,
}

impl Head {
    pub const fn new(place: usize, free: *const Task) -> Head {
        Head {
            free: Cell::new(free),
            used: Cell::new(0),
            next: Cell::new(null()),
            idle: Cell::new(false),
            place,
        }
    }
}

const _: () = assert!(size_of::<Head>() <= size_of::<Task>());

/// A chunk.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Chunk {
    /// The first task, behind the head.
    pub memory: *const Task,
    /// How many slots there are; 0 while the memory is given back.
    pub count: usize,
    /// How many there are when it is in use.
    pub slots: usize,
    /// Index of the first slot.
    pub first_index: usize,
    /// How often each slot has been used at most, when the memory was given back.
    uses: u64,
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

/// An id is a slot's index in the low bits, and above them how often the slot has been used. At 30
/// ns a use, the 40 bits of the count last for nine hours of using one slot and nothing else.
pub const INDEX_BITS: u32 = 24;
pub const ONE_USE: u64 = 1 << INDEX_BITS;

impl Chunk {
    /// Maps a chunk of this many bytes, which is not in use yet.
    pub fn map(bytes: usize, first_index: usize) -> Option<Chunk> {
        let memory = sys::map_table(bytes)?.cast::<Task>().wrapping_add(1);
        let slots = bytes / size_of::<Task>() - 1;
        Some(Chunk { memory, count: 0, slots, first_index, uses: 0 })
    }

    fn mapping(&self) -> *mut u8 {
        self.memory.wrapping_sub(1).cast_mut().cast()
    }

    pub fn bytes(&self) -> usize {
        (self.slots + 1) * size_of::<Task>()
    }

    pub fn head(&self) -> &Head {
        debug_assert!(self.count > 0);
        // SAFETY: written by `begin`, and mapped as long as the slab is there.
        unsafe { &*self.memory.wrapping_sub(1).cast::<Head>() }
    }

    /// Takes the memory into use: all slots are free. `first_id` is where the slab's ids begin.
    pub fn begin(&mut self, place: usize, first_id: u64) {
        let head = self.memory.wrapping_sub(1).cast::<Head>();
        let mut free = null();
        for index in (0..self.slots).rev() {
            let slot = self.memory.wrapping_add(index);
            let task = Task { state: Cell::new(State::Exited as u32), ..Task::default() };
            task.next.set(free);
            task.chunk.set(head.cast());
            let uses = self.uses.wrapping_mul(ONE_USE);
            task.id.set((first_id + (self.first_index + index) as u64).wrapping_add(uses));
            // SAFETY: a slot of the mapping, which is aligned for tasks; no task is in it.
            unsafe { slot.cast_mut().write(task) };
            free = slot;
        }
        // SAFETY: the slot before the first one, which is large enough.
        unsafe { head.cast_mut().write(Head::new(place, free)) };
        self.count = self.slots;
        // The tasks' states are theirs alone.
        leak_roots::register(self.mapping(), self.bytes());
    }

    /// Gives the memory back; no task is in it. References to its slots read zeros from now on.
    pub fn give_back(&mut self, first_id: u64) {
        let uses = |index: usize| {
            // SAFETY: a slot, which `begin` has written.
            let id = unsafe { &*self.memory.wrapping_add(index) }.id.get();
            id.wrapping_sub(first_id) >> INDEX_BITS
        };
        self.uses = (0..self.slots).map(uses).max().unwrap_or(0);
        self.count = 0;
        leak_roots::unregister(self.mapping(), self.bytes());
        // SAFETY: the pages of the mapping, of which nothing is needed.
        unsafe { sys::decommit(self.mapping(), self.bytes()) };
    }

    /// Unmaps it.
    ///
    /// # Safety
    /// Nobody uses its tasks.
    pub unsafe fn unmap(&self) {
        if self.count > 0 {
            leak_roots::unregister(self.mapping(), self.bytes());
        }
        // SAFETY: a whole mapping, and as this function's contract says.
        unsafe { sys::unmap(self.mapping(), self.bytes()) };
    }
}

//! A size class of stacks: the arenas, and the free list of their stacks.
//!
//! A stack that is released goes to the free list, last in, first out, so that short tasks share one
//! warm stack. One that nobody has used for a period is decommitted, and belongs to its arena from
//! then on. An arena whose stacks have all come back is unmapped: that gives back its address space,
//! and its page tables, of which a stack takes a kilobyte.

use super::arena::{Arena, LARGEST_SLOTS, Shape};
use super::stack::slot_end;
use super::switch;
use crate::engine::sys::{self, Error, Result, Table};

/// The first arena of a class, and the largest one, in slots and in bytes. In between, an arena has as
/// many as there are already.
const FIRST_SLOTS: usize = 16;
const FIRST_BYTES: usize = 64 << 20;
const LARGEST_BYTES: usize = 1 << 30;

/// When the free list is empty, preallocate `in_use / PREALLOC_DIVISOR` stacks. Two system calls
/// for all replace a system call and a page fault for each, a sixth of the time of parking a new
/// task; and unused stacks hold one page.
pub(super) const PREALLOC_DIVISOR: usize = 64;

/// This many free stacks, the first to be reused, are never decommitted, unless no task has had a
/// stack of the class for a period.
pub(super) const WARM_STACKS: usize = 64;

/// The stacks of one size.
pub(super) struct Class {
    shape: Shape,
    /// The free list: tops of free stacks. The first `moved` have been decommitted, and are their
    /// arenas' by now; the first `to_trim` are to be; the first `idle` have been free all through this
    /// period. `moved <= to_trim <= idle <= free.len()`. Has room for all slots.
    pub free: Table<*mut u8>,
    moved: usize,
    to_trim: usize,
    idle: usize,
    in_use: usize,
    /// In the order of their addresses.
    pub arenas: Table<Arena>,
    /// The arena that may have fresh slots; null for none. The others have none.
    fresh: *mut u8,
    /// No arena before this one has a cold slot.
    first_cold: usize,
    /// Slots of all arenas.
    slots: usize,
    /// Set once the kernel has refused to prepare several slots by one call.
    pub one_by_one: bool,
}

impl Class {
    pub fn new(shape: Shape) -> Class {
        Class {
            shape,
            free: Table::new(),
            moved: 0,
            to_trim: 0,
            idle: 0,
            in_use: 0,
            arenas: Table::new(),
            fresh: std::ptr::null_mut(),
            first_cold: 0,
            slots: 0,
            one_by_one: switch::on_valgrind(),
        }
    }

    /// A stack's top.
    #[inline]
    pub fn acquire(&mut self) -> Result<*mut u8> {
        let top = match self.free.pop() {
            Some(top) if self.free.len() >= self.idle => top,
            Some(top) => self.acquire_idle(top)?,
            None => self.allocate_slots()?,
        };
        self.in_use += 1;
        Ok(top)
    }

    /// Takes one that has been free since the period began, unless it is an arena's by now.
    fn acquire_idle(&mut self, top: *mut u8) -> Result<*mut u8> {
        let free = self.free.len();
        if free < self.moved {
            self.free.truncate(0);
            (self.moved, self.to_trim, self.idle) = (0, 0, 0);
            return self.allocate_slots();
        }
        self.idle = free;
        self.to_trim = self.to_trim.min(free);
        Ok(top)
    }

    #[inline]
    pub fn release(&mut self, top: *mut u8) {
        debug_assert!(self.free.len() < self.free.capacity(), "reserved by `add_arena`");
        self.in_use -= 1;
        self.free.push(top);
    }

    /// How many free stacks are kept as they are.
    fn warm(&self) -> usize {
        if self.in_use == 0 && self.idle == self.free.len() { 0 } else { WARM_STACKS }
    }

    /// Ends a period: what has been free all through it is to be decommitted.
    pub fn end_period(&mut self) {
        let free = self.free.len();
        self.to_trim = self.idle.min(free.saturating_sub(self.warm())).max(self.moved);
        self.idle = free;
    }

    /// Whether [`trim_step`](Self::trim_step) has something to do.
    pub fn has_to_trim(&self) -> bool {
        self.moved < self.to_trim
    }

    /// Whether it will have, unless stacks are used.
    pub fn may_trim(&self) -> bool {
        self.free.len() > self.moved + if self.in_use == 0 { 0 } else { WARM_STACKS }
    }

    /// Decommits as many stacks as one system call takes, and unmaps arenas that are left with none.
    #[cold]
    pub fn trim_step(&mut self) {
        let end = self.to_trim.min(self.moved + sys::MAX_RANGES);
        let range = self.moved..end;
        if switch::on_valgrind() {
            for top in &self.free[range.clone()] {
                let arena = &self.arenas[self.arena_of(*top)];
                arena.forget(arena.index(*top));
            }
        }
        let usable_bytes = self.shape.usable_bytes;
        let starts =
            self.free[range.clone()].iter().map(|top| slot_end(*top).wrapping_sub(usable_bytes));
        // SAFETY: the usable parts of stacks that nobody uses. Nor does a task still run on one that
        // it has released: the loop calls this, on the thread's stack.
        unsafe { sys::decommit_each(starts, usable_bytes) };
        for index in range {
            let top = self.free[index];
            let place = self.arena_of(top);
            let arena = &mut self.arenas[place];
            arena.put_cold(arena.index(top));
            self.first_cold = self.first_cold.min(place);
            if arena.is_idle() && !arena.leaked {
                self.remove_arena(place);
            }
        }
        self.moved = end;
        if self.moved == self.to_trim {
            self.free.remove_first(self.moved);
            self.idle -= self.moved;
            (self.moved, self.to_trim) = (0, 0);
            if self.free.capacity() / 2 >= self.slots {
                self.free.shrink(self.slots);
            }
        }
    }

    /// Cold or fresh slots become free stacks; returns one of them.
    #[cold]
    #[inline(never)]
    fn allocate_slots(&mut self) -> Result<*mut u8> {
        let count = (self.in_use / PREALLOC_DIVISOR).clamp(1, sys::MAX_RANGES);
        let count = if self.one_by_one { 1 } else { count };
        if !self.take_cold(count) {
            let place = self.fresh_arena()?;
            let arena = &mut self.arenas[place];
            let range = arena.allocate(count, &mut self.one_by_one)?;
            for index in range.rev() {
                arena.announce(index);
                self.free.push(arena.top(index));
            }
        }
        self.free.pop().ok_or(Error::OutOfMemory)
    }

    /// Makes `count` cold slots free, or fewer, of the arena with the lowest address that has any: so
    /// those behind it become empty in time. Returns whether there were any.
    fn take_cold(&mut self, count: usize) -> bool {
        while self.arenas.get(self.first_cold).is_some_and(|arena| arena.cold == 0) {
            self.first_cold += 1;
        }
        let Some(arena) = self.arenas.get_mut(self.first_cold) else {
            return false;
        };
        let free = self.free.len();
        while self.free.len() < free + count
            && let Some(index) = arena.take_cold()
        {
            arena.announce(index);
            self.free.push(arena.top(index));
        }
        if count > 1 {
            let page_bytes = sys::page_bytes();
            let last_pages =
                self.free[free..].iter().map(|top| slot_end(*top).wrapping_sub(page_bytes));
            // SAFETY: the last pages of stacks that nobody uses. They fault if it fails.
            unsafe { sys::populate(last_pages, page_bytes) };
        }
        true
    }

    /// The place of an arena with a fresh slot.
    fn fresh_arena(&mut self) -> Result<usize> {
        if !self.fresh.is_null() {
            let place = self.arena_of(self.fresh.wrapping_add(1));
            if self.arenas[place].allocated < self.arenas[place].slots {
                return Ok(place);
            }
        }
        self.add_arena()
    }

    /// Maps an arena: as many slots as there are already, or fewer if address space is short.
    fn add_arena(&mut self) -> Result<usize> {
        let within = |bytes: usize| bytes / self.shape.slot_bytes();
        let first = within(FIRST_BYTES).clamp(1, FIRST_SLOTS);
        let largest = within(LARGEST_BYTES).clamp(1, LARGEST_SLOTS);
        let slots = self.slots.clamp(first, largest);
        self.arenas.reserve(1)?;
        // So that `release` never allocates.
        let all = self.slots + slots;
        self.free.reserve(all - self.free.len())?;
        let arena = Arena::map(slots, self.shape, self.slots)?;
        let place = self.arenas.partition_point(|other| other.memory < arena.memory);
        self.fresh = arena.memory;
        self.slots += arena.slots;
        self.arenas.insert(place, arena);
        self.first_cold = 0;
        Ok(place)
    }

    #[cold]
    fn remove_arena(&mut self, place: usize) {
        let arena = self.arenas.remove(place);
        if arena.memory == self.fresh {
            self.fresh = std::ptr::null_mut();
        }
        self.slots -= arena.slots;
        self.first_cold = 0;
        arena.unmap();
    }

    /// The place of the arena that a top lies in: above its first byte, and at its end at most.
    fn arena_of(&self, top: *mut u8) -> usize {
        self.arenas.partition_point(|arena| arena.memory < top) - 1
    }

    /// Leaks the arena of a stack: it stays mapped for ever.
    pub fn leak(&mut self, top: *mut u8) {
        let place = self.arena_of(top);
        self.arenas[place].leaked = true;
    }

    /// Bytes of heap memory held.
    pub fn bytes(&self) -> usize {
        self.free.bytes() + self.arenas.bytes()
    }

    #[cfg(test)]
    pub fn cold(&self) -> usize {
        self.arenas.iter().map(|arena| arena.cold).sum()
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        self.arenas.iter().filter(|arena| !arena.leaked).for_each(Arena::unmap);
    }
}

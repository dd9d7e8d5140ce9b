//! A scheduler's stack pool: stacks are slots of large mappings, and are reused.
//!
//! An arena is one mapping of many slots of one size. It is reserved, not committed: a stack that
//! has used one page holds one page. Slots are allocated in order, and released to a LIFO free
//! list, so that short tasks share one warm stack.

use std::ptr;

use super::stack::{Stack, guard, guard_bytes, prepare, slot_end};
use super::{sanitizer, switch};
use crate::engine::sys::{self, Error, Result};

/// Cache coloring: tops are offset by multiples of a cache line, or the hot ends of all stacks
/// would map to the same few sets of the L1 cache. Half a page at most, so that a shallow stack
/// still fits in one page.
const COLORS: usize = 32;
const COLOR_BYTES: usize = 64;

const FIRST_ARENA_SLOTS: usize = 16;

const LARGEST_ARENA_SLOTS: usize = 1024;

/// When the free list is empty, preallocate `in_use / PREALLOC_DIVISOR` stacks. Two system calls
/// for all replace a system call and a page fault for each, a sixth of the time of parking a new
/// task; and unused stacks hold one page.
const PREALLOC_DIVISOR: usize = 64;

/// Stacks that were idle for a whole period are decommitted. Decommitting and faulting in again
/// takes as long as a hundred turns, so a burst of tasks that recurs within a period reuses
/// committed stacks.
const TRIM_PERIOD_NS: u64 = 1_000_000_000;

/// This many free stacks, the first to be reused, are never decommitted.
const WARM_STACKS: usize = 64;

/// A scheduler's stacks.
#[derive(Default)]
pub struct StackPool {
    /// One for each size in use so far.
    classes: Vec<Class>,
    period_ends_ns: u64,
}

struct Class {
    usable_bytes: usize,
    /// The free list: tops of free stacks. The first `decommitted` hold no memory, the first
    /// `to_trim` are to be decommitted, the first `idle` have been free all through this period.
    /// `decommitted <= to_trim <= idle <= free.len()`.
    free: Vec<*mut u8>,
    decommitted: usize,
    to_trim: usize,
    idle: usize,
    in_use: usize,
    arenas: Vec<Arena>,
    /// Slots of all arenas, and how many were allocated; all arenas but the last are fully
    /// allocated.
    slots: usize,
    allocated: usize,
    /// Set once the kernel has refused to prepare several slots by one call.
    one_by_one: bool,
}

struct Arena {
    memory: *mut u8,
    slots: usize,
    allocated: usize,
    /// Whether it outlives the pool.
    leaked: bool,
}

impl StackPool {
    /// A stack of at least `bytes`, which [`valid_size`] has returned.
    #[inline]
    pub fn acquire(&mut self, bytes: usize) -> Result<Stack> {
        let class = match self.classes.iter().position(|class| class.usable_bytes == bytes) {
            Some(class) => class,
            None => self.add_class(bytes)?,
        };
        let top = self.classes[class].acquire()?;
        Ok(Stack { top, class })
    }

    /// Releases a stack. The caller may still be running on it, until the next
    /// [`acquire`](Self::acquire).
    #[inline]
    pub fn release(&mut self, stack: Stack) {
        self.classes[stack.class].release(stack.top);
    }

    /// Decommits some of the stacks that were idle for a period: as many as one system call takes,
    /// so that the loop is not delayed. Not to be called from a task.
    pub fn trim_step(&mut self, now_ns: u64) {
        if now_ns >= self.period_ends_ns {
            self.period_ends_ns = now_ns + TRIM_PERIOD_NS;
            self.classes.iter_mut().for_each(Class::end_period);
        }
        if let Some(class) = self.classes.iter_mut().find(|class| class.decommitted < class.to_trim)
        {
            class.trim_step();
        }
    }

    /// When [`trim_step`](Self::trim_step) is due: now (0), at the end of the period, or not before
    /// stacks are used (`u64::MAX`).
    pub fn next_trim_ns(&self) -> u64 {
        let next_ns = |class: &Class| match class {
            _ if class.decommitted < class.to_trim => 0,
            _ if class.free.len() > class.decommitted + WARM_STACKS => self.period_ends_ns,
            _ => u64::MAX,
        };
        self.classes.iter().map(next_ns).min().unwrap_or(u64::MAX)
    }

    /// Leaks the arena of a stack: it stays mapped for ever, since the stack has variables that may
    /// still be referred to.
    pub fn leak(&mut self, stack: Stack) {
        let class = &mut self.classes[stack.class];
        let slot_bytes = class.slot_bytes();
        let holds = |arena: &&mut Arena| {
            let offset = (stack.top as usize).wrapping_sub(arena.memory as usize);
            offset <= arena.slots * slot_bytes && offset > 0
        };
        if let Some(arena) = class.arenas.iter_mut().find(holds) {
            arena.leaked = true;
        }
    }

    /// Bytes of heap memory held, without the stacks themselves.
    pub fn bytes(&self) -> usize {
        let of_class = |class: &Class| {
            class.free.capacity() * size_of::<*mut u8>()
                + class.arenas.capacity() * size_of::<Arena>()
        };
        self.classes.capacity() * size_of::<Class>()
            + self.classes.iter().map(of_class).sum::<usize>()
    }

    #[cold]
    fn add_class(&mut self, usable_bytes: usize) -> Result<usize> {
        self.classes.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.classes.push(Class {
            usable_bytes,
            free: Vec::new(),
            decommitted: 0,
            to_trim: 0,
            idle: 0,
            in_use: 0,
            arenas: Vec::new(),
            slots: 0,
            allocated: 0,
            one_by_one: switch::on_valgrind(),
        });
        Ok(self.classes.len() - 1)
    }
}

impl Class {
    #[inline]
    fn acquire(&mut self) -> Result<*mut u8> {
        let top = match self.free.pop() {
            Some(top) => {
                let free = self.free.len();
                if free < self.idle {
                    self.idle = free;
                    self.to_trim = self.to_trim.min(free);
                    self.decommitted = self.decommitted.min(free);
                }
                top
            }
            None => self.allocate_slots()?,
        };
        self.in_use += 1;
        Ok(top)
    }

    #[inline]
    fn release(&mut self, top: *mut u8) {
        debug_assert!(self.free.len() < self.free.capacity(), "reserved by `add_arena`");
        self.in_use -= 1;
        self.free.push(top);
    }

    fn end_period(&mut self) {
        let free = self.free.len();
        self.to_trim = self.idle.min(free.saturating_sub(WARM_STACKS)).max(self.decommitted);
        self.idle = free;
    }

    #[cold]
    fn trim_step(&mut self) {
        let end = self.to_trim.min(self.decommitted + sys::MAX_RANGES);
        let starts = self.free[self.decommitted..end].iter().map(|top| self.usable_start(*top));
        // SAFETY: the usable parts of stacks that nobody uses. Nor does a task still run on one that
        // it has released: the loop calls this, on the thread's stack.
        unsafe { sys::decommit_each(starts, self.usable_bytes) };
        self.decommitted = end;
    }

    fn usable_start(&self, top: *mut u8) -> *mut u8 {
        slot_end(top).wrapping_sub(self.usable_bytes)
    }

    fn slot_bytes(&self) -> usize {
        guard_bytes() + self.usable_bytes
    }

    /// Allocates the next slots, and returns the first stack; the others go to the free list.
    #[cold]
    #[inline(never)]
    fn allocate_slots(&mut self) -> Result<*mut u8> {
        if self.allocated == self.slots {
            self.add_arena()?;
        }
        let slot_bytes = self.slot_bytes();
        let ahead = self.in_use / PREALLOC_DIVISOR;
        let Some(arena) = self.arenas.last_mut() else {
            return Err(Error::OutOfMemory); // Unreachable: `add_arena` has added one.
        };
        let first = arena.memory.wrapping_add(arena.allocated * slot_bytes);
        let mut count = ahead.clamp(1, sys::MAX_RANGES).min(arena.slots - arena.allocated);
        if count > 1 && !self.one_by_one {
            self.one_by_one = !prepare(first, count, slot_bytes);
        }
        if count == 1 || self.one_by_one {
            guard(first)?;
            count = 1;
        }
        arena.allocated += count;
        for index in (0..count).rev() {
            let slot_end = first.wrapping_add((index + 1) * slot_bytes);
            let color = (self.allocated + index) % COLORS;
            self.free.push(slot_end.wrapping_sub(color * COLOR_BYTES));
        }
        self.allocated += count;
        let lowest = first.wrapping_add(guard_bytes());
        let number = switch::valgrind_register_stack(lowest, first.wrapping_add(slot_bytes));
        if number != 0 {
            // Under Valgrind stacks are allocated one by one, and Valgrind's stack id is stored in
            // the stack itself, for `Drop`.
            // SAFETY: the lowest word of a stack that nobody uses yet.
            unsafe { lowest.cast::<usize>().write(number) };
        }
        self.free.pop().ok_or(Error::OutOfMemory)
    }

    /// Maps the next arena: as many slots as there are already, or fewer if address space is short.
    fn add_arena(&mut self) -> Result<()> {
        let mut slots = self.slots.clamp(FIRST_ARENA_SLOTS, LARGEST_ARENA_SLOTS);
        self.arenas.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        // So that `release` never allocates.
        let all = self.slots + slots;
        self.free.try_reserve(all - self.free.len()).map_err(|_| Error::OutOfMemory)?;
        let memory = loop {
            match sys::map(slots * self.slot_bytes()) {
                Ok(memory) => break memory,
                Err(error) if slots == 1 => return Err(error),
                Err(_) => slots /= 2,
            }
        };
        // SAFETY: the mapping just made.
        unsafe { sys::advise_small_pages(memory, slots * self.slot_bytes()) };
        self.arenas.push(Arena { memory, slots, allocated: 0, leaked: false });
        self.slots += slots;
        Ok(())
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let on_valgrind = switch::on_valgrind();
        let slot_bytes = self.slot_bytes();
        for arena in self.arenas.iter().filter(|arena| !arena.leaked) {
            for index in 0..if on_valgrind { arena.allocated } else { 0 } {
                let lowest = arena.memory.wrapping_add(index * slot_bytes + guard_bytes());
                // SAFETY: within the arena. `allocate_slots` has put the number there; it is 0 again if the
                // stack's memory was given back since.
                let number = unsafe { ptr::read(lowest.cast::<usize>()) };
                if number != 0 {
                    switch::valgrind_deregister_stack(number);
                }
            }
            sanitizer::unpoison(arena.memory, arena.slots * slot_bytes);
            // SAFETY: the whole mapping from `add_arena`; no task is left that uses it.
            unsafe { sys::unmap(arena.memory, arena.slots * slot_bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stack::{
        DEFAULT_BYTES, guard_bytes, guard_range, high_water_bytes, valid_size,
    };
    use super::{Class, PREALLOC_DIVISOR, Stack, StackPool, TRIM_PERIOD_NS, WARM_STACKS};
    use crate::engine::sys::{Error, MAX_RANGES, first_resident_page, install_guards, page_bytes};

    #[test]
    fn the_stack_released_last_is_used_first() {
        let mut pool = StackPool::default();
        let stacks: Vec<Stack> = (0..40).map(|_| pool.acquire(DEFAULT_BYTES).unwrap()).collect();
        for (index, stack) in stacks.iter().enumerate() {
            assert_eq!(stack.top as usize % 16, 0);
            assert!(stacks[..index].iter().all(|other| {
                other.top.addr().abs_diff(stack.top.addr()) >= DEFAULT_BYTES + guard_bytes() - 4096
            }));
        }
        stacks.iter().for_each(|stack| pool.release(*stack));
        for stack in stacks.iter().rev() {
            assert_eq!(pool.acquire(DEFAULT_BYTES).unwrap(), *stack);
        }
    }

    #[test]
    fn sizes_do_not_mix() {
        let mut pool = StackPool::default();
        let large = pool.acquire(valid_size(1 << 20).unwrap()).unwrap();
        pool.release(large);
        let small = pool.acquire(valid_size(20_000).unwrap()).unwrap();
        assert_ne!(large.top, small.top);
        assert_eq!(pool.acquire(1 << 20).unwrap(), large);
        assert_eq!(valid_size(1), Err(Error::InvalidArgument));
        assert_eq!(valid_size(usize::MAX), Err(Error::InvalidArgument));
    }

    #[test]
    fn a_stack_that_nobody_has_used_is_not_used() {
        let mut pool = StackPool::default();
        let stack = pool.acquire(DEFAULT_BYTES).unwrap();
        assert_eq!(high_water_bytes(stack, DEFAULT_BYTES), 0);
        // SAFETY: within the stack, which this test holds.
        unsafe { stack.top.wrapping_sub(5000).write(7) };
        let used = high_water_bytes(stack, DEFAULT_BYTES);
        assert!((5000..9096).contains(&used), "{used} bytes");
        assert_eq!(high_water_bytes(Stack::NONE, DEFAULT_BYTES), 0);
        assert!(guard_range(Stack::NONE, DEFAULT_BYTES).is_empty());
    }

    #[test]
    fn stacks_are_made_ahead_in_proportion_to_those_in_use() {
        for one_by_one in [false, true] {
            let mut pool = StackPool::default();
            let in_use = 10 * PREALLOC_DIVISOR;
            for _ in 0..in_use {
                pool.acquire(DEFAULT_BYTES).unwrap();
            }
            let class: &mut Class = &mut pool.classes[0];
            class.free.clear();
            class.one_by_one |= one_by_one;
            pool.acquire(DEFAULT_BYTES).unwrap();
            let class: &Class = &pool.classes[0];
            // A kernel before 6.15 refuses to make more than one.
            assert_eq!(class.free.len(), if class.one_by_one { 0 } else { 9 });
            for (index, top) in class.free.iter().enumerate() {
                let stack = Stack { top: *top, class: 0 };
                let guard = guard_range(stack, DEFAULT_BYTES);
                // SAFETY: the usable part of a stack.
                let resident = unsafe { first_resident_page(guard.end as *mut u8, DEFAULT_BYTES) };
                assert_eq!(resident, Some(DEFAULT_BYTES / page_bytes() - 1), "stack {index}");
                assert_eq!(high_water_bytes(stack, DEFAULT_BYTES), 0);
                // SAFETY: a path; EFAULT says that it cannot be read.
                let readable = |address: *mut u8| unsafe {
                    libc::access(address.cast(), 0);
                    *libc::__errno_location() != libc::EFAULT
                };
                assert!(readable(guard.end as *mut u8), "stack {index}");
                assert!(!readable((guard.end - 1) as *mut u8), "stack {index}");
                assert!(!readable(guard.start as *mut u8), "stack {index}");
            }
        }
        // SAFETY: nothing is there, and so nothing is changed.
        assert!(!unsafe { install_guards(std::iter::once(page_bytes() as *mut u8), page_bytes()) });
    }

    #[test]
    fn stacks_that_were_free_for_a_period_hold_no_memory() {
        const COUNT: usize = WARM_STACKS + 3 * MAX_RANGES;
        let mut pool = StackPool::default();
        let stacks: Vec<Stack> = (0..COUNT).map(|_| pool.acquire(DEFAULT_BYTES).unwrap()).collect();
        let first_word = |stack: &Stack| stack.top.wrapping_sub(8).cast::<u64>();
        for stack in &stacks {
            // SAFETY: within the stack, which this test holds.
            unsafe { first_word(stack).write(7) };
        }
        let decommitted = |pool: &mut StackPool| {
            // SAFETY: mapped until the pool is dropped.
            let words = stacks.iter().map(|stack| unsafe { first_word(stack).read() });
            let decommitted = words.clone().take_while(|word| *word == 0).count();
            assert!(words.skip(decommitted).all(|word| word == 7));
            assert_eq!(pool.classes[0].decommitted, decommitted);
            decommitted
        };
        let start = 5;
        pool.trim_step(start);
        assert_eq!(pool.next_trim_ns(), u64::MAX);
        stacks.iter().for_each(|stack| pool.release(*stack));
        let period = |count: u64| start + count * TRIM_PERIOD_NS;
        assert_eq!(pool.next_trim_ns(), period(1));
        pool.trim_step(period(1) - 1);
        assert_eq!((decommitted(&mut pool), pool.next_trim_ns()), (0, period(1)));
        // In the first period they were used.
        pool.trim_step(period(1));
        assert_eq!((decommitted(&mut pool), pool.next_trim_ns()), (0, period(2)));
        // In the second all but one were not.
        let used = pool.acquire(DEFAULT_BYTES).unwrap();
        pool.release(used);
        pool.trim_step(period(2));
        assert_eq!((decommitted(&mut pool), pool.next_trim_ns()), (MAX_RANGES, 0));
        (0..3).for_each(|_| pool.trim_step(period(2)));
        assert_eq!((decommitted(&mut pool), pool.next_trim_ns()), (3 * MAX_RANGES, u64::MAX));
        // A decommitted one that is used again is not decommitted.
        let again: Vec<Stack> =
            (0..WARM_STACKS + 1).map(|_| pool.acquire(DEFAULT_BYTES).unwrap()).collect();
        assert_eq!(pool.classes[0].decommitted, 3 * MAX_RANGES - 1);
        again.iter().rev().for_each(|stack| pool.release(*stack));
        assert_eq!(pool.next_trim_ns(), period(3));
    }
}

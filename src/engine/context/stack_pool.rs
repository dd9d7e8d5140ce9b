//! A scheduler's stack pool: a class of stacks for each size in use.

use super::arena::Shape;
use super::stack::{DEFAULT_GUARD_BYTES, SIZES, Stack, size_number, valid_guard_size};
use super::stack_class::Class;
use crate::engine::sys::{self, Error, Result};

/// A scheduler's stacks.
pub struct StackPool {
    /// In the order of their first use.
    classes: Vec<Class>,
    /// For each number of a size the place of its class, and one more; 0 for none.
    places: [u8; SIZES],
    guard_pages: u32,
}

impl Default for StackPool {
    fn default() -> StackPool {
        let guard_pages = DEFAULT_GUARD_BYTES.div_ceil(sys::page_bytes()) as u32;
        StackPool { classes: Vec::new(), places: [0; SIZES], guard_pages }
    }
}

impl StackPool {
    /// A stack of `bytes`, which [`valid_size`](super::stack::valid_size) has returned.
    #[inline]
    pub fn acquire(&mut self, bytes: usize) -> Result<Stack> {
        let class = match usize::from(self.places[size_number(bytes)]) {
            0 => self.add_class(bytes)?,
            place => place - 1,
        };
        let top = self.classes[class].acquire()?;
        Ok(Stack { top, class: class as u32, guard_pages: self.guard_pages })
    }

    /// Releases a stack. The caller may still be running on it, until the next
    /// [`acquire`](Self::acquire).
    #[inline]
    pub fn release(&mut self, stack: Stack) {
        self.classes[stack.class as usize].release(stack.top);
    }

    /// Sets the size of the guards of all stacks; [`Error::Busy`] once there is one.
    /// [`Error::OutOfMemory`] if there is no address space for a stack with such a guard.
    pub fn set_guard_size(&mut self, bytes: usize, stack_bytes: usize) -> Result<()> {
        let guard_bytes = valid_guard_size(bytes)?;
        if !self.classes.is_empty() {
            return Err(Error::Busy);
        }
        let slot_bytes = guard_bytes + stack_bytes;
        let memory = sys::map(slot_bytes).map_err(|_| Error::OutOfMemory)?;
        // SAFETY: made just now, for the question alone.
        unsafe { sys::unmap(memory, slot_bytes) };
        self.guard_pages = (guard_bytes / sys::page_bytes()) as u32;
        Ok(())
    }

    /// Ends a period: stacks that nobody has used in it are to be decommitted.
    pub fn end_period(&mut self) {
        self.classes.iter_mut().for_each(Class::end_period);
    }

    /// Decommits some of them: as many as one system call takes, so that the loop is not delayed.
    /// Returns whether there are more. Not to be called from a task.
    pub fn trim_step(&mut self) -> bool {
        if let Some(class) = self.classes.iter_mut().find(|class| class.has_to_trim()) {
            class.trim_step();
        }
        self.classes.iter().any(Class::has_to_trim)
    }

    /// Whether the end of a period will find stacks to decommit, if none is used before.
    pub fn may_trim(&self) -> bool {
        self.classes.iter().any(Class::may_trim)
    }

    /// Leaks the arena of a stack: it stays mapped for ever, since the stack has variables that may
    /// still be referred to.
    pub fn leak(&mut self, stack: Stack) {
        self.classes[stack.class as usize].leak(stack.top);
    }

    /// Bytes of heap memory held, without the stacks themselves.
    pub fn bytes(&self) -> usize {
        self.classes.capacity() * size_of::<Class>()
            + self.classes.iter().map(Class::bytes).sum::<usize>()
    }

    #[cold]
    fn add_class(&mut self, usable_bytes: usize) -> Result<usize> {
        self.classes.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let guard_bytes = self.guard_pages as usize * sys::page_bytes();
        self.classes.push(Class::new(Shape { usable_bytes, guard_bytes }));
        self.places[size_number(usable_bytes)] = self.classes.len() as u8;
        Ok(self.classes.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stack::{
        DEFAULT_BYTES, DEFAULT_GUARD_BYTES, guard_range, high_water_bytes, valid_size,
    };
    use super::super::stack_class::{PREALLOC_DIVISOR, WARM_STACKS};
    use super::{Class, Stack, StackPool};
    use crate::engine::sys::{Error, MAX_RANGES, first_resident_page, install_guards, page_bytes};

    fn acquire(pool: &mut StackPool, count: usize) -> Vec<Stack> {
        (0..count).map(|_| pool.acquire(DEFAULT_BYTES).unwrap()).collect()
    }

    /// Ends a period, and gives back what is to be.
    fn period(pool: &mut StackPool) {
        pool.end_period();
        while pool.trim_step() {}
    }

    #[test]
    fn the_stack_released_last_is_used_first() {
        let mut pool = StackPool::default();
        let stacks = acquire(&mut pool, 40);
        for (index, stack) in stacks.iter().enumerate() {
            assert_eq!(stack.top as usize % 16, 0);
            assert!(stacks[..index].iter().all(|other| {
                let distance = other.top.addr().abs_diff(stack.top.addr());
                distance >= DEFAULT_BYTES + DEFAULT_GUARD_BYTES - page_bytes()
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
    }

    #[test]
    fn the_guard_has_the_size_that_was_set() {
        for guard_bytes in [page_bytes(), 1 << 20] {
            let mut pool = StackPool::default();
            pool.set_guard_size(guard_bytes, DEFAULT_BYTES).unwrap();
            let stacks = acquire(&mut pool, 2);
            let guard = guard_range(stacks[0], DEFAULT_BYTES);
            assert_eq!(guard.len(), guard_bytes);
            assert_eq!(pool.set_guard_size(guard_bytes, DEFAULT_BYTES), Err(Error::Busy));
            let distance = stacks[1].top.addr().abs_diff(stacks[0].top.addr());
            assert!(distance.abs_diff(DEFAULT_BYTES + guard_bytes) < page_bytes());
        }
        let too_much = StackPool::default().set_guard_size(1, usize::MAX / 4);
        assert_eq!(too_much, Err(Error::OutOfMemory));
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
            acquire(&mut pool, in_use);
            let class: &mut Class = &mut pool.classes[0];
            class.free.truncate(0);
            class.one_by_one |= one_by_one;
            let guard_pages = acquire(&mut pool, 1)[0].guard_pages;
            let class: &Class = &pool.classes[0];
            // A kernel before 6.15 refuses to make more than one.
            assert_eq!(class.free.len(), if class.one_by_one { 0 } else { 9 });
            for (index, top) in class.free.iter().enumerate() {
                let stack = Stack { top: *top, class: 0, guard_pages };
                let guard = guard_range(stack, DEFAULT_BYTES);
                assert_eq!(guard.len(), DEFAULT_GUARD_BYTES);
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
        let mut used = acquire(&mut pool, COUNT + 4);
        // One stays in use in each arena, or arenas would be unmapped.
        for place in [64, 32, 16, 0] {
            used.remove(place);
        }
        let first_word = |stack: &Stack| stack.top.wrapping_sub(8).cast::<u64>();
        for stack in &used {
            // SAFETY: within the stack, which this test holds.
            unsafe { first_word(stack).write(7) };
        }
        pool.end_period();
        assert!(!pool.trim_step() && !pool.may_trim());
        used.iter().for_each(|stack| pool.release(*stack));
        assert!(pool.may_trim());
        // In the first period they were used.
        pool.end_period();
        assert!(!pool.trim_step() && pool.may_trim());
        // In the second all but one were not.
        let again = pool.acquire(DEFAULT_BYTES).unwrap();
        pool.release(again);
        pool.end_period();
        for step in 1..=3 {
            assert_eq!(pool.trim_step(), step < 3, "one system call each");
            assert_eq!(pool.classes[0].cold(), step * MAX_RANGES);
        }
        assert!(!pool.may_trim());
        for (index, stack) in used.iter().enumerate() {
            // SAFETY: mapped, since each arena has one in use.
            let word = unsafe { first_word(stack).read() };
            assert_eq!(word, if index < 3 * MAX_RANGES { 0 } else { 7 }, "stack {index}");
        }
        // Those that are warm are used first, and then those that are not.
        let again = acquire(&mut pool, COUNT);
        assert!(again[..WARM_STACKS].iter().all(|stack| used[3 * MAX_RANGES..].contains(stack)));
        let mut tops: Vec<_> = again.iter().map(|stack| stack.top).collect();
        tops.sort();
        let mut expected: Vec<_> = used.iter().map(|stack| stack.top).collect();
        expected.sort();
        assert_eq!((tops, pool.classes[0].cold()), (expected, 0));
        // Used down into those that are being trimmed.
        again.iter().for_each(|stack| pool.release(*stack));
        pool.end_period();
        pool.end_period();
        assert!(pool.trim_step());
        let mut tops: Vec<_> = acquire(&mut pool, COUNT).iter().map(|it| it.top).collect();
        tops.sort();
        tops.dedup();
        assert_eq!((tops.len(), pool.classes[0].cold()), (COUNT, 0));
    }

    #[test]
    fn arenas_without_a_stack_in_use_are_unmapped() {
        let mut pool = StackPool::default();
        let mut few = acquire(&mut pool, 3);
        for _ in 0..2 {
            let many = acquire(&mut pool, 5000);
            let most = pool.bytes();
            let slots = |pool: &StackPool| -> usize {
                pool.classes[0].arenas.iter().map(|arena| arena.slots).sum()
            };
            assert!(slots(&pool) > 5000);
            many.iter().for_each(|stack| pool.release(*stack));
            period(&mut pool);
            assert!(slots(&pool) > 5000, "used in this period");
            period(&mut pool);
            assert!(slots(&pool) < 2500, "{} slots", slots(&pool));
            assert!(pool.bytes() < most / 2, "of {most} bytes {} are left", pool.bytes());
            for stack in &few {
                // SAFETY: within a stack that this test holds.
                unsafe { stack.top.wrapping_sub(8).write(1) };
            }
            few.extend(acquire(&mut pool, 3));
        }
        // With nobody left, all goes, but what a leaked stack lies in.
        let bytes = pool.bytes();
        few[1..].iter().for_each(|stack| pool.release(*stack));
        pool.leak(few[0]);
        pool.release(few[0]);
        period(&mut pool);
        period(&mut pool);
        period(&mut pool);
        assert_eq!(pool.classes[0].arenas.len(), 1);
        assert!(pool.classes[0].arenas[0].leaked && !pool.may_trim());
        assert!(pool.bytes() < bytes);
    }

    #[test]
    fn any_number_of_sizes_takes_few_classes() {
        let mut pool = StackPool::default();
        for bytes in (16 << 10..64 << 20).step_by(40_000) {
            let stack = pool.acquire(valid_size(bytes).unwrap()).unwrap();
            pool.release(stack);
        }
        assert!(pool.classes.len() <= 50, "{} classes", pool.classes.len());
        period(&mut pool);
        period(&mut pool);
        assert!(pool.classes.iter().all(|class| class.arenas.is_empty()));
    }
}

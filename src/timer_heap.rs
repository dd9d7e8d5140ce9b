//! The timer heap: the sleeping tasks, the earliest first. Pure: no clock, no system call.
//!
//! A min-heap of task pointers, which C can read, with the keys beside them in an array of their
//! own, so that sifting compares neighbours in memory and follows no task pointer. Every task in
//! the heap knows its index (`Task::heap_index`), which makes removal O(log n); a task outside has
//! [`NOT_IN_HEAP`].
//!
//! Four children a node: half the levels of a binary heap, and the four keys lie in one or two
//! cache lines (Larkin, Sen and Tarjan, "A Back-to-Basics Empirical Study of Priority Queues",
//! 2014, measure implicit 4-ary heaps as the fastest of the simple ones on most workloads).

use std::cell::Cell;
use std::ptr::{self, null_mut};

use crate::error::{Error, Result};
use crate::sys;
use crate::task_object::Task;

/// `Task::heap_index` of a task that has no timer.
pub const NOT_IN_HEAP: usize = usize::MAX;

const ARITY: usize = 4;
const FIRST_CAPACITY: usize = 64;

/// What the heap orders by: the time, and among equal times the order of insertion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    deadline_ns: u64,
    serial: u64,
}

/// The heap. C reads the first three fields, in this order.
#[repr(C)]
pub struct TimerHeap {
    /// `capacity` task pointers, then, in the same allocation, `capacity` keys.
    pub slots: Cell<*mut *const Task>,
    pub count: Cell<usize>,
    pub capacity: Cell<usize>,
}

impl TimerHeap {
    pub const fn new() -> TimerHeap {
        TimerHeap { slots: Cell::new(null_mut()), count: Cell::new(0), capacity: Cell::new(0) }
    }

    /// When the earliest task wakes.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        (self.count.get() > 0).then(|| self.key(0).deadline_ns)
    }

    /// Adds a task that is not in the heap, to wake at `deadline_ns`, behind those with the same
    /// deadline and a lower `serial`. The task must stay where it is while it is in the heap.
    pub fn insert(&self, task: &Task, deadline_ns: u64, serial: u64) -> Result<()> {
        debug_assert_eq!(task.heap_index.get(), NOT_IN_HEAP);
        let index = self.count.get();
        if index == self.capacity.get() {
            self.grow()?;
        }
        self.count.set(index + 1);
        task.wake_time_ns.set(deadline_ns);
        self.sift_up(index, task, Key { deadline_ns, serial });
        Ok(())
    }

    /// Takes out the earliest task if it is due at `now_ns`.
    pub fn pop_due<'t>(&self, now_ns: u64) -> Option<&'t Task> {
        if self.next_deadline_ns()? > now_ns {
            return None;
        }
        let task = self.task(0);
        self.remove(task);
        Some(task)
    }

    /// Takes out a task that is in the heap.
    pub fn remove(&self, task: &Task) {
        let index = task.heap_index.replace(NOT_IN_HEAP);
        debug_assert!(ptr::eq(self.task(index), task));
        let last = self.count.get() - 1;
        self.count.set(last);
        if index == last {
            return;
        }
        // The last entry fills the gap, and moves to where it belongs: up or down, never both.
        let (task, key) = (self.task(last), self.key(last));
        if index > 0 && key < self.key(parent(index)) {
            self.sift_up(index, task, key);
        } else {
            self.sift_down(index, task, key);
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.capacity.get() * ENTRY_BYTES
    }

    /// Puts an entry in at `index` or above, moving greater ones down.
    fn sift_up(&self, mut index: usize, task: &Task, key: Key) {
        while index > 0 {
            let above = parent(index);
            let above_key = self.key(above);
            if above_key <= key {
                break;
            }
            self.place(index, self.task(above), above_key);
            index = above;
        }
        self.place(index, task, key);
    }

    /// Puts an entry in at `index` or below, moving smaller ones up.
    fn sift_down(&self, mut index: usize, task: &Task, key: Key) {
        let count = self.count.get();
        loop {
            let first = ARITY * index + 1;
            if first >= count {
                break;
            }
            let mut least = first;
            let mut least_key = self.key(first);
            for child in first + 1..(first + ARITY).min(count) {
                let child_key = self.key(child);
                if child_key < least_key {
                    (least, least_key) = (child, child_key);
                }
            }
            if key <= least_key {
                break;
            }
            self.place(index, self.task(least), least_key);
            index = least;
        }
        self.place(index, task, key);
    }

    #[inline(always)]
    fn place(&self, index: usize, task: &Task, key: Key) {
        debug_assert!(index < self.capacity.get());
        // SAFETY: callers keep the index below `count`, which is at most `capacity`.
        unsafe {
            self.slots.get().add(index).write(task);
            self.keys().add(index).write(key);
        }
        task.heap_index.set(index);
    }

    #[inline(always)]
    fn key(&self, index: usize) -> Key {
        debug_assert!(index < self.capacity.get());
        // SAFETY: as in `place`; entries below `count` have been written.
        unsafe { *self.keys().add(index) }
    }

    #[inline(always)]
    fn task<'t>(&self, index: usize) -> &'t Task {
        debug_assert!(index < self.capacity.get());
        // SAFETY: as in `key`; a task in the heap is alive, see `insert`.
        unsafe { &**self.slots.get().add(index) }
    }

    fn keys(&self) -> *mut Key {
        keys_of(self.slots.get(), self.capacity.get())
    }

    fn grow(&self) -> Result<()> {
        let capacity = (self.capacity.get() * 2).max(FIRST_CAPACITY);
        let slots = sys::allocate::<[u64; ENTRY_BYTES / 8]>(capacity).cast::<*const Task>();
        if slots.is_null() {
            return Err(Error::OutOfMemory);
        }
        let (old, count) = (self.slots.get(), self.count.get());
        // SAFETY: `count` entries of each array were written in the old allocation, both fit in the
        // new one, which is twice as large, and the old one is not used again.
        unsafe {
            if count > 0 {
                ptr::copy_nonoverlapping(old, slots, count);
                ptr::copy_nonoverlapping(self.keys(), keys_of(slots, capacity), count);
            }
            sys::free(old.cast());
        }
        self.slots.set(slots);
        self.capacity.set(capacity);
        Ok(())
    }
}

impl Drop for TimerHeap {
    fn drop(&mut self) {
        // SAFETY: NULL or from `grow`.
        unsafe { sys::free(self.slots.get().cast()) };
    }
}

const ENTRY_BYTES: usize = size_of::<*const Task>() + size_of::<Key>();
// The keys begin where the pointers end.
const _: () = assert!(
    align_of::<Key>() == 8 && align_of::<*const Task>() == 8 && ENTRY_BYTES.is_multiple_of(8)
);

/// Where the keys of an allocation with room for `capacity` entries are.
fn keys_of(slots: *mut *const Task, capacity: usize) -> *mut Key {
    slots.wrapping_add(capacity).cast()
}

fn parent(index: usize) -> usize {
    (index - 1) / ARITY
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{ARITY, NOT_IN_HEAP, TimerHeap, parent};
    use crate::task_object::Task;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        PopDue(u64),
        /// Cancels the n-th of the tasks in the heap, counted round.
        Cancel(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few distinct times, so that equal deadlines are common.
        let time = prop_oneof![0u64..20, Just(u64::MAX), any::<u64>()];
        prop_oneof![
            3 => time.clone().prop_map(Step::Insert),
            2 => time.prop_map(Step::PopDue),
            1 => any::<usize>().prop_map(Step::Cancel),
        ]
    }

    /// What the module's documentation promises of the arrays.
    fn check(heap: &TimerHeap, model: &BTreeMap<(u64, u64), *const Task>) {
        assert_eq!(heap.count.get(), model.len());
        for index in 0..heap.count.get() {
            let task = heap.task(index);
            assert_eq!(task.heap_index.get(), index);
            assert_eq!(task.wake_time_ns.get(), heap.key(index).deadline_ns);
            assert!(index == 0 || heap.key(parent(index)) <= heap.key(index), "order at {index}");
        }
        assert_eq!(heap.next_deadline_ns(), model.keys().next().map(|key| key.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn agrees_with_a_sorted_map(steps in prop::collection::vec(step(), 1..400)) {
            let heap = TimerHeap::new();
            let mut owned = Vec::new();
            let mut model = BTreeMap::new();
            for (serial, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(deadline_ns) => {
                        let task = Box::new(Task::default());
                        heap.insert(&task, deadline_ns, serial as u64).unwrap();
                        model.insert((deadline_ns, serial as u64), &raw const *task);
                        owned.push(task);
                    }
                    Step::PopDue(now_ns) => {
                        let expected = model
                            .first_key_value()
                            .filter(|(key, _)| key.0 <= now_ns)
                            .map(|(key, task)| (*key, *task));
                        let popped = heap.pop_due(now_ns);
                        prop_assert_eq!(popped.map(|task| &raw const *task), expected.map(|e| e.1));
                        if let Some((key, _)) = expected {
                            model.remove(&key);
                            prop_assert_eq!(popped.unwrap().heap_index.get(), NOT_IN_HEAP);
                        }
                    }
                    Step::Cancel(n) if !model.is_empty() => {
                        let (key, task) = model.iter().nth(n % model.len()).unwrap();
                        let (key, task) = (*key, *task);
                        let task = owned.iter().find(|owned| &raw const ***owned == task).unwrap();
                        heap.remove(task);
                        prop_assert_eq!(task.heap_index.get(), NOT_IN_HEAP);
                        model.remove(&key);
                    }
                    Step::Cancel(_) => {}
                }
                check(&heap, &model);
            }
        }
    }

    #[test]
    fn children_and_parents_agree() {
        for index in 0..1000 {
            for child in ARITY * index + 1..=ARITY * index + ARITY {
                assert_eq!(parent(child), index);
            }
        }
    }
}

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
use std::hint::select_unpredictable;
use std::ops::Range;
use std::ptr::{self, null_mut};
use std::slice;

use super::object::{NOT_IN_HEAP, Task};
use crate::engine::context::switch;
use crate::engine::sys::{self, Error, Result};

/// `Task::heap_index` of a task that [`TimerHeap::expire`] has taken out, and not passed to `each`
/// yet.
const DUE: usize = usize::MAX - 1;

const ARITY: usize = 4;
const FIRST_CAPACITY: usize = 64;
/// Up to here a heap does not shrink.
const KEPT_CAPACITY: usize = 1024;

/// What the heap orders by: the time, and among equal times the order of insertion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    deadline_ns: u64,
    serial: u64,
}

impl Key {
    /// One number that orders alike, so that comparing takes no branch: which of two random keys is
    /// less cannot be predicted.
    #[inline(always)]
    fn number(self) -> u128 {
        u128::from(self.deadline_ns) << 64 | u128::from(self.serial)
    }
}

/// A task that is due.
#[derive(Clone, Copy)]
struct Due {
    key: Key,
    task: *const Task,
    /// Where it was in the heap.
    index: usize,
}

/// The heap. C reads the first three fields, in this order.
#[repr(C)]
pub struct TimerHeap {
    /// `capacity` task pointers, then, in the same allocation, `capacity` keys, and room for as
    /// many [`Due`]s, which are pages that stay untouched until so many are due at a time.
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

    /// Takes out the tasks that are due at `now_ns`, and calls `each` with one after the other, the
    /// earliest first. `each` may [`remove`](Self::remove) tasks, and is not called with those that
    /// it has removed. It must not insert any.
    ///
    /// As a batch, since a large heap spends most of its time on cache misses of the tasks that are
    /// moved, whose index must be updated. With a million due at a time this takes a third of the
    /// time of single removals.
    pub fn expire(&self, now_ns: u64, each: impl Fn(&Task)) {
        let count = self.collect_due(now_ns);
        for which in (0..count).rev() {
            self.fill(self.due(which).index);
        }
        if count > 1 {
            // SAFETY: `collect_due` has written these, and nothing else refers to them.
            let due = unsafe { slice::from_raw_parts_mut(self.dues(), count) };
            due.sort_unstable_by_key(|due| due.key.number());
        }
        for which in 0..count {
            /// Prefetch distance.
            const AHEAD: usize = 8;
            switch::prefetch(self.due((which + AHEAD).min(count - 1)).task);
            // SAFETY: a task in the heap is alive, see `insert`, and tasks do not end in `each`.
            let task = unsafe { &*self.due(which).task };
            if task.heap_index.get() == DUE {
                task.heap_index.set(NOT_IN_HEAP);
                each(task);
            }
        }
    }

    /// Lists the tasks that are due, and returns how many there are. Whatever is above one that is
    /// due in the heap is due, too, so the list itself leads to its next entries, and they are found
    /// in the order of their indices.
    fn collect_due(&self, now_ns: u64) -> usize {
        let entries = self.count.get();
        let mut found = 0;
        let mut look_at = |range: Range<usize>| {
            for index in range.start..range.end.min(entries) {
                let key = self.key(index);
                if key.deadline_ns <= now_ns {
                    let task = self.task(index);
                    task.heap_index.set(DUE);
                    // SAFETY: there is room for as many as the heap has entries.
                    unsafe { self.dues().add(found).write(Due { key, task, index }) };
                    found += 1;
                }
            }
            found
        };
        let mut count = look_at(0..1);
        let mut next = 0;
        while next < count {
            count = look_at(children(self.due(next).index));
            next += 1;
        }
        count
    }

    /// Fills the gap at `index`, below which there is no other gap.
    fn fill(&self, index: usize) {
        let last = self.count.get() - 1;
        self.count.set(last);
        if index < last {
            self.sift_down(index, self.task(last), self.key(last));
        }
    }

    /// Takes out a task that is in the heap.
    pub fn remove(&self, task: &Task) {
        let index = task.heap_index.replace(NOT_IN_HEAP);
        if index == DUE {
            return;
        }
        debug_assert!(ptr::eq(self.task(index), task));
        let last = self.count.get() - 1;
        // The last entry fills the gap, and moves to where it belongs: up or down, never both.
        let (task, key) = (self.task(last), self.key(last));
        if index < last && index > 0 && key < self.key(parent(index)) {
            self.count.set(last);
            self.sift_up(index, task, key);
        } else {
            self.fill(index);
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
        while let Some((least, least_key)) = self.least(children(index)) {
            if key <= least_key {
                break;
            }
            self.place(index, self.task(least), least_key);
            index = least;
        }
        self.place(index, task, key);
    }

    /// The least existing entry in a range of indices.
    #[inline(always)]
    fn least(&self, range: Range<usize>) -> Option<(usize, Key)> {
        let lesser = |left: (usize, Key), right: (usize, Key)| {
            let swap = right.1.number() < left.1.number();
            select_unpredictable(swap, right, left)
        };
        let entry = |index| (index, self.key(index));
        let count = self.count.get();
        if range.end <= count {
            let pair = |index| lesser(entry(index), entry(index + 1));
            const { assert!(ARITY == 4) };
            return Some(lesser(pair(range.start), pair(range.start + 2)));
        }
        (range.start..count).map(entry).reduce(lesser)
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

    /// The list of `expire`.
    fn dues(&self) -> *mut Due {
        self.keys().wrapping_add(self.capacity.get()).cast()
    }

    #[inline(always)]
    fn due(&self, which: usize) -> Due {
        debug_assert!(which < self.capacity.get());
        // SAFETY: callers keep below the number that `collect_due` has written.
        unsafe { *self.dues().add(which) }
    }

    /// Halves the capacity, if not a quarter of it is in use. Not while `expire` runs.
    pub fn shrink(&self) {
        if self.may_shrink() {
            let _ = self.resize(self.capacity.get() / 2); // Without memory it stays as it is.
        }
    }

    /// Whether [`shrink`](Self::shrink) has something to do.
    pub fn may_shrink(&self) -> bool {
        self.capacity.get() > KEPT_CAPACITY && self.count.get() < self.capacity.get() / 4
    }

    fn grow(&self) -> Result<()> {
        self.resize((self.capacity.get() * 2).max(FIRST_CAPACITY))
    }

    /// `capacity` is at least `count`.
    fn resize(&self, capacity: usize) -> Result<()> {
        let bytes = capacity.checked_mul(ENTRY_BYTES).ok_or(Error::OutOfMemory)?;
        let slots = sys::allocate_table(bytes).cast::<*const Task>();
        if slots.is_null() {
            return Err(Error::OutOfMemory);
        }
        let (old, count) = (self.slots.get(), self.count.get());
        // SAFETY: `count` entries of each array were written in the old allocation, both fit in the
        // new one, and the old one is not used again.
        unsafe {
            if count > 0 {
                ptr::copy_nonoverlapping(old, slots, count);
                ptr::copy_nonoverlapping(self.keys(), keys_of(slots, capacity), count);
            }
            self.release();
        }
        self.slots.set(slots);
        self.capacity.set(capacity);
        Ok(())
    }
}

impl TimerHeap {
    /// # Safety
    /// The memory is not used again.
    unsafe fn release(&self) {
        if !self.slots.get().is_null() {
            // SAFETY: from `resize`, with this capacity, and as this function's contract says.
            unsafe { sys::free_table(self.slots.get().cast(), self.bytes()) };
        }
    }
}

impl Drop for TimerHeap {
    fn drop(&mut self) {
        // SAFETY: it is not used again.
        unsafe { self.release() };
    }
}

const ENTRY_BYTES: usize = size_of::<*const Task>() + size_of::<Key>() + size_of::<Due>();
// One array begins where the one before it ends.
const _: () = assert!(align_of::<*const Task>() == 8 && align_of::<Key>() == 8);
const _: () = assert!(align_of::<Due>() == 8 && ENTRY_BYTES.is_multiple_of(8));

/// Where the keys of an allocation with room for `capacity` entries are.
fn keys_of(slots: *mut *const Task, capacity: usize) -> *mut Key {
    slots.wrapping_add(capacity).cast()
}

fn parent(index: usize) -> usize {
    (index - 1) / ARITY
}

fn children(index: usize) -> Range<usize> {
    ARITY * index + 1..ARITY * index + 1 + ARITY
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::ptr;

    use proptest::prelude::*;

    use super::{NOT_IN_HEAP, TimerHeap, children, parent};
    use crate::engine::task::Task;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        /// What has expired may cancel the n-th of the others.
        Expire(u64, Option<usize>),
        /// Cancels the n-th of the tasks in the heap, counted round.
        Cancel(usize),
        /// Adds that many that never expire, takes them out again, and shrinks.
        Swell(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few distinct times, so that equal deadlines are common.
        let time = prop_oneof![0u64..20, Just(u64::MAX), any::<u64>()];
        prop_oneof![
            3 => time.clone().prop_map(Step::Insert),
            2 => (time, any::<Option<usize>>()).prop_map(|(time, n)| Step::Expire(time, n)),
            1 => any::<usize>().prop_map(Step::Cancel),
            1 => (0usize..5000).prop_map(Step::Swell),
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
            let mut owned: Vec<Box<Task>> = Vec::new();
            let mut model = BTreeMap::new();
            for (serial, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(deadline_ns) => {
                        let task = Box::new(Task::default());
                        heap.insert(&task, deadline_ns, serial as u64).unwrap();
                        model.insert((deadline_ns, serial as u64), &raw const *task);
                        owned.push(task);
                    }
                    Step::Expire(now_ns, cancel) => {
                        let left = RefCell::new(&mut model);
                        heap.expire(now_ns, |task| {
                            let mut left = left.borrow_mut();
                            assert_eq!(task.heap_index.get(), NOT_IN_HEAP);
                            let (key, first) = left.pop_first().unwrap();
                            assert!(key.0 <= now_ns && ptr::eq(task, first));
                            if let Some(n) = cancel && !left.is_empty() {
                                let (key, other) = left.iter().nth(n % left.len()).unwrap();
                                let (key, other) = (*key, *other);
                                let other = owned.iter().find(|owned| ptr::eq(&***owned, other));
                                heap.remove(other.unwrap());
                                left.remove(&key);
                            }
                        });
                        prop_assert!(model.keys().next().is_none_or(|key| key.0 > now_ns));
                    }
                    Step::Cancel(n) if !model.is_empty() => {
                        let (key, task) = model.iter().nth(n % model.len()).unwrap();
                        let (key, task) = (*key, *task);
                        let task = owned.iter().find(|owned| ptr::eq(&***owned, task)).unwrap();
                        heap.remove(task);
                        prop_assert_eq!(task.heap_index.get(), NOT_IN_HEAP);
                        model.remove(&key);
                    }
                    Step::Cancel(_) => {}
                    Step::Swell(count) => {
                        let tasks: Vec<Task> = (0..count).map(|_| Task::default()).collect();
                        tasks.iter().for_each(|task| heap.insert(task, u64::MAX, u64::MAX).unwrap());
                        tasks.iter().for_each(|task| heap.remove(task));
                        while heap.may_shrink() {
                            heap.shrink();
                        }
                        prop_assert!(heap.capacity.get() <= super::KEPT_CAPACITY.max(4 * model.len()));
                    }
                }
                check(&heap, &model);
            }
        }
    }

    #[test]
    fn children_and_parents_agree() {
        for index in 0..1000 {
            for child in children(index) {
                assert_eq!(parent(child), index);
            }
        }
    }
}

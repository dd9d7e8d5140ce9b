//! A scheduler's tasks: the slab of task objects, the stack pool, and the tasks that wait for a
//! stack.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::starved::Starved;
use crate::engine::context::{Stack, StackPool, stack};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Chunks, Slab, Task};

/// The tasks. Its `RefCell` is borrowed for the length of one call into it.
pub struct Tasks {
    slab: Slab,
    /// Where the slab has the task objects, for debuggers.
    pub chunks: Cell<Chunks>,
    stacks: RefCell<StackPool>,
    /// The stack size of tasks that have none of their own.
    stack_bytes: Cell<usize>,
    /// New tasks that wait for a stack.
    pub starved: Starved,
    /// Which of the schedulers this is that the process has made, and those before it that it was forked from:
    /// from 1 on.
    pub serial: u32,
}

impl Tasks {
    pub fn new() -> Tasks {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        let serial = SERIAL.fetch_add(1, Relaxed);
        Tasks {
            slab: Slab::new(serial),
            chunks: Cell::new(Chunks::NONE),
            stacks: RefCell::default(),
            stack_bytes: Cell::new(stack::DEFAULT_BYTES),
            starved: Starved::new(),
            serial,
        }
    }

    /// A slot for a new task, if there is one. Its fields are those of a task that has ended.
    #[inline]
    pub fn allocate_now(&self) -> Option<&Task> {
        self.slab.allocate()
    }

    /// [`allocate_now`](Self::allocate_now) that makes slots if there are none.
    pub fn allocate(&self) -> Result<&Task> {
        match self.slab.allocate() {
            Some(task) => Ok(task),
            None => self.refill(),
        }
    }

    #[cold]
    fn refill(&self) -> Result<&Task> {
        let refilled = self.slab.refill();
        self.chunks.set(self.slab.chunks()); // The table may have moved in any case.
        refilled?;
        self.slab.allocate().ok_or(Error::OutOfMemory)
    }

    /// Frees the slot of a task that is in no queue or heap.
    #[inline]
    pub fn free(&self, task: &Task) {
        self.slab.free(task);
    }

    /// Gives a task the id that a new one in its slot would have.
    #[inline]
    pub fn renew(&self, task: &Task) {
        self.slab.renew(task);
    }

    /// How many are alive.
    #[inline]
    pub fn alive(&self) -> usize {
        self.slab.alive()
    }

    /// The living task with an id, which may be any number.
    pub fn find_id(&self, id: u64) -> Option<&Task> {
        self.slab.find_id(id)
    }

    /// The living task at an address, which may be any.
    pub fn find(&self, address: *const Task) -> Option<&Task> {
        self.slab.find(address)
    }

    /// The living tasks, also tasks that are added during the iteration. No borrow is held between
    /// two items.
    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        let mut next = 0;
        std::iter::from_fn(move || {
            while next < self.slab.slots() {
                next += 1;
                if let Some(task) = self.slab.at(next - 1) {
                    return Some(task);
                }
            }
            None
        })
    }

    /// Sets the stack size of tasks to come.
    pub fn set_stack_size(&self, bytes: usize) -> Result<()> {
        self.stack_bytes.set(stack::valid_size(bytes)?);
        Ok(())
    }

    /// How large the stack of a new task is to be.
    #[inline(always)]
    pub fn wanted_stack_bytes(&self, task: &Task) -> usize {
        match task.stack_bytes() {
            0 => self.stack_bytes.get(),
            bytes => bytes,
        }
    }

    /// Takes a stack from the pool.
    #[inline]
    pub fn acquire_stack(&self, bytes: usize) -> Result<Stack> {
        self.stacks.borrow_mut().acquire(bytes)
    }

    /// Releases a stack. The caller may still be running on it, until the next
    /// [`acquire_stack`](Self::acquire_stack).
    #[inline]
    pub fn release_stack(&self, stack: Stack) {
        self.stacks.borrow_mut().release(stack);
    }

    /// Leaks the stack of a task that does not run again: it stays mapped for ever.
    pub fn leak_stack(&self, task: &Task) {
        self.stacks.borrow_mut().leak(task.stack.replace(Stack::NONE));
    }

    /// Sets the size of the guards of all stacks; [`Error::Busy`] once there is a stack.
    pub fn set_guard_size(&self, bytes: usize) -> Result<()> {
        self.stacks.borrow_mut().set_guard_size(bytes, self.stack_bytes.get())
    }

    /// Ends a period: what nobody has used in it is to be given back.
    pub fn end_period(&self) {
        self.slab.end_period();
        self.stacks.borrow_mut().end_period();
    }

    /// Gives a part of it back. Returns whether there is more.
    pub fn trim_step(&self) -> bool {
        let more = self.slab.give_back_one();
        self.stacks.borrow_mut().trim_step() || more
    }

    /// Whether the end of a period may find something to give back.
    pub fn may_trim(&self) -> bool {
        self.slab.may_be_empty() || self.stacks.borrow().may_trim()
    }

    /// Bytes of memory held, without the stacks themselves.
    pub fn bytes(&self) -> usize {
        self.slab.bytes() + self.stacks.borrow().bytes()
    }
}

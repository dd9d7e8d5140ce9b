//! A scheduler's tasks: the slab of task objects, the stack pool, and the tasks that wait for a
//! stack.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::starved::Starved;
use crate::engine::context::{Stack, StackPool, stack};
use crate::engine::sys::{Error, Result};
use crate::engine::task::{Chunks, Slab, Task};

/// The tasks. Its `RefCell`s are borrowed for the length of one call into them.
pub struct Tasks {
    slab: RefCell<Slab>,
    /// Where the slab has the task objects, for debuggers.
    pub chunks: Cell<Chunks>,
    stacks: RefCell<StackPool>,
    /// The stack size of tasks that have none of their own.
    stack_bytes: Cell<usize>,
    /// New tasks that wait for a stack.
    pub starved: Starved,
}

impl Tasks {
    pub fn new() -> Tasks {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        Tasks {
            slab: RefCell::new(Slab::new(SERIAL.fetch_add(1, Relaxed))),
            chunks: Cell::new(Chunks::NONE),
            stacks: RefCell::default(),
            stack_bytes: Cell::new(stack::DEFAULT_BYTES),
            starved: Starved::new(),
        }
    }

    /// A slot for a new task. Its fields are those of a task that has ended.
    #[inline]
    pub fn allocate(&self) -> Result<&Task> {
        let slot = self.slab.borrow().allocate();
        match slot {
            Some(task) => Ok(task),
            None => self.grow(),
        }
    }

    #[cold]
    fn grow(&self) -> Result<&Task> {
        self.slab.borrow_mut().grow()?;
        self.chunks.set(self.slab.borrow().chunks());
        self.slab.borrow().allocate().ok_or(Error::OutOfMemory)
    }

    /// Frees the slot of a task that is in no queue or heap.
    #[inline]
    pub fn free(&self, task: &Task) {
        self.slab.borrow().free(task);
    }

    /// How many are alive.
    #[inline]
    pub fn alive(&self) -> usize {
        self.slab.borrow().alive()
    }

    /// The living task with an id, which may be any number.
    pub fn find_id(&self, id: u64) -> Option<&Task> {
        self.slab.borrow().find_id(id)
    }

    /// The living task at an address, which may be any.
    pub fn find(&self, address: *const Task) -> Option<&Task> {
        self.slab.borrow().find(address)
    }

    /// The living tasks, also tasks that are added during the iteration. No borrow is held between
    /// two items.
    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let slab = self.slab.borrow();
            while next < slab.slots() {
                next += 1;
                if let Some(task) = slab.at(next - 1) {
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
        match task.stack_bytes.get() {
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

    /// Leaks a stack: it stays mapped for ever.
    pub fn leak_stack(&self, stack: Stack) {
        self.stacks.borrow_mut().leak(stack);
    }

    /// Decommits some of the stacks that have been idle for a while.
    pub fn trim_stacks(&self, now_ns: u64) {
        self.stacks.borrow_mut().trim_step(now_ns);
    }

    /// When [`trim_stacks`](Self::trim_stacks) is due next.
    pub fn next_trim_ns(&self) -> u64 {
        self.stacks.borrow().next_trim_ns()
    }

    /// Bytes of memory held, without the stacks themselves.
    pub fn bytes(&self) -> usize {
        self.slab.borrow().bytes() + self.stacks.borrow().bytes()
    }
}

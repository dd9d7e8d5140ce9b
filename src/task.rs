//! The task object, and the slab that holds a scheduler's tasks.
//!
//! # Where a task is
//!
//! C can see and write [`State`]; what the engine relies on is its own (`queued`, `heap_index`,
//! `waits_for`, `context`, `stack`), and only these places change it:
//!
//! | the task is | `queued` | `heap_index` | `waits_for` | made so by |
//! |---|---|---|---|---|
//! | ready (fresh, yielded, woken) | yes | none | none | spawn, yield, wake |
//! | running | no, unless woken meanwhile | none | none | the scheduler, taking it from the queue |
//! | sleeping | no | set | none | sleep |
//! | waiting for a descriptor | no | none | set | wait |
//! | parked by its own body | no | none | none | returning in state SLEEPING or WAITING_IO |
//! | held back (no stack to be had) | in the scheduler's `held_back` | none | none | its first turn |
//! | ended | no | none | none | the scheduler, after the body |
//!
//! Tasks are referred to by `&Task` and raw pointers, never by `&mut`: C holds pointers to them too. All
//! fields are cells. A slot keeps its address until the scheduler is destroyed, so a reference to a task
//! that has ended is to a slot that is free or in use again, never to unmapped memory.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};

use crate::error::{Error, Result};
use crate::scheduler::Scheduler;
use crate::stack::{self, Stack};
use crate::sys;
use crate::timer_heap::NOT_IN_HEAP;

/// The function of a task.
pub type Body = unsafe extern "C" fn(*mut Scheduler, *mut c_void);

/// What C sees of where a task is. Kept as an integer, since C may write any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    Runnable = 0,
    Sleeping = 1,
    WaitingIo = 2,
    Exited = 3,
}

/// `waits_for` of a task that waits for no descriptor.
pub const NO_FD: c_int = -1;

/// One task. C reads the first six fields, in this order.
#[repr(C)]
pub struct Task {
    pub body: Cell<Option<Body>>,
    /// From C's allocator; the task owns it.
    pub user_state: Cell<*mut c_void>,
    /// A [`State`], as far as C keeps to it.
    pub state: Cell<u32>,
    pub wake_time_ns: Cell<u64>,
    pub heap_index: Cell<usize>,
    /// Links the run queue, or the slab's free slots.
    pub next: Cell<*const Task>,

    /// The suspended context; null before the first turn and after the last one.
    pub context: Cell<*mut u8>,
    /// The stack, from the first turn to the end.
    pub stack: Cell<Stack>,
    /// The size asked for; 0 for the scheduler's.
    pub stack_bytes: Cell<usize>,
    /// The scheduler that holds the slot.
    pub scheduler: Cell<*const Scheduler>,
    /// Whether the task is linked by `next` into a run queue.
    pub queued: Cell<bool>,
    /// Whether the slot holds a task, rather than being free.
    pub alive: Cell<bool>,
    /// Whether a log callback is running on this task's stack.
    pub in_log_callback: Cell<bool>,
    /// The descriptor whose list of waiters the task is in, or [`NO_FD`].
    pub waits_for: Cell<c_int>,
    /// The events it waits for.
    pub interest: Cell<u32>,
    /// Links the descriptor's waiters.
    pub next_waiter: Cell<*const Task>,
}

impl Default for Task {
    fn default() -> Task {
        Task {
            body: Cell::new(None),
            user_state: Cell::new(null_mut()),
            state: Cell::new(State::Runnable as u32),
            wake_time_ns: Cell::new(0),
            heap_index: Cell::new(NOT_IN_HEAP),
            next: Cell::new(null()),
            context: Cell::new(null_mut()),
            stack: Cell::new(Stack::NONE),
            stack_bytes: Cell::new(0),
            scheduler: Cell::new(null()),
            queued: Cell::new(false),
            alive: Cell::new(false),
            in_log_callback: Cell::new(false),
            waits_for: Cell::new(NO_FD),
            interest: Cell::new(0),
            next_waiter: Cell::new(null()),
        }
    }
}

impl Task {
    pub fn is(&self, state: State) -> bool {
        self.state.get() == state as u32
    }

    pub fn set_state(&self, state: State) {
        self.state.set(state as u32);
    }

    /// Sets the stack's size, before the task has one.
    pub fn set_stack_size(&self, bytes: usize) -> Result<()> {
        let bytes = stack::valid_size(bytes)?;
        if !self.alive.get() {
            return Err(Error::InvalidArgument);
        }
        if !self.context.get().is_null() || self.stack.get() != Stack::NONE {
            return Err(Error::Busy);
        }
        self.stack_bytes.set(bytes);
        Ok(())
    }
}

const FIRST_CHUNK: usize = 32;
const LARGEST_CHUNK: usize = 4096;

/// The slots of a scheduler's tasks: chunks of C's heap memory that never move.
#[derive(Default)]
pub struct Slab {
    /// Address and number of slots, sorted by address.
    chunks: Vec<(*const Task, usize)>,
    slots: usize,
    alive: Cell<usize>,
    /// Free slots, linked by `next`.
    free: Cell<*const Task>,
}

impl Slab {
    /// How many tasks are alive.
    pub fn alive(&self) -> usize {
        self.alive.get()
    }

    /// Takes a free slot, if there is one. Its fields are those of a task that has ended; the caller sets
    /// what differs.
    #[inline]
    pub fn allocate<'t>(&self) -> Option<&'t Task> {
        // SAFETY: free slots are in chunks, which live as long as the slab.
        let task = unsafe { self.free.get().as_ref() }?;
        self.free.set(task.next.replace(null()));
        self.alive.set(self.alive.get() + 1);
        task.alive.set(true);
        Some(task)
    }

    /// Gives a slot back. The task must be in no queue, heap or list.
    #[inline]
    pub fn free(&self, task: &Task) {
        debug_assert!(!task.queued.get() && task.heap_index.get() == NOT_IN_HEAP);
        task.alive.set(false);
        task.next.set(self.free.replace(task));
        self.alive.set(self.alive.get() - 1);
    }

    /// Adds a chunk, so that there are free slots.
    pub fn grow(&mut self) -> Result<()> {
        let count = self.slots.clamp(FIRST_CHUNK, LARGEST_CHUNK);
        self.chunks.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        let chunk = sys::allocate_zeroed::<Task>(count);
        if chunk.is_null() {
            return Err(Error::OutOfMemory);
        }
        for index in (0..count).rev() {
            let slot = chunk.wrapping_add(index);
            let task = Task { state: Cell::new(State::Exited as u32), ..Task::default() };
            task.next.set(self.free.get());
            // SAFETY: `index` is within the chunk, which calloc aligned for any type.
            unsafe { slot.write(task) };
            self.free.set(slot);
        }
        let place = self.chunks.partition_point(|(address, _)| *address < chunk.cast_const());
        self.chunks.insert(place, (chunk, count));
        self.slots += count;
        Ok(())
    }

    /// The living task at an address, which may be any.
    pub fn find<'t>(&self, address: *const Task) -> Option<&'t Task> {
        let after = self.chunks.partition_point(|(chunk, _)| *chunk <= address);
        let (chunk, count) = *self.chunks.get(after.checked_sub(1)?)?;
        let offset = address as usize - chunk as usize;
        if offset % size_of::<Task>() != 0 || offset / size_of::<Task>() >= count {
            return None;
        }
        // SAFETY: the address of a slot, which is initialized and lives as long as the slab.
        let task = unsafe { &*address };
        task.alive.get().then_some(task)
    }

    /// Calls a function with each living task.
    pub fn for_each(&self, mut visit: impl FnMut(&Task)) {
        for &(chunk, count) in &self.chunks {
            for index in 0..count {
                // SAFETY: a slot of the chunk.
                let task = unsafe { &*chunk.wrapping_add(index) };
                if task.alive.get() {
                    visit(task);
                }
            }
        }
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.slots * size_of::<Task>() + self.chunks.capacity() * size_of::<(*const Task, usize)>()
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for &(chunk, _) in &self.chunks {
            // SAFETY: from `grow`; tasks need no drop, and the scheduler that used them is gone.
            unsafe { sys::free(chunk.cast_mut().cast()) };
        }
    }
}

//! The task object, and the slab that holds a scheduler's tasks.
//!
//! # Where a task is
//!
//! C can see and write [`State`]; what the engine relies on is its own (`queued`, `heap_index`,
//! `waits`, `context`, `stack`), and only these places change it:
//!
//! | the task is | `queued` | `heap_index` | `waits` | made so by |
//! |---|---|---|---|---|
//! | ready (fresh, yielded, woken) | yes | none | nothing | spawn, yield, wake |
//! | running | no, unless woken meanwhile | none | nothing | the scheduler, taking it from the queue |
//! | ready or running, in the middle of a wait for a condition | yes, or no | none | turn | a wait that lets the others go first |
//! | sleeping | no | set | nothing | sleep |
//! | waiting for something else | no | if there is a time limit | what for | wait, join, lock, ... |
//! | parked by its own body | no | none | nothing | returning in state SLEEPING or WAITING_IO |
//! | held back (no stack to be had) | in the scheduler's `held_back` | none | nothing | its first turn |
//! | ended | no | none | nothing | the scheduler, after the body |
//!
//! Tasks are referred to by `&Task` and raw pointers, never by `&mut`: C holds pointers to them
//! too. All fields are cells. A slot keeps its address until the scheduler is destroyed, so a
//! reference to a task that has ended is to a slot that is free or in use again, never to unmapped
//! memory.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};

use crate::engine::context::stack::{self, Stack};
use crate::engine::scheduler::Scheduler;
use crate::engine::sync::{Condvar, Mutex, Semaphore, WaitGroup, Waiting};
use crate::engine::sys;
use crate::engine::sys::{Error, Result};
use crate::engine::task::NOT_IN_HEAP;
use crate::engine::task::{Links, Waiters};

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

/// What a task waits for, other than a time: the list that it is in, if it is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)] // For debuggers: see `crate::engine::inspect::debugger`.
pub enum Waits {
    /// It is in no list.
    Nothing,
    /// It is in the reactor's list for the descriptor.
    Fd(c_int),
    /// It is in the task's list `joiners`.
    Join(*const Task),
    /// It is in the mutex's list.
    Mutex(*const Mutex),
    /// The same, and its wait for a condition is over: it is let go when the mutex is its own, and
    /// by nothing else. `outcome` is that of the wait for the condition.
    Relock(*const Mutex),
    /// It is in the condition variable's list.
    Condition(*const Condvar),
    /// It is in the semaphore's list.
    Semaphore(*const Semaphore),
    /// It is in the wait group's list.
    WaitGroup(*const WaitGroup),
    /// Its cases are in the lists of their channels.
    Channels(*const Waiting),
    /// It is ready, in the middle of a wait for a condition, and will want the mutex. In no list.
    Turn(*const Mutex),
}

impl Waits {
    /// Whether it waits for an object, given by its address, or will want it afterwards.
    ///
    /// # Safety
    /// What it names is alive.
    pub unsafe fn is_for(self, object: *const c_void) -> bool {
        // SAFETY: as this function's contract says.
        unsafe {
            match self {
                Waits::Nothing | Waits::Fd(_) => false,
                Waits::Join(task) => task.cast() == object,
                Waits::Mutex(mutex) | Waits::Relock(mutex) | Waits::Turn(mutex) => {
                    mutex.cast() == object
                }
                Waits::Condition(condvar) => condvar.cast() == object || (*condvar).is_with(object),
                Waits::Semaphore(semaphore) => semaphore.cast() == object,
                Waits::WaitGroup(group) => group.cast() == object,
                Waits::Channels(waiting) => (*waiting).is_for(object),
            }
        }
    }
}

/// A task's name, cut to fit, and a NUL.
pub type Name = [u8; 24];

/// One task. C reads the first six fields, in this order.
#[repr(C, align(64))] // So that what every turn touches is in as few cache lines as can be.
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
    /// Whether the task is linked by `next` into a run queue.
    pub queued: Cell<bool>,
    /// Whether the slot holds a task, rather than being free.
    pub alive: Cell<bool>,
    /// Whether the task has been told to end: it is not parked any more.
    pub canceled: Cell<bool>,
    /// Whether a log callback is running on this task's stack.
    pub in_log_callback: Cell<bool>,
    /// Turns taken; stays at the greatest number. Of this size to fit in the first cache line,
    /// which is all that a yield touches of a task.
    pub turns: Cell<u32>,
    /// What it waits for. From here to `links` is the second cache line, which holds what a wait and
    /// its end need besides.
    pub waits: Cell<Waits>,
    /// How the latest wait ended: set by whoever made the task ready.
    pub outcome: Cell<Outcome>,
    /// The events of the descriptor, or the permits of the semaphore, that it waits for.
    pub interest: Cell<u32>,
    /// For the list that `waits` names.
    pub links: Links<Task>,

    /// The stack, from the first turn to the end.
    pub stack: Cell<Stack>,
    /// Its size; before the first turn the size asked for, 0 for the scheduler's.
    pub stack_bytes: Cell<usize>,
    /// How many mutexes it has locked.
    pub locks: Cell<u32>,
    /// What ThreadSanitizer knows the task by; null without it.
    pub fiber: Cell<*mut c_void>,
    /// The tasks that wait for this one to end.
    pub joiners: Waiters,
    /// The slot's index, and how often it has been used: different for each task of a scheduler.
    pub id: Cell<u64>,
    /// For people; NUL-terminated.
    pub name: Cell<Name>,
}

const _: () = assert!(offset_of!(Task, turns) + size_of::<u32>() <= 64);
const _: () = assert!(offset_of!(Task, waits) == 64 && offset_of!(Task, stack) <= 128);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was waited for has happened: the events of a descriptor, or 0.
    Ready(u32),
    /// The time is over.
    TimedOut,
    /// Something else made the task ready.
    Interrupted,
    /// The task was canceled.
    Canceled,
    /// The descriptor was closed.
    Closed,
    /// It cannot be waited for.
    Failed(Error),
    /// The mutex was left locked by a task that has ended.
    OwnerDied,
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
            queued: Cell::new(false),
            alive: Cell::new(false),
            in_log_callback: Cell::new(false),
            canceled: Cell::new(false),
            waits: Cell::new(Waits::Nothing),
            interest: Cell::new(0),
            locks: Cell::new(0),
            fiber: Cell::new(null_mut()),
            outcome: Cell::new(Outcome::Interrupted),
            links: Links::default(),
            joiners: Waiters::default(),
            id: Cell::new(0),
            turns: Cell::new(0),
            name: Cell::new(Name::default()),
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

    /// One turn more.
    #[inline(always)]
    pub fn count_turn(&self) {
        if let (turns, false) = self.turns.get().overflowing_add(1) {
            self.turns.set(turns);
        }
    }

    /// Whether the task is parked, as opposed to ready, running or ended.
    pub fn is_parked(&self) -> bool {
        self.is(State::Sleeping) || self.is(State::WaitingIo)
    }

    /// Sets the name; what does not fit is cut, at a boundary of characters if it is UTF-8.
    pub fn set_name(&self, name: &[u8]) {
        let mut stored = Name::default();
        let mut length = name.len().min(stored.len() - 1);
        while length < name.len() && length > 0 && name[length] & 0xC0 == 0x80 {
            length -= 1; // The next byte continues a character.
        }
        stored[..length].copy_from_slice(&name[..length]);
        self.name.set(stored);
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
/// Tasks of many chunks are not in the caches, so they should at least need few entries of the page
/// tables: a chunk of this size fills a huge page.
const LARGEST_CHUNK: usize = sys::HUGE_PAGE_BYTES / size_of::<Task>();
const _: () = assert!(size_of::<Task>() == 256);

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
    /// The same, in the order of their addresses.
    by_address: Vec<Chunk>,
    /// How many slots the chunks have.
    slots: usize,
    /// The ids of the first uses, so that ids of different schedulers differ.
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

    /// Gives a slot back. The task must be in no queue, heap or list.
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

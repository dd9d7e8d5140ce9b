//! The slab: the memory of a scheduler's task objects.
//!
//! A slot keeps its address until the scheduler is destroyed, so a reference to a task that has
//! ended is to a slot that is free or in use again, or whose memory was given back and reads as zeros:
//! never to unmapped memory.
//!
//! New tasks go to the *current* chunk until it is full. Each chunk has the list of its own free
//! slots, so that a chunk without tasks can be given back as it is: it is, when it has had none for a
//! whole period. At the end of each period the chunks are put in the order of their indices, so that
//! new tasks go to the first ones, and the last ones become empty.

use std::cell::{Cell, RefCell};
use std::ptr::{self, from_ref, null};

use super::chunk::{Chunk, Chunks, Head, INDEX_BITS, ONE_USE};
use super::object::{NOT_IN_HEAP, Task};
use crate::engine::sys::{self, Error, Result, Table};

const FIRST_BYTES: usize = 32 * size_of::<Task>();
/// Tasks of many chunks are not in the caches, so they should at least need few entries of the page
/// tables: a chunk of this size fills a huge page.
const LARGEST_BYTES: usize = sys::HUGE_PAGE_BYTES;
const LARGEST_SLAB: usize = 1 << INDEX_BITS;

/// The slots of a scheduler's tasks: chunks that never move.
pub struct Slab {
    /// Where this slab's ids begin, so that ids of different schedulers differ.
    first_id: u64,
    alive: Cell<usize>,
    /// The chunk that new tasks go to; [`NO_CHUNK`] before the first one.
    current: Cell<*const Head>,
    /// The other chunks that have free slots: first those to take, then those to give back.
    with_room: Cell<*const Head>,
    to_give_back: Cell<*const Head>,
    /// Whether a chunk may have no task.
    may_be_empty: Cell<bool>,
    /// Bytes of memory held.
    bytes: Cell<usize>,
    /// Borrowed for the length of one call, in which no program code runs.
    table: RefCell<Directory>,
}

/// A chunk without slots.
static NO_CHUNK: NoChunk = NoChunk(Head::new(0, null()));

struct NoChunk(Head);

// SAFETY: it has no free slot and none in use, so nobody changes it.
unsafe impl Sync for NoChunk {}

/// The chunks.
struct Directory {
    /// In the order of their indices.
    chunks: Table<Chunk>,
    /// Their first tasks and their places, in the order of their addresses.
    by_address: Table<(*const Task, usize)>,
    /// The place of the chunk that an address was found in last: most are in few.
    found_in: Cell<usize>,
    /// Number of slots in all chunks.
    slots: usize,
    /// Bytes of the chunks that are in use.
    chunk_bytes: usize,
}

impl Slab {
    /// A slab whose ids are unlikely to be those of another one: `serial` is the number of the
    /// scheduler.
    pub fn new(serial: u32) -> Slab {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4) spreads the counts'
        // starts.
        let spread = u64::from(serial).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Slab {
            first_id: spread & !(ONE_USE - 1),
            alive: Cell::new(0),
            current: Cell::new(&raw const NO_CHUNK.0),
            with_room: Cell::new(null()),
            to_give_back: Cell::new(null()),
            may_be_empty: Cell::new(false),
            bytes: Cell::new(0),
            table: RefCell::new(Directory::new()),
        }
    }

    /// How many tasks are alive.
    pub fn alive(&self) -> usize {
        self.alive.get()
    }

    /// Takes a free slot of the current chunk, if it has one. Its fields are those of a task that has
    /// ended; the caller sets what differs, and queues it, which sets `next`.
    #[inline]
    pub fn allocate<'t>(&self) -> Option<&'t Task> {
        // SAFETY: a static, or the head of a chunk in use, and these live as long as the slab.
        let chunk = unsafe { &*self.current.get() };
        // SAFETY: a free slot of that chunk.
        let task = unsafe { chunk.free.get().as_ref() }?;
        chunk.free.set(task.next.get());
        chunk.used.set(chunk.used.get() + 1);
        self.alive.set(self.alive.get() + 1);
        task.alive.set(true);
        Some(task)
    }

    /// Frees a slot. The task must be in no queue or heap.
    #[inline]
    pub fn free(&self, task: &Task) {
        debug_assert!(!task.queued.get() && task.heap_index.get() == NOT_IN_HEAP);
        task.alive.set(false);
        self.renew(task);
        // SAFETY: the slot is in use, so its chunk is.
        let chunk = unsafe { &*task.chunk.get().cast::<Head>() };
        let next = chunk.free.replace(task);
        task.next.set(next);
        self.alive.set(self.alive.get() - 1);
        chunk.used.set(chunk.used.get() - 1);
        if next.is_null() || chunk.used.get() == 0 {
            self.first_or_last_free(chunk, next.is_null());
        }
    }

    /// The next use of a slot begins: the id of the one before is nobody's.
    #[inline]
    pub fn renew(&self, task: &Task) {
        task.id.set(task.id.get().wrapping_add(ONE_USE));
    }

    /// A chunk was full and has a free slot now, or has no task any more, or both.
    #[cold]
    fn first_or_last_free(&self, chunk: &Head, was_full: bool) {
        if ptr::eq(chunk, self.current.get()) {
            return;
        }
        if was_full {
            push(&self.with_room, chunk);
        }
        if chunk.used.get() == 0 {
            self.may_be_empty.set(true);
        }
    }

    /// Makes a chunk with free slots the current one, whose last has been taken.
    #[cold]
    pub fn refill(&self) -> Result<()> {
        let chunk = pop(&self.with_room).or_else(|| pop(&self.to_give_back));
        let chunk = match chunk {
            Some(chunk) => chunk,
            None => {
                let table = &mut *self.table.borrow_mut();
                let place = match table.chunks.iter().position(|chunk| chunk.count == 0) {
                    Some(place) => place,
                    None => table.grow()?,
                };
                table.chunks[place].begin(place, self.first_id);
                table.chunk_bytes += table.chunks[place].bytes();
                self.bytes.set(table.bytes());
                from_ref(table.chunks[place].head())
            }
        };
        // SAFETY: the head of a chunk in use.
        unsafe { &*chunk }.idle.set(false);
        self.current.set(chunk);
        Ok(())
    }

    /// Ends a period: chunks that have had no task in it are to be given back.
    pub fn end_period(&self) {
        let table = &*self.table.borrow();
        let in_use = || table.chunks.iter().rev().filter(|chunk| chunk.count > 0).map(Chunk::head);
        self.with_room.set(null());
        self.to_give_back.set(null());
        self.may_be_empty.set(false);
        let has_room = |chunk: &&Head| !chunk.free.get().is_null();
        let with_tasks = |chunk: &&Head| has_room(chunk) && chunk.used.get() > 0;
        if let Some(first) = in_use().rfind(with_tasks).or_else(|| in_use().rfind(has_room)) {
            first.idle.set(false);
            self.current.set(first);
        }
        for chunk in in_use().filter(has_room) {
            if ptr::eq(chunk, self.current.get()) {
                continue;
            }
            let is_empty = chunk.used.get() == 0;
            if is_empty && chunk.idle.get() {
                push(&self.to_give_back, chunk);
                continue;
            }
            push(&self.with_room, chunk);
            chunk.idle.set(is_empty);
            self.may_be_empty.set(is_empty || self.may_be_empty.get());
        }
    }

    /// Gives one of them back. Returns whether there are more.
    pub fn give_back_one(&self) -> bool {
        if let Some(chunk) = pop(&self.to_give_back) {
            let table = &mut *self.table.borrow_mut();
            // SAFETY: the head of a chunk in use.
            let place = unsafe { &*chunk }.place;
            table.chunk_bytes -= table.chunks[place].bytes();
            table.chunks[place].give_back(self.first_id);
            self.bytes.set(table.bytes());
        }
        !self.to_give_back.get().is_null()
    }

    /// Whether the end of a period may find a chunk to give back.
    pub fn may_be_empty(&self) -> bool {
        self.may_be_empty.get()
    }

    /// The living task at an address, which may be any.
    pub fn find<'t>(&self, address: *const Task) -> Option<&'t Task> {
        let table = self.table.borrow();
        let offset_in = |chunk: &Chunk| (address as usize).wrapping_sub(chunk.memory as usize);
        let holds = |chunk: &&Chunk| offset_in(chunk) < chunk.count * size_of::<Task>();
        let chunk = match table.chunks.get(table.found_in.get()).filter(holds) {
            Some(chunk) => chunk,
            None => {
                let after = table.by_address.partition_point(|(memory, _)| *memory <= address);
                let (_, place) = *table.by_address.get(after.checked_sub(1)?)?;
                table.found_in.set(place);
                table.chunks.get(place).filter(holds)?
            }
        };
        if !offset_in(chunk).is_multiple_of(size_of::<Task>()) {
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
        let table = self.table.borrow();
        Chunks { first: table.chunks.as_ptr(), count: table.chunks.len() }
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.table.borrow().slots
    }

    /// The living task in a slot, which may be any number.
    pub fn at<'t>(&self, index: usize) -> Option<&'t Task> {
        let table = self.table.borrow();
        let after = table.chunks.partition_point(|chunk| chunk.first_index <= index);
        let chunk = table.chunks.get(after.checked_sub(1)?)?;
        let offset = index - chunk.first_index;
        if offset >= chunk.count {
            return None;
        }
        // SAFETY: a slot of a chunk in use, as in `find`.
        let task = unsafe { &*chunk.memory.wrapping_add(offset) };
        task.alive.get().then_some(task)
    }

    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

impl Directory {
    const fn new() -> Directory {
        Directory {
            chunks: Table::new(),
            by_address: Table::new(),
            found_in: Cell::new(0),
            slots: 0,
            chunk_bytes: 0,
        }
    }

    fn bytes(&self) -> usize {
        self.chunk_bytes + self.chunks.bytes() + self.by_address.bytes()
    }

    /// Adds a chunk, which is not in use yet, and returns its place.
    fn grow(&mut self) -> Result<usize> {
        let slots_bytes = self.slots.next_power_of_two() * size_of::<Task>();
        let bytes = slots_bytes.clamp(FIRST_BYTES.max(sys::page_bytes()), LARGEST_BYTES);
        if self.slots + bytes / size_of::<Task>() > LARGEST_SLAB {
            return Err(Error::OutOfMemory);
        }
        self.chunks.reserve(1)?;
        self.by_address.reserve(1)?;
        let chunk = Chunk::map(bytes, self.slots).ok_or(Error::OutOfMemory)?;
        let place = self.chunks.len();
        let after = self.by_address.partition_point(|(memory, _)| *memory < chunk.memory);
        self.by_address.insert(after, (chunk.memory, place));
        self.chunks.push(chunk);
        self.slots += chunk.slots;
        Ok(place)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for chunk in self.table.get_mut().chunks.iter() {
            // SAFETY: tasks need no drop, and the scheduler that used them is gone.
            unsafe { chunk.unmap() };
        }
    }
}

fn push(list: &Cell<*const Head>, chunk: &Head) {
    chunk.next.set(list.replace(chunk));
}

fn pop(list: &Cell<*const Head>) -> Option<*const Head> {
    // SAFETY: null, or the head of a chunk in use.
    let chunk = unsafe { list.get().as_ref() }?;
    list.set(chunk.next.replace(null()));
    Some(chunk)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Slab;
    use crate::engine::task::Task;

    fn allocate<'t>(slab: &Slab) -> &'t Task {
        slab.allocate().unwrap_or_else(|| {
            slab.refill().unwrap();
            slab.allocate().unwrap()
        })
    }

    /// Ends a period, and gives back what is to be.
    fn period(slab: &Slab) {
        slab.end_period();
        while slab.give_back_one() {}
    }

    fn in_use(slab: &Slab) -> usize {
        slab.table.borrow().chunks.iter().filter(|chunk| chunk.count > 0).count()
    }

    #[test]
    fn chunks_without_tasks_are_given_back_after_a_period() {
        let slab = Slab::new(7);
        let mut ids = HashSet::new();
        let mut most = 0;
        for round in 0..3 {
            let tasks: Vec<&Task> = (0..30_000).map(|_| allocate(&slab)).collect();
            for task in &tasks {
                assert!(ids.insert(task.id.get()), "an id twice, in round {round}");
                assert!(std::ptr::eq(slab.find(*task).unwrap(), *task));
                assert!(std::ptr::eq(slab.find_id(task.id.get()).unwrap(), *task));
            }
            let addresses: HashSet<_> = tasks.iter().map(|task| &raw const **task).collect();
            assert_eq!((addresses.len(), slab.alive()), (30_000, 30_000));
            let (bytes, chunks) = (slab.bytes(), in_use(&slab));
            most = if round == 0 { bytes } else { most };
            assert_eq!(bytes, most); // The same chunks again.
            let stale = tasks[20_000].id.get();
            // All but one of the last ones.
            tasks[..29_999].iter().for_each(|task| slab.free(task));
            assert!(slab.may_be_empty());
            period(&slab);
            assert_eq!(in_use(&slab), chunks, "used in this period");
            period(&slab);
            assert_eq!(in_use(&slab), 1);
            assert!(!slab.may_be_empty() && slab.bytes() < bytes / 2);
            // What is given back keeps its address, and holds nobody.
            assert!(slab.find(tasks[20_000]).is_none() && slab.find_id(stale).is_none());
            assert!(!tasks[20_000].alive.get());
            assert!(std::ptr::eq(slab.find(tasks[29_999]).unwrap(), tasks[29_999]));
            slab.free(tasks[29_999]);
            assert_eq!(slab.alive(), 0);
        }
    }

    #[test]
    fn a_chunk_that_is_used_in_a_period_is_kept() {
        let slab = Slab::new(1);
        let tasks: Vec<&Task> = (0..5000).map(|_| allocate(&slab)).collect();
        let kept = tasks[0];
        tasks[1..].iter().for_each(|task| slab.free(task));
        slab.end_period();
        let chunks = in_use(&slab);
        // As many again, and gone before the period is over.
        let again: Vec<&Task> = (1..5000).map(|_| allocate(&slab)).collect();
        assert_eq!(in_use(&slab), chunks);
        again.iter().for_each(|task| slab.free(task));
        period(&slab);
        assert_eq!(in_use(&slab), chunks);
        // What is to be given back is taken again when it is needed.
        slab.end_period();
        let again: Vec<&Task> = (1..5000).map(|_| allocate(&slab)).collect();
        assert_eq!((in_use(&slab), slab.give_back_one()), (chunks, false));
        assert_eq!(in_use(&slab), chunks);
        again.iter().for_each(|task| slab.free(task));
        slab.free(kept);
    }
}

//! The task object.
//!
//! # Where a task is
//!
//! C can read and write [`State`], so the engine relies on fields of its own (`queued`,
//! `heap_index`, `wait`, `context`, `stack`):
//!
//! | the task is | `queued` | `heap_index` | `wait` | made so by |
//! |---|---|---|---|---|
//! | ready (fresh, yielded, woken) | yes | none | nothing | spawn, yield, wake |
//! | running | no, unless woken meanwhile | none | nothing | the scheduler, taking it from the queue |
//! | ready or running, in the middle of a wait for a condition | yes, or no | none | the mutex, later | a wait that lets the others go first |
//! | sleeping | no | set | nothing | sleep |
//! | waiting for something else | no | if there is a deadline | what for | wait, join, lock, ... |
//! | parked by its own body | no | none | nothing | returning in state SLEEPING or WAITING_IO |
//! | starved (no stack to be had) | yes, in the queue of `Starved` | none | nothing | its first turn |
//! | taken out of the queue by the program | no | none | nothing | mj_scheduler_dequeue |
//! | about to get its mutex back after a condition | no | none | the mutex, and nothing interrupts that | the end of the wait |
//! | ready, its deadline has passed | yes | none | what for | the timer |
//! | ended | no | none | nothing | the scheduler, after the body |
//!
//! Tasks are shared by `&Task` and raw pointers, never `&mut`: C holds pointers to them too. All
//! fields are cells. A slot keeps its address until the scheduler is destroyed, so a reference to a
//! task that has ended is to a slot that is free, or in use again, or reads as zeros since its memory
//! was given back: never to unmapped memory. Zeros are a task that is not alive.

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::{null, null_mut};

use super::belongings::Belongings;
use super::wait::{Outcome, SchedulerRef, Wait};
use super::wait_node::WaitNode;
use super::wait_queue::{Links, WaitQueue, Waiter};
use crate::engine::context::{Stack, stack, switch};
use crate::engine::sys::{Error, Result, VisibleU64};

/// `Task::heap_index` of a task that has no timer.
pub const NOT_IN_HEAP: usize = usize::MAX;

/// The function of a task. It is called with the scheduler's address and the task's state.
pub type Body = unsafe extern "C-unwind" fn(*mut c_void, *mut c_void);

/// The state that C sees. Stored as an integer, since C may write any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    Runnable = 0,
    Sleeping = 1,
    WaitingIo = 2,
    Exited = 3,
}

/// A task's name, truncated, NUL-terminated.
pub type Name = [u8; 24];

/// As a name, truncated at a UTF-8 character boundary.
pub fn to_name(text: &[u8]) -> Name {
    let mut name = Name::default();
    let mut length = text.len().min(name.len() - 1);
    while length < text.len() && length > 0 && text[length] & 0xC0 == 0x80 {
        length -= 1; // The next byte continues a character.
    }
    name[..length].copy_from_slice(&text[..length]);
    name
}

/// One task. C reads the first six fields, in this order.
#[repr(C, align(64))] // So that what every turn touches is in as few cache lines as can be.
pub struct Task {
    pub body: Cell<Option<Body>>,
    /// From C's allocator; the task owns it.
    pub user_state: Cell<*mut c_void>,
    /// A [`State`]; C may have written another number.
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
    /// Whether the task has been canceled. See [`is_canceled`](Task::is_canceled).
    pub canceled: Cell<bool>,
    /// Whether a log callback is running on this task's stack.
    pub in_log_callback: Cell<bool>,
    /// The number of turns, saturating. 32 bits, to fit in the first cache line, which is all that
    /// a yield touches of a task.
    pub turns: Cell<u32>,
    /// What it waits for. From here to `waits_since_ticks` is the second cache line: the fields that a
    /// wait needs.
    pub wait: Cell<Wait>,
    /// How the latest wait ended.
    pub outcome: Cell<Outcome>,
    /// The events of the descriptor, or the permits of the semaphore, that it waits for.
    pub interest: Cell<u32>,
    /// The stack's size; before the first turn the size asked for, 0 for the scheduler's.
    pub(super) stack_bytes: Cell<u32>,
    /// Links of the wait queue.
    pub links: Links<Task>,
    /// The moment of the scheduler's clock from which on each wait of the task times out; `u64::MAX` for
    /// none. Only the task itself sets it, and who makes the task, before its first turn.
    pub deadline_ns: Cell<u64>,
    /// Of a task that waits, which is neither running nor in a run queue: since when it does, as the reading of
    /// the scheduler's cycle counter that ended its latest turn. So a wait that turns into another without a
    /// turn in between, as that of a condition into that of its mutex, is one; and one that goes on after a
    /// wake-up begins anew. Of a task that is ready or running it says when an earlier wait began, and of one
    /// that has not waited yet nothing.
    pub waits_since_ticks: Cell<u64>,

    /// The stack, from the first turn to the end.
    pub stack: Cell<Stack>,
    /// The hook that runs when it ends; set if there is more to do then than for most tasks. And how many
    /// mutexes it owns.
    pub at_end: Cell<Option<AtEnd>>,
    pub locks: Cell<u32>,
    /// Whether it has been woken while it was ready, since it last began to sleep or park.
    pub woken: Cell<bool>,
    /// How many results of waits it was given since it was canceled, or told so last.
    pub calls_while_canceled: Cell<u8>,
    /// Whether it is not to be told that it is canceled.
    pub shielded: Cell<bool>,
    /// Whether libmajjen-hook is to leave its calls alone, which sets it.
    pub unhooked: Cell<bool>,
    /// How often its body has returned in turns that follow each other; and the number of turns at the last
    /// time, if there was one.
    pub returns: Cell<u16>,
    /// Whether it does not keep a run going. Only the scheduler sets it, which counts them.
    pub daemon: Cell<bool>,
    /// Of a search among tasks, which sets it first.
    pub mark: Cell<u8>,
    pub returned_at: Cell<u32>,
    /// What the calls are named that a log line tells to use, in C or in Rust.
    pub words: Cell<Option<&'static Words>>,
    /// The slab's chunk that the slot is in: the address of its head.
    pub(super) chunk: Cell<*const c_void>,
    /// ThreadSanitizer's fiber; null without it.
    pub fiber: Cell<*mut c_void>,
    /// The group that it is a member of, by its address; null for none.
    pub group: Cell<*const c_void>,
    /// What belongs to it beyond this; null for nothing. The task owns it, and has an end hook then.
    pub belongings: Cell<*const Belongings>,
    /// The tasks that join this one.
    pub joiners: WaitQueue<WaitNode>,
    /// The slot's index and use count (generation): unique within a scheduler.
    pub id: VisibleU64,
    /// The name, NUL-terminated.
    pub name: Cell<Name>,
}

const _: () = assert!(offset_of!(Task, turns) + size_of::<u32>() <= 64);
const _: () = assert!(offset_of!(Task, wait) == 64 && offset_of!(Task, stack) == 128);

/// What calls are named in the API that a task was made by.
pub struct Words {
    /// Those that set the size of a stack.
    pub set_stack_size: &'static str,
    /// That by which a task ends.
    pub exit: &'static str,
    /// What is called with the task's state when the scheduler is destroyed before its first turn. The state is
    /// freed afterwards.
    pub abandon: Option<unsafe fn(*mut c_void)>,
}

/// The hook that runs when a task ends, before its joiners are woken.
///
/// # Safety
/// The scheduler is that of the task.
pub type AtEnd = unsafe fn(SchedulerRef, &Task);

impl Waiter for Task {
    fn links(&self) -> &Links<Task> {
        &self.links
    }
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
            waits_since_ticks: Cell::new(0),
            queued: Cell::new(false),
            alive: Cell::new(false),
            in_log_callback: Cell::new(false),
            canceled: Cell::new(false),
            wait: Cell::new(Wait::NONE),
            interest: Cell::new(0),
            locks: Cell::new(0),
            at_end: Cell::new(None),
            woken: Cell::new(false),
            shielded: Cell::new(false),
            unhooked: Cell::new(false),
            calls_while_canceled: Cell::new(0),
            daemon: Cell::new(false),
            mark: Cell::new(0),
            returns: Cell::new(0),
            returned_at: Cell::new(0),
            words: Cell::new(None),
            chunk: Cell::new(null()),
            fiber: Cell::new(null_mut()),
            outcome: Cell::new(Outcome::Interrupted),
            links: Links::default(),
            group: Cell::new(null()),
            belongings: Cell::new(null()),
            deadline_ns: Cell::new(u64::MAX),
            joiners: WaitQueue::default(),
            id: VisibleU64::new(0),
            turns: Cell::new(0),
            name: Cell::new(Name::default()),
        }
    }
}

impl Task {
    pub fn words(&self) -> &'static Words {
        self.words.get().unwrap_or(&Words { set_stack_size: "", exit: "", abandon: None })
    }

    pub fn is(&self, state: State) -> bool {
        self.state.get() == state as u32
    }

    pub fn set_state(&self, state: State) {
        self.state.set(state as u32);
    }

    /// Counts a turn.
    #[inline(always)]
    pub fn count_turn(&self) {
        if let (turns, false) = self.turns.get().overflowing_add(1) {
            self.turns.set(turns);
        }
    }

    /// Whether the task is to be told that it is canceled, by the calls in which it would wait.
    #[inline(always)]
    pub fn is_canceled(&self) -> bool {
        self.canceled.get() && !self.shielded.get()
    }

    /// Whether the running task is as a new one would be, but for its id and its turns: nobody has
    /// canceled, named, joined or ended it, and it owns nothing.
    pub fn is_as_new(&self) -> bool {
        let flags = [&self.queued, &self.canceled, &self.woken, &self.shielded, &self.unhooked];
        self.is(State::Runnable)
            && !flags.into_iter().any(Cell::get)
            && self.deadline_ns.get() == u64::MAX
            && self.locks.get() == 0
            && self.at_end.get().is_none()
            && self.group.get().is_null()
            && self.joiners.is_empty()
            && self.name.get()[0] == 0
    }

    /// There is more to do when it ends than for most tasks: it has an end hook from now on.
    pub fn expect_end(&self) {
        /// # Safety
        /// None.
        unsafe fn nothing(_: SchedulerRef, _: &Task) {}
        if self.at_end.get().is_none() {
            self.at_end.set(Some(nothing));
        }
    }

    /// Whether the task is parked, as opposed to ready, running or ended.
    pub fn is_parked(&self) -> bool {
        self.is(State::Sleeping) || self.is(State::WaitingIo)
    }

    /// Sets the name, truncated at a UTF-8 character boundary.
    pub fn set_name(&self, name: &[u8]) {
        self.name.set(to_name(name));
    }

    /// The stack's size; before the first turn the size asked for, 0 for the scheduler's.
    #[inline(always)]
    pub fn stack_bytes(&self) -> usize {
        self.stack_bytes.get() as usize
    }

    /// Sets what [`stack_bytes`](Self::stack_bytes) says, to a valid size or 0.
    #[inline(always)]
    pub fn set_stack_bytes(&self, bytes: usize) {
        const { assert!(stack::LARGEST_BYTES <= u32::MAX as usize) };
        self.stack_bytes.set(bytes as u32);
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
        self.set_stack_bytes(bytes);
        Ok(())
    }

    /// The lowest address and the size of the stack's usable part; nothing before the first turn.
    pub fn stack_bounds(&self) -> Option<(*mut u8, usize)> {
        let (stack, bytes) = (self.stack.get(), self.stack_bytes());
        (stack != Stack::NONE).then(|| (stack::lowest(stack, bytes), bytes))
    }
}

const _: () = assert!(size_of::<Task>() == 256);

/// The task that runs on this thread, for modules that do not know the scheduler. Valid while it
/// runs.
pub fn running<'t>() -> Option<&'t Task> {
    // SAFETY: the thread's own variable, which lives as long as the thread.
    let place = unsafe { &*switch::thread() }.current_task.get().cast::<Cell<*const Task>>();
    // SAFETY: null, or the field of the scheduler that runs here, which says null or a live task.
    unsafe { place.as_ref()?.get().as_ref() }
}
